//! Our own program on its way to a host: sent beside the one that is there, measured, put in its place.

use super::Context;
use super::far::{Far, Script};
use crate::cli::connect;
use crate::client::greeting::Greeting;
use crate::daemon::OURSELVES;
use crate::exit::Failure;
use crate::progress::words::bytes;
use crate::ui::live::Live;
use crate::ui::paint::Tone;
use std::time::Duration;

/// Where it lies on every host.
pub const PROGRAM: &str = "/usr/local/bin/mainstay";

const STAGE: Script = Script { doing: "make room for the program", text: include_str!("stage.sh"), is_long: false };
const INSTALL: Script = Script { doing: "install the program", text: include_str!("install.sh"), is_long: false };
const BACK: Script = Script { doing: "put the earlier program back", text: include_str!("back.sh"), is_long: false };

/// BLAKE3 of our own program.
pub fn ours() -> Result<String, Failure> {
    connect::digest().map_err(|error| Failure::failed("our own program cannot be read").because(error))
}

/// Which program is installed there; none when there is none, or one that cannot say so.
pub async fn installed(far: &Far) -> Option<Greeting> {
    let said = far.call("ask the program", &[PROGRAM, "connect", "--identify"]).await.ok()?;
    said.lines().find_map(Greeting::read)?.ok()
}

/// Makes the installed program ours; whether it was another one.
pub async fn install(cx: &Context, far: &Far, digest: &str) -> Result<bool, Failure> {
    let there = installed(far).await;
    if there.is_some_and(|greeting| greeting.digest.as_deref() == Some(digest)) {
        return Ok(false);
    }
    let program =
        std::fs::read(OURSELVES).map_err(|error| Failure::failed("our own program cannot be read").because(error))?;
    let staged = far.run_as_root(STAGE, &[]).await?.trim().to_owned();
    let target = format!("of={staged}");
    let words = ["dd", &target, "bs=64k", "conv=fsync", "status=none"];
    let send = far.send_as_root("copy the program", &words, &program);
    waiting(cx, &format!("copying {}", bytes(program.len() as u64)), send).await?;
    far.run_as_root(INSTALL, &[&staged, digest]).await?;
    Ok(true)
}

/// Puts back the program that was there before.
pub async fn put_back(far: &Far) -> Result<(), Failure> {
    far.run_as_root(BACK, &[]).await.map(drop)
}

/// Waits for something with a sign that turns.
pub async fn waiting<T>(cx: &Context, what: &str, work: impl Future<Output = T>) -> T {
    let mut live = Live::new(&cx.ui);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(Duration::from_millis(80)) => {
                live.show(|spinner| vec![format!("  {} {what}", cx.ui.err.tone(Tone::Accent, spinner))]);
            }
        }
    }
}
