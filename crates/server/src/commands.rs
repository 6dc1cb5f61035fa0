//! Command probes: run inside the replica through the engine.

use crate::engines::Engines;
use async_trait::async_trait;
use engine::{Exec, ExecExit};
use model::{ReplicaId, StackId};
use probe::{CommandEnd, CommandRunner};
use runtime::BoxError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// As much of a command's output is kept.
const KEPT: usize = 4096;

/// Runs the commands of probes.
pub struct Commands {
    /// Where replicas run.
    pub engines: Arc<Engines>,
}

#[async_trait]
impl CommandRunner for Commands {
    async fn run(
        &self,
        stack: &StackId,
        id: &ReplicaId,
        argv: &[String],
        timeout: Duration,
    ) -> Result<(CommandEnd, Vec<u8>), BoxError> {
        let (write, mut read) = pipe::pipe()?;
        let write = write.into_blocking_fd()?;
        let exec = Exec {
            argv: argv.to_vec(),
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
            stdio: [runtime::files::null()?.into(), write.try_clone()?, write],
            tty: false,
            timeout: Some(timeout),
        };
        let collect = async {
            let mut kept = Vec::new();
            let mut piece = [0; 1024];
            // Read to the end, so that a chatty command is not blocked; an error is an end as well.
            while let Ok(count @ 1..) = read.read(&mut piece).await {
                let room = KEPT - kept.len().min(KEPT);
                kept.extend_from_slice(&piece[..count.min(room)]);
            }
            kept
        };
        let (ended, output) = tokio::join!(self.engines.of(stack).exec(stack, id, exec), collect);
        let end = match ended? {
            ExecExit::Code(code) => CommandEnd::Code(code),
            ExecExit::Signal(signal) => CommandEnd::Signal(signal),
            ExecExit::TimedOut => CommandEnd::TimedOut,
            ExecExit::NotFound => CommandEnd::NotFound,
        };
        Ok((end, output))
    }
}
