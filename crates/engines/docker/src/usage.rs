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
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many are asked for at once.
const WIDTH: usize = 16;

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
        let pid = match self.inspect(docker, container).await {
            Ok(found) => found.and_then(|found| found.state?.pid).filter(|pid| *pid > 0),
            Err(error) => return Known::Unknown(error.to_string()),
        };
        // The kernel is asked: the Engine answers at its own pace, once a second for all that it is asked of a container.
        if let Some(Ok(usage)) = pid.map(|pid| of_process(pid, Path::new("/proc"), Path::new("/sys/fs/cgroup"))) {
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

/// What the control groups of a process count, in version 1 or 2.
fn of_process(pid: i64, proc: &Path, mount: &Path) -> Result<Usage, FileError> {
    let groups = files::read_text(&proc.join(format!("{pid}/cgroup")))?;
    let group = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let read = |path: PathBuf| files::read_text(&path);
    let number = |path: PathBuf| Ok::<u64, FileError>(read(path)?.trim().parse().unwrap_or(0));
    let line = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        value.unwrap_or(0)
    };
    let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    if let Some(memory) = group("memory") {
        let dir = |controller: &str| mount.join(controller).join(group(controller).unwrap_or_default());
        let memory = mount.join("memory").join(memory);
        let cache = line(&read(memory.join("memory.stat"))?, "total_inactive_file ");
        return Ok(Usage {
            cpu: Duration::from_nanos(number(dir("cpuacct").join("cpuacct.usage"))?),
            memory: number(memory.join("memory.usage_in_bytes"))?.saturating_sub(cache),
            pids: few(number(dir("pids").join("pids.current"))?),
        });
    }
    let dir = mount.join(group("").unwrap_or_default());
    let cache = line(&read(dir.join("memory.stat"))?, "inactive_file ");
    Ok(Usage {
        cpu: Duration::from_micros(line(&read(dir.join("cpu.stat"))?, "usage_usec ")),
        memory: number(dir.join("memory.current"))?.saturating_sub(cache),
        pids: few(number(dir.join("pids.current"))?),
    })
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

    fn check(groups: &str, counts: &[(&str, &str)]) {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            files::create_dir(path.parent().expect("a file"), 0o700).expect("a folder");
            files::write(&path, text.as_bytes(), 0o600).expect("written");
        };
        put("proc/7/cgroup", groups);
        counts.iter().for_each(|(path, text)| put(path, text));
        let usage = of_process(7, &folder.path().join("proc"), &folder.path().join("fs")).expect("it is counted");
        assert_eq!(usage, Usage { cpu: Duration::from_secs(2), memory: 700, pids: 3 });
        assert!(of_process(8, &folder.path().join("proc"), &folder.path().join("fs")).is_err());
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        check(
            "0::/system.slice/docker-c1.scope\n",
            &[
                ("fs/system.slice/docker-c1.scope/memory.current", "1000\n"),
                ("fs/system.slice/docker-c1.scope/memory.stat", "anon 5\ninactive_file 300\n"),
                ("fs/system.slice/docker-c1.scope/cpu.stat", "usage_usec 2000000\nuser_usec 1\n"),
                ("fs/system.slice/docker-c1.scope/pids.current", "3\n"),
            ],
        );
        check(
            "4:memory:/docker/c1\n3:cpu,cpuacct:/docker/c1\n2:pids:/docker/c1\n0::/\n",
            &[
                ("fs/memory/docker/c1/memory.usage_in_bytes", "1000\n"),
                ("fs/memory/docker/c1/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
                ("fs/cpuacct/docker/c1/cpuacct.usage", "2000000000\n"),
                ("fs/pids/docker/c1/pids.current", "3\n"),
            ],
        );
    }
}
