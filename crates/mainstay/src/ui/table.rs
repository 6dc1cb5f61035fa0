//! Aligned columns without borders: easy to read, easy to cut.

use super::paint::{Paint, Tone};
use console::measure_text_width;

/// Rows under a heading; every cell may be painted.
#[derive(Debug, Default)]
pub struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<'a>(heading: impl IntoIterator<Item = &'a str>) -> Self {
        Self { heading: heading.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The lines; columns where every row is empty are left out.
    pub fn lines(&self, paint: Paint) -> Vec<String> {
        let cell = |row: &[String], column: usize| row.get(column).map_or(0, |text| measure_text_width(text));
        let widths: Vec<usize> = (0..self.heading.len())
            .map(|column| match self.rows.iter().map(|row| cell(row, column)).max() {
                None | Some(0) => 0,
                Some(width) => width.max(measure_text_width(&self.heading[column])),
            })
            .collect();
        let heading: Vec<String> = self.heading.iter().map(|text| paint.tone(Tone::Dim, text)).collect();
        let heading = (!self.heading.iter().all(String::is_empty)).then_some(&heading);
        heading.into_iter().chain(&self.rows).map(|row| line(row, &widths)).collect()
    }
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (text, width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        if !out.is_empty() {
            out.push_str("  ");
        }
        out.push_str(text);
        out.push_str(&" ".repeat(width.saturating_sub(measure_text_width(text))));
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn columns_are_as_wide_as_they_must_be_and_empty_ones_go() {
        let mut table = Table::new(["NAME", "NOTE", "STATE"]);
        table.row(["api".into(), String::new(), Paint(true).tone(Tone::Good, "ready")]);
        table.row(["database".into(), String::new(), "down".into()]);
        expect![[r#"
            NAME      STATE
            api       ready
            database  down"#]]
        .assert_eq(&console::strip_ansi_codes(&table.lines(Paint(false)).join("\n")));
    }
}
