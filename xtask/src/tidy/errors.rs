//! Every code that a user may meet has its page, and every page its code.

use super::lexer::code_only;
use super::source::source_part;
use super::{File, Finding};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PAGES: &str = "docs/errors";

/// Codes without page, pages without code.
pub fn check(files: &[File]) -> Vec<Finding> {
    let used = used(files);
    let pages: BTreeMap<&str, &Path> = files
        .iter()
        .filter(|file| file.path.starts_with(PAGES))
        .filter_map(|file| Some((file.path.file_stem()?.to_str()?, file.path.as_path())))
        .filter(|(stem, _)| is_code(stem))
        .collect();
    let unexplained =
        used.iter().filter(|(code, _)| !pages.contains_key(code.as_str())).map(|(code, (file, line))| Finding {
            file: file.clone(),
            line: *line,
            rule: "error without page",
            what: format!("`{code}` has no page"),
            cure: "write docs/errors/MSnnnn.md: cause, check, cure",
        });
    let unused = pages.iter().filter(|(code, _)| !used.contains_key(**code)).map(|(code, path)| Finding {
        file: path.to_path_buf(),
        line: 0,
        rule: "page without error",
        what: format!("nothing says `{code}`"),
        cure: "take the page out; the code is never used again",
    });
    unexplained.chain(unused).collect()
}

/// Codes in literals of sources (not of tests), each with its first place.
fn used(files: &[File]) -> BTreeMap<String, (PathBuf, usize)> {
    let mut used = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with("crates") && !file.is_test()) {
        let end = source_part(&code_only(&file.text)).len();
        for (n, line) in file.text[..end].lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for found in codes(line) {
                used.entry(found.to_owned()).or_insert_with(|| (file.path.clone(), n + 1));
            }
        }
    }
    used
}

fn is_code(text: &str) -> bool {
    text.len() == 6 && text.starts_with("MS") && text[2..].bytes().all(|byte| byte.is_ascii_digit())
}

/// Whole words of the form `MSnnnn`.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| is_code(word))
}

#[cfg(test)]
mod tests {
    use super::super::{brief, file};
    use super::*;

    // In two halves: whole codes would count as codes of this file.
    const CODE: &str = concat!("MS", "0107");

    #[test]
    fn codes_and_pages_meet() {
        let source = file("crates/a/src/lib.rs", &format!("//! A.\nconst A: &str = \"{CODE}\";\n"));
        let page = file(&format!("docs/errors/{CODE}.md"), "");
        assert_eq!(brief(&check(&[source])), ["crates/a/src/lib.rs:2 error without page"]);
        assert_eq!(brief(&check(&[page])), [format!("docs/errors/{CODE}.md:0 page without error")]);
    }

    #[test]
    fn both_together_are_fine_and_comments_do_not_count() {
        let source = file("crates/a/src/lib.rs", &format!("//! A.\nconst A: &str = \"{CODE}\";\n// MS9999\n"));
        let page = file(&format!("docs/errors/{CODE}.md"), "");
        assert_eq!(brief(&check(&[source, page])), Vec::<String>::new());
    }
}
