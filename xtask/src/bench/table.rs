//! Rows as a table for a terminal, as JSON, and as the page `docs/benchmarks.md`.

use super::row::{Row, figure};
use serde_json::json;
use std::fmt::Write as _;

/// How the page ends.
const END: &str =
    "*ratio* is ours divided by the best peer's figure. What each bench does stands in `xtask/src/bench`.\n";
const HEAD: [&str; 7] = ["bench", "unit", "ours", "peers", "ratio", "goal", "met"];

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let cells: Vec<[String; 7]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let widths: Vec<usize> =
        (0..7).map(|n| cells.iter().map(|row| row[n].chars().count()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    for (name, failure) in failures(rows) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {failure}");
    }
    text
}

/// For programs.
pub fn json(rows: &[Row], setting: &[(&str, String)]) -> serde_json::Value {
    let figures = |row: &Row| -> serde_json::Value {
        let peers: serde_json::Map<_, _> =
            row.peers.iter().map(|(name, figure)| ((*name).to_owned(), json!(figure))).collect();
        json!({
            "name": row.name, "unit": row.unit, "ours": row.ours, "peers": peers, "ratio": row.ratio(),
            "goal": row.goal.to_string(), "met": row.goal.is_met(row.ours), "failure": row.failure,
        })
    };
    let setting: serde_json::Map<_, _> = setting.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({ "setting": setting, "rows": rows.iter().map(figures).collect::<Vec<_>>() })
}

/// The page in the repository.
pub fn page(rows: &[Row], setting: &[(&str, String)]) -> String {
    let mut page = "# Benchmarks\n\nWritten by `./dev bench --write`; medians over interleaved rounds. Planning is the first plan of\na process, from cold: nothing of what it reads is in the processor's caches.\n\n".to_owned();
    figures(&mut page, rows, setting);
    page + "\n" + END
}

/// A part of the page that was measured by itself.
pub fn section(title: &str, what: &str, rows: &[Row], setting: &[(&str, String)]) -> String {
    let mut text = format!("## {title}\n\n{what}\n\n");
    figures(&mut text, rows, setting);
    text + "\n"
}

/// The page with a section in place of the one that has this title, or as its last.
pub fn with_section(page: &str, title: &str, section: &str) -> String {
    let head = format!("## {title}\n");
    let end = page.find(END).unwrap_or(page.len());
    let from = page.find(&head).unwrap_or(end);
    let to = page[from..end].find("\n## ").filter(|_| from < end).map_or(end, |next| from + next + 1);
    format!("{}{section}{}", &page[..from], &page[to..])
}

fn figures(page: &mut String, rows: &[Row], setting: &[(&str, String)]) {
    for (key, value) in setting {
        let _ = writeln!(page, "- {key}: {value}");
    }
    let _ = writeln!(page, "\n| {} |\n|{}", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    for row in rows {
        let cells = cells(row).map(|cell| if cell == "NOT MET" { format!("**{cell}**") } else { cell });
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    for (name, failure) in failures(rows) {
        let _ = writeln!(page, "\n`{name}` could not be measured: {failure}");
    }
}

fn cells(row: &Row) -> [String; 7] {
    let peers: Vec<String> = row.peers.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
    [
        row.name.clone(),
        row.unit.to_owned(),
        figure(row.ours),
        if peers.is_empty() { "–".to_owned() } else { peers.join(", ") },
        row.ratio().map_or_else(|| "–".to_owned(), figure),
        row.goal.to_string(),
        row.verdict().to_owned(),
    ]
}

fn failures(rows: &[Row]) -> impl Iterator<Item = (&str, &str)> {
    rows.iter().filter_map(|row| Some((row.name.as_str(), row.failure.as_deref()?)))
}

#[cfg(test)]
mod tests {
    use super::super::row::Goal;
    use super::*;

    fn rows() -> Vec<Row> {
        vec![
            Row::new("edge: added p99", "ms", 1.25, Goal::AtMost(1.0)).beside("nginx", 0.5),
            Row::failed("up", "no postgres"),
        ]
    }

    #[test]
    fn the_table_shows_what_is_not_met_and_what_failed() {
        let expected = "\
bench            unit  ours  peers       ratio  goal    met
edge: added p99  ms    1.25  nginx 0.50  2.50   ≤ 1.00  NOT MET
up                     –     –           –      –       FAILED
up: no postgres
";
        assert_eq!(text(&rows()), expected);
    }

    #[test]
    fn the_page_keeps_it_visible() {
        let page = page(&rows(), &[("date", "2026-01-02".into())]);
        assert!(page.contains("- date: 2026-01-02\n"), "{page}");
        assert!(
            page.contains("| edge: added p99 | ms | 1.25 | nginx 0.50 | 2.50 | ≤ 1.00 | **NOT MET** |\n"),
            "{page}"
        );
        assert!(page.contains("`up` could not be measured: no postgres"), "{page}");
    }

    #[test]
    fn a_section_takes_the_place_of_the_one_before() {
        let page = page(&rows(), &[]);
        let section = |date: &str| section("Docker", "Beside.", &rows(), &[("date", date.into())]);
        let first = with_section(&page, "Docker", &section("2026-01-02"));
        assert!(first.contains("## Docker\n\nBeside.\n\n- date: 2026-01-02\n") && first.ends_with(END), "{first}");
        let both = with_section(&first, "Other", "## Other\n\n");
        let second = with_section(&both, "Docker", &section("2026-01-03"));
        assert_eq!(second, both.replace("2026-01-02", "2026-01-03"));
    }

    #[test]
    fn programs_get_every_figure() {
        let json = json(&rows(), &[]);
        assert_eq!(json["rows"][0]["peers"]["nginx"], 0.5);
        assert_eq!(json["rows"][0]["met"], false);
        assert_eq!(json["rows"][1]["ours"], serde_json::Value::Null);
    }
}
