//! What replicas use, as the Engine counts it.

use crate::engine::Inner;
use crate::error::Error;
use crate::labels;
use bollard::models::{ContainerStatsResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::StatsOptionsBuilder;
use engine::Usage;
use futures_util::{StreamExt as _, stream};
use model::{ReplicaId, StackId};
use plan::observed::Known;
use std::collections::BTreeMap;
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
            async move {
                // A single reading: with the usual two the Engine would take a second over it.
                let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
                let read = docker.stats(&container, Some(options)).next().await;
                let known = match read {
                    Some(Ok(stats)) => Known::Is(usage(&stats)),
                    Some(Err(error)) => Known::Unknown(self.refused(error).to_string()),
                    None => Known::Unknown("the Engine said nothing".into()),
                };
                (id, known)
            }
        });
        Ok(asked.buffer_unordered(WIDTH).collect().await)
    }
}

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
