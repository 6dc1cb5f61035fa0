//! Hides a stack's secrets in texts that others write: output of probes, log lines, errors.
//!
//! Owns which values count: those of environment variables, of secret files, and passwords within URLs. A value that
//! was written into a command line only is not known here; such lines are never shown, only their programs ([`probe::shown`]).

use model::project::{FileKind, Template};
use model::stack::Stack;
use plan::Observed;
use plan::observed::{Health, Phase};
use std::collections::BTreeSet;

/// Shorter values hide nothing worth hiding, and everything else: `1`, `true`, `info`.
const SHORTEST: usize = 6;

/// What stands in place of a value.
const MASK: &str = "***";

/// Knows the values of one stack that must not be seen.
#[derive(Default)]
pub struct Redactor {
    /// The longest first, so that no part of one is left.
    values: Vec<String>,
}

impl Redactor {
    /// Of this stack.
    pub fn of(stack: &Stack) -> Self {
        let mut values = BTreeSet::new();
        for target in stack.services.values() {
            collect(&target.template, &mut values);
        }
        let names = stack.services.keys().map(ToString::to_string);
        let names = names.chain([stack.id.project.to_string(), stack.id.environment.to_string()]);
        // Names are shown everywhere: as values they are no secrets.
        for name in names {
            values.remove(&name);
        }
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self { values }
    }

    /// The text without the values.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), MASK);
            }
        }
        text
    }

    fn hide(&self, text: &mut String) {
        *text = self.text(text);
    }
}

/// Hides a stack's secrets in everything that replicas, probes and the engine say.
pub fn observed(stack: &Stack, have: &mut Observed) {
    let troubles = have.health.values_mut().filter_map(|health| match health {
        Health::Unready(why) | Health::Dead(why) => Some(why),
        Health::Ready | Health::Starting => None,
    });
    let phases = have.placed.replicas.values_mut().filter_map(|replica| match &mut replica.phase {
        Phase::Failed { why, .. } | Phase::Unknown(why) => Some(why),
        _ => None,
    });
    let mut texts = troubles.chain(phases).peekable();
    if texts.peek().is_some() {
        let redactor = Redactor::of(stack);
        texts.for_each(|text| redactor.hide(text));
    }
}

fn collect(template: &Template, values: &mut BTreeSet<String>) {
    let mut add = |text: &str| {
        if text.len() >= SHORTEST {
            values.insert(text.to_owned());
        }
    };
    for value in template.environment.values() {
        let text = value.reveal_text();
        add(&text);
        password(&text).into_iter().for_each(&mut add);
    }
    for file in template.files.iter().filter(|file| file.kind == FileKind::Secret) {
        // A program quotes a line of a key rather than all of it.
        file.content.reveal_text().lines().map(str::trim).for_each(&mut add);
    }
}

/// `postgres://user:password@host` → `password`.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::project::Project;
    use model::secret::Secret;
    use std::sync::Arc;

    fn redactor(variables: &[(&str, &str)]) -> Redactor {
        let project: Project = testkit::project::with(testkit::project::project(), "worker", |service| {
            let values = variables.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value)));
            Arc::make_mut(&mut service.template).environment = values.collect();
        });
        Redactor::of(&crate::testing::stack(&project))
    }

    #[test]
    fn values_are_hidden_and_short_ones_and_names_are_not() {
        let variables = [
            ("TOKEN", "hunter2hunter2"),
            ("PART", "hunter2"),
            ("LEVEL", "info"),
            ("ROLE", "worker"),
            ("DATABASE_URL", "postgres://shop:s3cr3t-pw@db:5432/shop?x=1"),
        ];
        let redactor = redactor(&variables);
        for (text, want) in [
            ("bad token hunter2hunter2!", "bad token ***!"),
            ("hunter2 at level info in worker", "*** at level info in worker"),
            ("password s3cr3t-pw is wrong", "password *** is wrong"),
            ("postgres://shop:s3cr3t-pw@db:5432/shop?x=1", "***"),
        ] {
            assert_eq!(redactor.text(text), want);
        }
    }
}
