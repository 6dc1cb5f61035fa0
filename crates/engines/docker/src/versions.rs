//! Keys that need a newer Engine than the oldest we speak to: one that does not know a key drops it without a word. Pure.

use crate::error::Error;
use bollard::ClientVersion;
use model::project::Template;

/// Whether an Engine that speaks this version knows every key of a template.
///
/// Errors: the first that it does not know, with the version that does.
pub(crate) fn check(template: &Template, speaks: &ClientVersion) -> Result<(), Error> {
    let container = &template.container;
    let keys = [
        (container.platform.is_some(), "platform", 41),
        (container.namespaces.cgroup.is_some(), "cgroup", 41),
        (!container.annotations.is_empty(), "annotations", 43),
    ];
    let found = (speaks.major_version, speaks.minor_version);
    match keys.into_iter().find(|(is_used, _, minor)| *is_used && found < (1, *minor)) {
        None => Ok(()),
        Some((_, key, minor)) => {
            Err(Error::TooOld { found: format!("{}.{}", found.0, found.1), needed: format!("1.{minor}"), key })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_engine_is_told_the_key_it_does_not_know() {
        let mut template = testkit::project::template("./run");
        let speaks = |minor_version| ClientVersion { major_version: 1, minor_version };
        assert!(check(&template, &speaks(40)).is_ok());
        template.container.annotations.insert("note".into(), "well".into());
        assert!(check(&template, &speaks(43)).is_ok());
        let error = check(&template, &speaks(41)).unwrap_err().to_string();
        assert!(error.contains("annotations") && error.contains("1.43"), "{error}");
    }
}
