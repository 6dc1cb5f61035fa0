//! What replicas use, as the kernel counts it, or the Engine where the kernel's count is out of reach.

use crate::engine::Inner;
use crate::error::Error;
use crate::labels;
use bollard::Docker;
use bollard::models::{ContainerStatsResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::StatsOptionsBuilder;
use engine::Usage;
use futures_util::{StreamExt as _, stream};
use model::{ReplicaId, StackId};
use plan::observed::Known;
use runtime::files::{self, FileError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

/// So many are asked for at once.
const WIDTH: usize = 16;
/// The control groups of so many containers are kept in mind.
const MOST_GROUPS: usize = 10_000;

impl Inner {
    /// What each running replica of a stack uses now.
    pub(crate) async fn usage(&self, stack: &StackId) -> Result<BTreeMap<ReplicaId, Known<Usage>>, Error> {
        let docker = self.docker().await?;
        let running = self.containers(Some(stack)).await?.into_iter().filter_map(|container| {
            let id = container.labels?.get(labels::ID)?.parse::<ReplicaId>().ok()?;
            (container.state == Some(ContainerSummaryStateEnum::RUNNING)).then_some((container.id?, id))
        });
        let asked = stream::iter(running).map(|(container, id)| {
            let docker = &docker;
            async move { (id, self.usage_of(docker, &container).await) }
        });
        Ok(asked.buffer_unordered(WIDTH).collect().await)
    }

    async fn usage_of(&self, docker: &Docker, container: &str) -> Known<Usage> {
        // The kernel is asked: the Engine answers at its own pace, once a second for all that it is asked of a container.
        let mount = Path::new("/sys/fs/cgroup");
        if let Some(usage) = of_container(container, mount) {
            return Known::Is(usage);
        }
        if let Some(usage) = self.group_of(docker, container).await.and_then(|group| of_group(&group, mount)) {
            return Known::Is(usage);
        }
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        match docker.stats(container, Some(options)).next().await {
            Some(Ok(stats)) => Known::Is(usage(&stats)),
            Some(Err(error)) => Known::Unknown(self.refused(error).to_string()),
            None => Known::Unknown("the Engine said nothing".into()),
        }
    }
}

impl Inner {
    /// The control group of a container that has been put below another parent: asked for once.
    async fn group_of(&self, docker: &Docker, container: &str) -> Option<String> {
        let kept = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = kept().get(container) {
            return Some(group.clone());
        }
        let pid = self.inspect(docker, container).await.ok()??.state?.pid.filter(|pid| *pid > 0)?;
        let group = group_in(&files::read_text(Path::new(&format!("/proc/{pid}/cgroup"))).ok()?)?;
        let mut kept = kept();
        // Containers that are gone are not worth a search.
        if kept.len() >= MOST_GROUPS {
            kept.clear();
        }
        kept.insert(container.to_owned(), group.clone());
        Some(group)
    }
}

/// The control group that counts memory, of what the kernel tells of a process.
fn group_in(text: &str) -> Option<String> {
    let of = |wanted: &str| {
        text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    of("memory").or_else(|| of(""))
}

/// What a container's control groups count, in version 1 or 2; none when they are not where the Engine usually has them.
fn of_container(id: &str, mount: &Path) -> Option<Usage> {
    // As the Engine names them by itself, and as it has systemd name them.
    let names = [format!("docker/{id}"), format!("system.slice/docker-{id}.scope")];
    names.iter().find_map(|name| of_group(name, mount))
}

fn of_group(name: &str, mount: &Path) -> Option<Usage> {
    of_version_2(&mount.join(name)).or_else(|_| of_version_1(name, mount)).ok()
}

fn of_version_1(name: &str, mount: &Path) -> Result<Usage, FileError> {
    let memory = mount.join("memory").join(name);
    let cache = line(&files::read_text(&memory.join("memory.stat"))?, "total_inactive_file ");
    Ok(Usage {
        cpu: Duration::from_nanos(number(&mount.join("cpuacct").join(name).join("cpuacct.usage"))?),
        memory: number(&memory.join("memory.usage_in_bytes"))?.saturating_sub(cache),
        pids: few(number(&mount.join("pids").join(name).join("pids.current"))?),
    })
}

fn of_version_2(group: &Path) -> Result<Usage, FileError> {
    let cache = line(&files::read_text(&group.join("memory.stat"))?, "inactive_file ");
    Ok(Usage {
        cpu: Duration::from_micros(line(&files::read_text(&group.join("cpu.stat"))?, "usage_usec ")),
        memory: number(&group.join("memory.current"))?.saturating_sub(cache),
        pids: few(number(&group.join("pids.current"))?),
    })
}

fn number(path: &Path) -> Result<u64, FileError> {
    Ok(files::read_text(path)?.trim().parse().unwrap_or(0))
}

fn line(text: &str, name: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

fn few(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The same by the Engine's word.
fn usage(stats: &ContainerStatsResponse) -> Usage {
    let memory = stats.memory_stats.clone().unwrap_or_default();
    let counted = memory.stats.unwrap_or_default();
    // Under that name in version 1 of control groups, under the other in version 2.
    let cache = counted.get("total_inactive_file").or_else(|| counted.get("inactive_file")).copied().unwrap_or(0);
    let cpu = stats.cpu_stats.as_ref().and_then(|cpu| cpu.cpu_usage.as_ref()?.total_usage).unwrap_or(0);
    let pids = stats.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or(0);
    Usage {
        cpu: Duration::from_nanos(cpu),
        memory: memory.usage.unwrap_or(0).saturating_sub(cache),
        pids: u32::try_from(pids).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(counts: &[(&str, &str)]) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in counts {
            let path = folder.path().join(path);
            files::create_dir(path.parent().expect("a file"), 0o700).expect("a folder");
            files::write(&path, text.as_bytes(), 0o600).expect("written");
        }
        let usage = of_container("c1", folder.path()).expect("it is counted");
        assert_eq!(usage, Usage { cpu: Duration::from_secs(2), memory: 700, pids: 3 });
        assert_eq!(of_container("c2", folder.path()), None);
    }

    #[test]
    fn the_group_of_a_process_is_the_one_that_counts_its_memory() {
        let version_1 = "9:name=systemd:/other\n4:cpu,memory:/shop/c1\n0::/unified\n";
        assert_eq!(group_in(version_1).as_deref(), Some("shop/c1"));
        assert_eq!(group_in("0::/shop.slice/docker-c1.scope\n").as_deref(), Some("shop.slice/docker-c1.scope"));
        assert_eq!(group_in("nonsense"), None);
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        check(&[
            ("system.slice/docker-c1.scope/memory.current", "1000\n"),
            ("system.slice/docker-c1.scope/memory.stat", "anon 5\ninactive_file 300\n"),
            ("system.slice/docker-c1.scope/cpu.stat", "usage_usec 2000000\nuser_usec 1\n"),
            ("system.slice/docker-c1.scope/pids.current", "3\n"),
        ]);
        check(&[
            ("memory/docker/c1/memory.usage_in_bytes", "1000\n"),
            ("memory/docker/c1/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
            ("cpuacct/docker/c1/cpuacct.usage", "2000000000\n"),
            ("pids/docker/c1/pids.current", "3\n"),
        ]);
    }
}
