//! Tones of text, and what of foreign text may reach a terminal.

use clap::builder::styling::{AnsiColor, Effects, Style};

/// What a colour stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Will hurt.
    Warn,
    /// Wrong.
    Bad,
    /// Less important.
    Dim,
    /// A heading, a name.
    Strong,
    /// Something to type, a place to go to.
    Accent,
    /// The replica with this number in a listing: tells lines apart.
    Nth(usize),
}

impl Tone {
    fn style(self) -> Style {
        let colour = |colour: AnsiColor| colour.on_default();
        // No red: among log lines it would look like an error.
        const CYCLE: [AnsiColor; 6] = [
            AnsiColor::Cyan,
            AnsiColor::Yellow,
            AnsiColor::Green,
            AnsiColor::Magenta,
            AnsiColor::Blue,
            AnsiColor::BrightCyan,
        ];
        match self {
            Self::Good => colour(AnsiColor::Green),
            Self::Warn => colour(AnsiColor::Yellow).effects(Effects::BOLD),
            Self::Bad => colour(AnsiColor::Red).effects(Effects::BOLD),
            Self::Dim => Style::new().effects(Effects::DIMMED),
            Self::Strong => Style::new().effects(Effects::BOLD),
            Self::Accent => colour(AnsiColor::Cyan),
            Self::Nth(n) => colour(CYCLE[n % CYCLE.len()]),
        }
    }
}

/// Whether tones show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    /// The text in a tone.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        if !self.0 || text.is_empty() {
            return text.to_owned();
        }
        let style = tone.style();
        format!("{style}{text}{style:#}")
    }

    /// The text with everything in backticks in the accent's tone; the backticks go where colour shows.
    pub fn commands(self, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let parts = text.split('`').enumerate();
        parts.map(|(n, part)| if n % 2 == 1 { self.tone(Tone::Accent, part) } else { part.to_owned() }).collect()
    }
}

/// Text from elsewhere without what could move the cursor, change the title or hide other lines.
///
/// Colours (`ESC [ … m`) stay when `colours` says so; tabs stay.
pub fn tame(text: &str, colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut painted = false;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(length) = sequence(rest) else {
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
            continue;
        };
        if colours && rest[..length].ends_with('m') && rest[..length].starts_with("\x1b[") {
            out.push_str(&rest[..length]);
            painted = true;
        }
        rest = &rest[length..];
    }
    out.push_str(rest);
    if painted {
        out.push_str("\x1b[0m");
    }
    out
}

// Length of the escape sequence that `text` begins with: CSI up to its final byte, OSC up to BEL or ST.
fn sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\x1b')?;
    match body.as_bytes().first()? {
        b'[' => {
            let end = body.bytes().skip(1).position(|byte| (0x40..=0x7e).contains(&byte))?;
            Some(1 + 1 + end + 1).filter(|end| text.is_char_boundary(*end))
        }
        b']' => match body.find(['\x07', '\x1b']) {
            Some(end) => Some(1 + end + if body[end..].starts_with('\x07') { 1 } else { 0 }),
            None => Some(text.len()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        let check = |text: &str, want: &str| assert_eq!(tame(text, true), want, "{text:?}");
        check("plain\ttext ü", "plain\ttext ü");
        check("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m");
        check("a\x1b[2Jb\rc\x08d", "abcd");
        check("a\x1b]0;title\x07b", "ab");
        check("a\x1b]0;title\x1b\\b", "a\\b");
        check("a\x1b]0;never ends", "a");
        check("cut\x1b[3", "cut[3");
        check("bell\x07", "bell");
        assert_eq!(tame("\x1b[31mred\x1b[0m", false), "red");
    }

    #[test]
    fn commands_keep_their_backticks_without_colour() {
        assert_eq!(Paint(false).commands("run `up`"), "run `up`");
        assert_eq!(console::strip_ansi_codes(&Paint(true).commands("run `up` now")), "run up now");
    }
}
