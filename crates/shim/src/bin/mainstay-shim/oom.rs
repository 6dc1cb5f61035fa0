//! Whether it was want of memory that ended a workload: what the kernel counts, before and after.

use shim::spec::Cgroup;
use std::time::{Duration, Instant};

/// How many processes of these groups the kernel has killed for want of memory.
pub(crate) fn kills(cgroups: &[Cgroup]) -> u64 {
    let count = |cgroup: &Cgroup| {
        let text = std::fs::read_to_string(cgroup.dir.join(cgroup.oom_file.as_ref()?)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
    };
    cgroups.iter().filter_map(count).sum()
}

/// The last two looks at how many processes the kernel has killed for want of memory.
///
/// An old kill of a helper must not explain today's end of the workload, and a look taken between a kill and the news
/// of it must not hide that kill: so looks lie apart, and one that is too fresh does not count.
#[derive(Clone, Copy)]
pub(crate) struct Looks {
    last: (Instant, u64),
    former: u64,
}

impl Looks {
    const APART: Duration = Duration::from_secs(5);

    pub(crate) fn new(at: Instant, kills: u64) -> Self {
        Self { last: (at, kills), former: kills }
    }

    pub(crate) fn look(&mut self, at: Instant, kills: impl FnOnce() -> u64) {
        if at.duration_since(self.last.0) >= Self::APART {
            *self = Self { last: (at, kills()), former: self.last.1 };
        }
    }

    /// The count before what happened just now.
    pub(crate) fn before(&self, now: Instant) -> u64 {
        if now.duration_since(self.last.0) < Self::APART / 5 { self.former } else { self.last.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kill_does_not_explain_a_new_end_and_a_fresh_look_hides_none() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut looks = Looks::new(begin, 0);
        assert_eq!(looks.before(begin), 0);
        looks.look(after(3), || 1);
        assert_eq!(looks.before(after(3)), 0, "too soon after the first look");
        looks.look(after(60), || 1);
        assert_eq!(looks.before(after(60)), 0, "the kill may be what woke us");
        assert_eq!(looks.before(after(70)), 1, "a helper's, a while ago");
    }
}
