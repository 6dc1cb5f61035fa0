//! `nft`, the machine's tool for packet rules.

use crate::error::Error;
use runtime::Clock;
use runtime::processes::{Output, Spawn, Stdio};
use std::io::{self, Seek, Write};
use std::time::Duration;

/// How long it may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Some ten thousand rules.
pub(crate) const MOST_WORDS: u64 = 8 << 20;

/// Hands it a script, which it carries out as a whole or not at all.
pub(crate) async fn feed(script: &str, clock: &dyn Clock) -> Result<(), Error> {
    run(Spawn::new("nft").args(["-f", "-"]), script, clock).await
}

/// Asks whether it would carry out a script.
pub(crate) async fn check(script: &str, clock: &dyn Clock) -> Result<(), Error> {
    run(Spawn::new("nft").args(["-c", "-f", "-"]), script, clock).await
}

async fn run(mut spawn: Spawn, script: &str, clock: &dyn Clock) -> Result<(), Error> {
    let kernel = |source| Error::Kernel { doing: "hand rules to `nft`", source };
    spawn.stdio[0] = Stdio::Fd(memory(script).map_err(kernel)?.into());
    accepted(&output(spawn, clock).await?)
}

/// The rules of an `ip` table, without the elements of sets; none when there is no such table.
pub(crate) async fn list(table: &str, clock: &dyn Clock) -> Result<Option<String>, Error> {
    let output = output(Spawn::new("nft").args(["-t", "list", "table", "ip", table]), clock).await?;
    Ok(output.exit.is_success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

async fn output(spawn: Spawn, clock: &dyn Clock) -> Result<Output, Error> {
    match spawn.output(clock, LIMIT, MOST_WORDS).await {
        Err(error) if error.is_missing() => Err(Error::NoNft),
        result => Ok(result?),
    }
}

/// Its errors as ours.
pub(crate) fn accepted(output: &Output) -> Result<(), Error> {
    match output.exit.is_success() {
        true => Ok(()),
        false => Err(Error::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn memory(text: &str) -> io::Result<std::fs::File> {
    let fd = rustix::fs::memfd_create(c"mainstay-rules", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
