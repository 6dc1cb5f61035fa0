//! Sends what the daemon does not have, and makes the bundle.

use super::Found;
use crate::cli::Context;
use crate::client::{Body, Client, Error};
use crate::exit::Failure;
use crate::progress::words;
use crate::ui::live::Live;
use crate::ui::paint::Tone;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use server::api::bundle::{BundleCreated, BundleFile, Digests, NewBundle};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

const CHUNK: usize = 256 << 10;

/// Digests asked for at once: 64 bytes each, well below any limit on a request.
const ASKED_AT_ONCE: usize = 10_000;

/// Sends a bundle and gives its id.
pub async fn send(
    cx: &Context,
    declaration: String,
    found: &[Found],
    files: Vec<BundleFile>,
) -> Result<String, Failure> {
    let client = cx.client();
    let by_digest: BTreeMap<&str, (&Found, &BundleFile)> =
        found.iter().zip(&files).map(|(found, file)| (file.digest.as_str(), (found, file))).collect();
    let missing = missing(client, by_digest.keys().map(|digest| (*digest).to_owned()).collect()).await?;
    let wanted: Vec<_> = missing.iter().filter_map(|digest| by_digest.get(digest.as_str())).collect();
    if !wanted.is_empty() {
        let bytes = wanted.iter().map(|(_, file)| file.size).sum();
        let mut upload = Upload { live: Live::new(&cx.ui), sent: Arc::default(), bytes, count: wanted.len(), done: 0 };
        for (found, file) in wanted {
            upload.one(cx, found, file).await?;
        }
        upload.live.clear();
        cx.ui.note(format!(
            "  {} sent {}, {}",
            cx.ui.err.tone(Tone::Good, "✔"),
            words::count(upload.count, "file"),
            words::bytes(bytes)
        ));
    }
    let created: BundleCreated = client.post("/v1/bundles", &NewBundle { declaration, files }).await?;
    Ok(created.bundle)
}

async fn missing(client: &Client, digests: Vec<String>) -> Result<BTreeSet<String>, Error> {
    let mut missing = BTreeSet::new();
    for part in digests.chunks(ASKED_AT_ONCE) {
        let asked = Digests { digests: part.to_vec() };
        let answer: Digests = client.post("/v1/bundles/missing", &asked).await?;
        missing.extend(answer.digests);
    }
    Ok(missing)
}

struct Upload {
    live: Live,
    sent: Arc<AtomicU64>,
    bytes: u64,
    count: usize,
    done: usize,
}

impl Upload {
    async fn one(&mut self, cx: &Context, found: &Found, file: &BundleFile) -> Result<(), Failure> {
        let unreadable =
            |error: std::io::Error| Failure::failed(format!("`{}` cannot be read", found.path)).because(error);
        let source = File::open(&found.file).await.map_err(unreadable)?;
        // One byte more than was hashed would show as a broken request; a file that changes is refused by its digest.
        let body = body(source, self.sent.clone(), found.file.clone());
        let path = format!("/v1/blobs/{}", file.digest);
        let put = cx.client().put(&path, body, file.size);
        let mut put = std::pin::pin!(put);
        let sent = loop {
            tokio::select! {
                sent = &mut put => break sent,
                () = tokio::time::sleep(Duration::from_millis(80)) => self.show(cx, &found.path),
            }
        };
        self.done += 1;
        sent.map_err(|error| match error {
            Error::Refused(refused) if refused.status < 500 => {
                Failure::from(refused).because(format!("while sending `{}`", found.path))
            }
            other => changed(found, file).unwrap_or_else(|| other.into()),
        })
    }

    fn show(&mut self, cx: &Context, path: &str) {
        let (sent, all) = (self.sent.load(Ordering::Relaxed), self.bytes);
        let (done, count, paint) = (self.done, self.count, cx.ui.err);
        self.live.show(|spinner| {
            let sign = paint.tone(Tone::Accent, spinner);
            let amount = format!("{} of {}", words::bytes(sent), words::bytes(all));
            vec![format!("  {sign} sending {done}/{count}  {amount}  {}", paint.tone(Tone::Dim, path))]
        });
    }
}

// A file that shrank or grew while it was sent breaks the request; then that is what has to be said.
fn changed(found: &Found, file: &BundleFile) -> Option<Failure> {
    let now = std::fs::metadata(&found.file).ok()?;
    (now.len() != file.size).then(|| {
        Failure::failed(format!("`{}` changed while it was sent", found.path))
            .help("run the command again once nothing writes to it")
    })
}

fn body(source: File, sent: Arc<AtomicU64>, path: PathBuf) -> Body {
    let chunks = stream::try_unfold((source, sent, path), |(mut source, sent, path)| async move {
        let mut buffer = vec![0; CHUNK];
        let count = source.read(&mut buffer).await?;
        if count == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        buffer.truncate(count);
        sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(Some((Frame::data(Bytes::from(buffer)), (source, sent, path))))
    });
    BodyExt::boxed_unsync(StreamBody::new(chunks))
}
