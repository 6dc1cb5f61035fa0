//! The shape of Rust sources: modules open with `//!` and stay short, functions stay short, nothing unwraps.

use super::lexer::code_only;
use super::{Budget, File, Finding};

/// Findings in all Rust files.
pub fn check(files: &[File], budget: &Budget) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let at = |line, rule, what: String, cure| Finding { file: file.path.clone(), line, rule, what, cure };
        if file.is_test() {
            continue;
        }
        if !file.text.trim_start().starts_with("//!") {
            let what = "the module does not open with `//!`".to_owned();
            findings.push(at(
                1,
                "module comment",
                what,
                "say what it owns, what it never does, where to start reading",
            ));
        }
        let code = source_part(&code_only(&file.text)).to_owned();
        let lines = code.lines().count();
        if lines > budget.module_lines {
            let what = format!("{lines} lines, at most {} are allowed", budget.module_lines);
            findings.push(at(lines, "long module", what, "split it by what its parts own"));
        }
        for (n, line) in code.lines().enumerate() {
            if line.contains(".unwrap()") {
                let what = "`unwrap()` outside tests".to_owned();
                findings.push(at(n + 1, "unwrap", what, "return an error, or say why it holds with `expect(\"…\")`"));
            }
            if line.contains("dbg!") {
                findings.push(at(n + 1, "left over", "`dbg!`".to_owned(), "take it out"));
            }
        }
    }
    let functions: Vec<(&File, Function)> = sources(files)
        .flat_map(|file| functions(&file.text).into_iter().map(move |function| (file, function)))
        .collect();
    findings.extend(too_many_over(&functions, budget.long_function_lines, budget.long_functions_per_thousand));
    findings.extend(too_many_over(&functions, budget.usual_function_lines, budget.unusual_functions_per_thousand));
    findings
}

/// The figures in one phrase.
pub fn shape(files: &[File], budget: &Budget) -> String {
    let modules = sources(files).count();
    let functions: Vec<Function> = sources(files).flat_map(|file| functions(&file.text)).collect();
    let long = functions.iter().filter(|function| function.lines > budget.long_function_lines).count();
    let unusual = functions.iter().filter(|function| function.lines > budget.usual_function_lines).count();
    format!(
        "{modules} modules, {} functions ({unusual} over {} lines, {long} over {})",
        functions.len(),
        budget.usual_function_lines,
        budget.long_function_lines
    )
}

fn sources(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.is_rust() && !file.is_test())
}

/// All functions of more than so many lines, once there are more than so many per thousand.
fn too_many_over(all: &[(&File, Function)], lines: usize, per_thousand: usize) -> Vec<Finding> {
    let long: Vec<_> = all.iter().filter(|(_, function)| function.lines > lines).collect();
    if long.len() * 1000 <= all.len() * per_thousand {
        return Vec::new();
    }
    let describe = |(file, function): &&(&File, Function)| Finding {
        file: file.path.clone(),
        line: function.line,
        rule: "long function",
        what: format!("{} lines, and more than {per_thousand} ‰ have over {lines}", function.lines),
        cure: "name its steps as functions",
    };
    long.iter().map(describe).collect()
}

/// A function in formatted source.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    /// The line of its `fn`.
    line: usize,
    /// From there to its closing brace.
    lines: usize,
}

