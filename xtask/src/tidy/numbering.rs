//! Decisions are numbered without gaps, and have the parts that a decision has.

use super::{File, Finding};
use std::path::Path;

const FOLDER: &str = "docs/adr";
const PARTS: &[&str] = &["Context", "Decision", "Consequences", "What would change our mind"];

/// Findings in `docs/adr`.
pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers = Vec::new();
    for file in files.iter().filter(|file| file.path.parent() == Some(Path::new(FOLDER))) {
        let at = |rule, what: String, cure| Finding { file: file.path.clone(), line: 0, rule, what, cure };
        let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(number) = number(name) else {
            let what = format!("`{name}` is not numbered");
            findings.push(at("decision's number", what, "call it NNNN-what-was-decided.md"));
            continue;
        };
        if numbers.contains(&number) {
            let what = format!("{number:04} is taken");
            findings.push(at("decision's number", what, "take the next free number"));
        }
        numbers.push(number);
        let title = format!("# {}: ", if number == 0 { "NNNN".to_owned() } else { format!("{number:04}") });
        if !file.text.starts_with(&title) {
            let what = format!("`{}` is not the heading of {number:04}", file.text.lines().next().unwrap_or_default());
            findings.push(at(
                "decision's number",
                what,
                "begin with `# NNNN: what was decided`, with the file's number",
            ));
        }
        let is_missing = |part: &&&str| !file.text.lines().any(|line| line.strip_prefix("## ") == Some(**part));
        for part in PARTS.iter().filter(is_missing) {
            findings.push(at(
                "decision's parts",
                format!("`## {part}` is missing"),
                "follow docs/adr/0000-template.md",
            ));
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    let gap = numbers.iter().zip(0..).find(|(number, expected)| *number != expected);
    findings.extend(gap.map(|(_, expected)| Finding {
        file: FOLDER.into(),
        line: 0,
        rule: "decision's number",
        what: format!("there is no {expected:04}"),
        cure: "number decisions without gaps; a withdrawn one stays and says so",
    }));
    findings
}

/// The number of `0001-an-edge-of-our-own.md`.
fn number(name: &str) -> Option<u32> {
    let (number, title) = name.strip_suffix(".md")?.split_once('-')?;
    let is_title = !title.is_empty()
        && title.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    (number.len() == 4 && is_title).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::super::{brief, file};
    use super::*;

    const REST: &str = "\n\n## Context\n\n## Decision\n\n## Consequences\n\n## What would change our mind\n";

    fn check_names(names: &[&str]) -> Vec<String> {
        let title = |name: &str| if name.starts_with("0000") { "NNNN".to_owned() } else { name[..4].to_owned() };
        let text = |name: &str| format!("# {}: a{REST}", title(name));
        let files: Vec<File> = names.iter().map(|name| file(&format!("docs/adr/{name}"), &text(name))).collect();
        brief(&check(&files))
    }

    #[test]
    fn numbers_have_no_gaps_and_no_twins() {
        assert_eq!(check_names(&["0000-template.md", "0001-a.md"]), Vec::<String>::new());
        assert_eq!(check_names(&["0000-template.md", "0002-a.md"]), ["docs/adr:0 decision's number"]);
        assert_eq!(check_names(&["0000-template.md", "0000-a.md"]), ["docs/adr/0000-a.md:0 decision's number"]);
        assert_eq!(check_names(&["decision.md"]), ["docs/adr/decision.md:0 decision's number"]);
    }

    #[test]
    fn a_decision_is_headed_by_its_number() {
        let files = [
            file("docs/adr/0000-template.md", &format!("# NNNN: a{REST}")),
            file("docs/adr/0001-b.md", &format!("# 0002: b{REST}")),
        ];
        assert_eq!(check(&files)[0].what, "`# 0002: b` is not the heading of 0001");
    }

    #[test]
    fn a_decision_has_its_parts() {
        let files = [file("docs/adr/0000-a.md", "# NNNN: a\n\n## Context\n\n## Decision\n\n## Consequences\n")];
        assert_eq!(check(&files)[0].what, "`## What would change our mind` is missing");
    }
}
