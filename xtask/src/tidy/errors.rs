//! Every code that a user may meet has its page, and every page its code.

use super::lexer::code_only;
use super::source::source_part;
use super::{File, Finding};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PAGES: &str = "docs/errors";

/// What a page tells, in this order; each part begins a paragraph.
const PARTS: [&str; 3] = ["**Cause.** ", "**Check.** ", "**Cure.** "];

/// Codes without page, pages without code, pages that leave something out.
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
    let mut findings: Vec<Finding> = unexplained.chain(unused).collect();
    let is_page = |file: &&File| pages.values().any(|path| *path == file.path);
    findings.extend(files.iter().filter(is_page).filter_map(check_page));
    findings
}

/// The first thing that a page lacks: its heading, a part, or the parts' order.
fn check_page(page: &File) -> Option<Finding> {
    let heading = format!("# {}: ", page.path.file_stem()?.to_str()?);
    let parts = page.text.lines().filter_map(|line| PARTS.iter().find(|part| line.starts_with(**part)));
    let what = if !page.text.starts_with(&heading) {
        format!("the page does not begin with `{heading}`")
    } else if !parts.eq(PARTS.iter()) {
        format!("the page has not each of `{}` once, in this order", PARTS.join("`, `"))
    } else {
        return None;
    };
    let cure = "write what happened, how to see it, what to do";
    Some(Finding { file: page.path.clone(), line: 0, rule: "error page's parts", what, cure })
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

    fn page(heading: &str, parts: &[&str]) -> File {
        let text = format!("# {heading}: not found\n\n{}x\n", parts.join("x\n\n"));
        file(&format!("docs/errors/{CODE}.md"), &text)
    }

    #[test]
    fn a_page_tells_cause_check_and_cure_under_its_own_code() {
        let what = |page: &File| check_page(page).map(|finding| finding.what);
        assert_eq!(what(&page(CODE, &PARTS)), None);
        for parts in [&["**Cause.** ", "**Cure.** "][..], &["**Check.** ", "**Cause.** ", "**Cure.** "]] {
            let what = what(&page(CODE, parts)).unwrap();
            assert!(what.starts_with("the page has not each of `**Cause.** `"), "{what}");
        }
        let other = concat!("MS", "0108");
        assert_eq!(what(&page(other, &PARTS)), Some(format!("the page does not begin with `# {CODE}: `")));
    }

    #[test]
    fn codes_and_pages_meet() {
        let source = file("crates/a/src/lib.rs", &format!("//! A.\nconst A: &str = \"{CODE}\";\n"));
        let page = page(CODE, &PARTS);
        assert_eq!(brief(&check(&[source])), ["crates/a/src/lib.rs:2 error without page"]);
        assert_eq!(brief(&check(&[page])), [format!("docs/errors/{CODE}.md:0 page without error")]);
    }

    #[test]
    fn both_together_are_fine_and_comments_do_not_count() {
        let source = file("crates/a/src/lib.rs", &format!("//! A.\nconst A: &str = \"{CODE}\";\n// MS9999\n"));
        let page = page(CODE, &PARTS);
        assert_eq!(brief(&check(&[source, page])), Vec::<String>::new());
    }
}