/// Functions with a body, found by their layout: `rustfmt` puts the closing brace under the `fn`.
fn functions(text: &str) -> Vec<Function> {
    let code = code_only(text);
    let lines: Vec<&str> = source_part(&code).lines().collect();
    let mut found = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !is_function(line.trim_start()) {
            continue;
        }
        let close = |line: &&str| line.len() == indent + 1 && line.ends_with('}') && line.trim_start() == "}";
        let is_bodiless = |line: &&str| line.trim_end().ends_with(';') && !line.contains('{');
        let rest = &lines[n..];
        if rest[0].trim_end().ends_with('}') {
            found.push(Function { line: n + 1, lines: 1 });
        } else if !rest.iter().take_while(|line| !line.contains('{')).any(is_bodiless) {
            let length = rest.iter().position(close).map_or(rest.len(), |at| at + 1);
            found.push(Function { line: n + 1, lines: length });
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let mut rest = line;
    loop {
        if rest.starts_with("fn ") {
            return true;
        }
        let Some((word, after)) = rest.split_once(' ') else { return false };
        let is_prefix = word.starts_with("pub") || matches!(word, "const" | "async" | "unsafe" | "extern");
        // The blank left by the ABI's name of `extern "C" fn`.
        rest = after.trim_start();
        if !is_prefix {
            return false;
        }
    }
}

/// What comes before an inline test module at the end of the file.
pub fn source_part(code: &str) -> &str {
    const MARK: &str = "\n#[cfg(test)]\n";
    let opens_module = |after: &str| {
        let line = after.lines().next().unwrap_or_default();
        (line.starts_with("mod ") || line.starts_with("pub mod ") || line.starts_with("pub(crate) mod "))
            && line.ends_with('{')
    };
    let inline = code.match_indices(MARK).find(|(at, _)| opens_module(&code[at + MARK.len()..]));
    inline.map_or(code, |(at, _)| &code[..=at])
}

#[cfg(test)]
mod tests {
    use super::super::{brief, file};
    use super::*;

    const BUDGET: Budget = Budget {
        locked_packages: 1,
        shop_packages: 1,
        module_lines: 10,
        usual_function_lines: 2,
        unusual_functions_per_thousand: 1000,
        long_function_lines: 3,
        long_functions_per_thousand: 500,
    };

    fn check_text(text: &str) -> Vec<String> {
        brief(&check(&[file("crates/a/src/b.rs", text)], &BUDGET))
    }

    #[test]
    fn a_module_opens_with_its_comment_unless_its_name_says_it_all() {
        assert_eq!(check_text("//! What it owns.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(check_text("fn a() {}\n"), ["crates/a/src/b.rs:1 module comment"]);
        assert_eq!(check(&[file("crates/a/src/b/tests.rs", "use super::*;\n")], &BUDGET), []);
    }

    #[test]
    fn long_modules_are_found_but_tests_do_not_count() {
        let body = "const A: u8 = 1;\n".repeat(10);
        assert_eq!(check_text(&format!("//! A.\n{body}")), ["crates/a/src/b.rs:11 long module"]);
        assert_eq!(check_text(&format!("//! A.\n#[cfg(test)]\nmod tests {{\n{body}}}\n")), Vec::<String>::new());
        let tests = [file("crates/a/tests/b.rs", &format!("//! A.\n{body}"))];
        assert_eq!(brief(&check(&tests, &BUDGET)), Vec::<String>::new());
    }

    #[test]
    fn unwraps_are_found_in_code_only() {
        let text = "//! A.\n// a.unwrap()\nconst A: &str = \".unwrap()\";\nfn a() { b.unwrap(); }\n";
        assert_eq!(check_text(text), ["crates/a/src/b.rs:4 unwrap"]);
        assert_eq!(check_text("//! A.\n#[cfg(test)]\nmod tests {\nfn a() { b.unwrap(); }\n}\n"), Vec::<String>::new());
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "//! A.\nimpl A {\n    pub async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n}\ntrait B {\n    fn c(\n        &self,\n    );\n}\npub(crate) const fn d() {}\n";
        let found: Vec<_> = functions(text).into_iter().map(|function| (function.line, function.lines)).collect();
        assert_eq!(found, [(3, 5), (14, 1)]);
    }

    #[test]
    fn a_few_long_functions_are_allowed() {
        let long = "fn a() {\n    1;\n    2;\n}\n";
        assert_eq!(check_text(&format!("//! A.\n{long}fn b() {{}}\n")), Vec::<String>::new());
        assert_eq!(check_text(&format!("//! A.\n{long}")), ["crates/a/src/b.rs:2 long function"]);
        let strict = Budget { long_function_lines: 9, unusual_functions_per_thousand: 100, ..BUDGET };
        let files = [file("crates/a/src/b.rs", &format!("//! A.\n{long}"))];
        assert_eq!(check(&files, &strict)[0].what, "4 lines, and more than 100 ‰ have over 2");
    }
}
