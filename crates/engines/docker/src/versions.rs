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
