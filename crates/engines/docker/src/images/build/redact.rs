//! Hides the values of a build in what its builder says: builders repeat arguments, and steps print secrets.

use model::Secret;
use model::container::Build;

/// Shorter values hide nothing worth hiding, and everything else: `1`, `true`, `info`.
const SHORTEST: usize = 6;

/// What stands in place of a value.
const MASK: &str = "***";

/// Knows the values of one build that must not be seen.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first, so that no part of one is left.
    values: Vec<Secret>,
}

impl Redactor {
    /// Of its arguments and its secrets, and of each line of them, as output comes by lines.
    pub fn of(build: &Build) -> Self {
        let mut values: Vec<Vec<u8>> = Vec::new();
        for secret in build.secrets.values().chain(build.args.values()) {
            let lines = secret.reveal().split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            values.extend(lines.filter(|line| line.len() >= SHORTEST).map(<[u8]>::to_vec));
        }
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values: values.iter().map(Secret::new).collect() }
    }

    /// The text without the values.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in self.values.iter().map(Secret::reveal_text) {
            if text.contains(&*value) {
                text = text.replace(&*value, MASK);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_whole() {
        let mut build = Build::default();
        build.args.insert("A".into(), Secret::new("secret-value"));
        build.args.insert("B".into(), Secret::new("secret"));
        build.args.insert("C".into(), Secret::new("1"));
        build.secrets.insert("key".into(), Secret::new("-----BEGIN\nabcdefgh\n"));
        let redactor = Redactor::of(&build);
        assert_eq!(redactor.text("a secret-value, a secret, 1, abcdefgh"), "a ***, a ***, 1, ***");
    }
}
