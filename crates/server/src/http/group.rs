//! The group that may reach the daemon's socket; documented as equal to root.

use std::path::Path;

/// The name of the group.
const GROUP: &str = "mainstay";

/// The number of the group, if the machine has it.
pub fn group() -> Option<u32> {
    let groups = runtime::files::read_text(Path::new("/etc/group")).ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == GROUP).then(|| fields.nth(1)?.parse().ok())?
    })
}
