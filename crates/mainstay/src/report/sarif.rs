//! Diagnostics as a SARIF 2.1.0 log (OASIS, 2020): what editors and code hosts read.

use declare::codes;
use model::diagnostic::{Diagnostic, Label, Severity};
use model::span::{Sources, Span};
use serde_json::{Value, json};

/// The log of one run.
pub fn log(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let mut rules: Vec<&'static str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let title =
        |code: &'static str| codes::ALL.iter().find(|known| known.number == code).map_or(code, |known| known.title);
    let rule = |code: &&'static str| json!({ "id": code, "shortDescription": { "text": title(code) } });
    let result = |diagnostic: &Diagnostic| {
        let level = match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let help = diagnostic.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        let mut labels = diagnostic.labels.iter();
        let main: Vec<Value> = labels.next().into_iter().map(|label| location(label, sources)).collect();
        let mut result = json!({
            "ruleId": diagnostic.code,
            "ruleIndex": rules.iter().position(|code| *code == diagnostic.code),
            "level": level,
            "message": { "text": format!("{}{help}", diagnostic.message) },
            "locations": main,
        });
        let others: Vec<Value> = labels.map(|label| location(label, sources)).collect();
        if !others.is_empty() {
            result["relatedLocations"] = others.into();
        }
        result
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "mainstay",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "results": diagnostics.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn location(label: &Label, sources: &Sources) -> Value {
    let start = sources.position(label.span);
    let end = sources.position(Span { start: label.span.end, ..label.span });
    let mut location = json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&sources.get(label.span.file).name) },
        "region": { "startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1 },
    } });
    if !label.text.is_empty() {
        location["message"] = json!({ "text": label.text });
    }
    location
}

/// A path as a reference of RFC 3986: relative to the project's folder, or of the machine.
fn uri(path: &str) -> String {
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_characters() {
        let mut sources = Sources::default();
        let file = sources.add("ops/my file.yaml", "ä: 1\näö: x\n");
        let span = |start, end| Span { file, start, end };
        let found = [
            Diagnostic::error("MS0010", "`äö` is no known key")
                .at(span(6, 10), "")
                .at(span(0, 2), "here")
                .help("remove it"),
            Diagnostic::warning("MS0018", "nowhere"),
        ];
        let log = log(&found, &sources);
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"][0]["shortDescription"]["text"], "a key nobody knows");
        let first = &run["results"][0];
        assert_eq!(first["message"]["text"], "`äö` is no known key; remove it");
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "ops/my%20file.yaml");
        assert_eq!(place["region"], json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 3 }));
        assert_eq!(first["relatedLocations"][0]["message"]["text"], "here");
        assert_eq!((&run["results"][1]["ruleIndex"], &run["results"][1]["locations"]), (&json!(1), &json!([])));
    }
}
