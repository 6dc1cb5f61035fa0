//! Rules of the repository that no compiler checks: each module below owns one kind of rule as a pure function from
//! text to findings; this one reads the files and prints. Changes nothing, ever.

mod edges;
mod errors;
mod lexer;
mod numbering;
mod packages;
mod source;
mod words;

use anyhow::{Context as _, ensure};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the repository.
    pub file: PathBuf,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong, with the offending value.
    pub what: String,
    /// What to do, one imperative sentence.
    pub cure: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}\n    {}", self.rule, self.what, self.cure)
    }
}

/// A text file of the repository.
pub struct File {
    /// From the root of the repository.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// A test file as a whole: all of it is test code.
    fn is_test(&self) -> bool {
        self.path.components().any(|part| part.as_os_str() == "tests") || self.path.ends_with("tests.rs")
    }
}

/// What is allowed, from `budget.toml`.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Packages in `Cargo.lock`.
    pub locked_packages: usize,
    /// Packages in the shop's `Cargo.lock`.
    pub shop_packages: usize,
    /// Lines of a module.
    pub module_lines: usize,
    /// Lines that most functions have at most.
    pub usual_function_lines: usize,
    /// Functions with more, per thousand.
    pub unusual_functions_per_thousand: usize,
    /// Lines that make a function long.
    pub long_function_lines: usize,
    /// Long functions per thousand.
    pub long_functions_per_thousand: usize,
}

impl Budget {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
            let value = line.with_context(|| format!("xtask/budget.toml: `{name}` is missing"))?;
            value.trim().parse().with_context(|| format!("xtask/budget.toml: `{name}` is no number"))
        };
        Ok(Self {
            locked_packages: number("locked_packages")?,
            shop_packages: number("shop_packages")?,
            module_lines: number("module_lines")?,
            usual_function_lines: number("usual_function_lines")?,
            unusual_functions_per_thousand: number("unusual_functions_per_thousand")?,
            long_function_lines: number("long_function_lines")?,
            long_functions_per_thousand: number("long_functions_per_thousand")?,
        })
    }
}

/// Checks everything and prints what it finds; whether nothing was found.
pub fn run(root: &Path) -> anyhow::Result<bool> {
    let files = read_files(root)?;
    let budget = Budget::parse(&std::fs::read_to_string(root.join("xtask/budget.toml"))?)?;
    let metadata = metadata(root)?;
    let mut findings = edges::check(&edges::read(&metadata)?);
    for (lock, budget) in [("Cargo.lock", budget.locked_packages), ("examples/shop/Cargo.lock", budget.shop_packages)] {
        let text = std::fs::read_to_string(root.join(lock)).with_context(|| format!("read {lock}"))?;
        findings.extend(packages::check(lock, &text, budget));
    }
    findings.extend(source::check(&files, &budget));
    findings.extend(words::check(&files));
    findings.extend(errors::check(&files));
    findings.extend(numbering::check(&files));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    let shape = source::shape(&files, &budget);
    match findings.len() {
        0 => println!("tidy: {} files, {shape}, nothing to put right", files.len()),
        n => println!("tidy: {} files, {shape}, {n} to put right", files.len()),
    }
    Ok(findings.is_empty())
}

/// Every text file that is or could be committed.
fn read_files(root: &Path) -> anyhow::Result<Vec<File>> {
    let listing = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("run git")?;
    ensure!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let mut files = Vec::new();
    for name in listing.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let path = PathBuf::from(String::from_utf8(name.to_vec()).context("file names are UTF-8")?);
        match std::fs::read(root.join(&path)) {
            // What is no text holds no rules of ours; what was deleted but not yet committed is gone.
            Ok(bytes) => files.extend(String::from_utf8(bytes).ok().map(|text| File { path, text })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        }
    }
    Ok(files)
}

fn metadata(root: &Path) -> anyhow::Result<serde_json::Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what cargo metadata printed")
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into() }
}

/// `file:line rule` of each finding, the form that tests compare.
#[cfg(test)]
fn brief(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}:{} {}", finding.file.display(), finding.line, finding.rule)).collect()
}
