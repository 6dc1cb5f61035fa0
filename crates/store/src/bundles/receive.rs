//! Taking in a blob as it comes from the network.

use super::{BundleError, Bundles};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use model::ContentDigest;
use runtime::{BoxError, Tasks};
use std::pin::pin;
use tokio::sync::mpsc;

impl Bundles {
    /// Takes in a blob of at most `most` bytes from a stream; nothing of it is kept unless its digest is right.
    /// Does not block: the disk's work is done beside the runtime's threads, and a slow disk slows the sender.
    pub async fn put_blob<S, E>(
        &self,
        tasks: &Tasks,
        digest: ContentDigest,
        most: u64,
        stream: S,
    ) -> Result<(), BundleError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<BoxError>,
    {
        let (chunks, mut waiting) = mpsc::channel::<Result<Bytes, BoxError>>(8);
        let bundles = self.clone();
        let write = tasks.blocking("take in a blob", move || {
            let mut writer = bundles.begin_blob(digest, most)?;
            while let Some(chunk) = waiting.blocking_recv() {
                writer.append(&chunk.map_err(|source| BundleError::BrokenOff { digest, source })?)?;
            }
            writer.finish()
        });
        let send = async move {
            let mut stream = pin!(stream);
            while let Some(chunk) = stream.next().await {
                // The writer has an error to tell when it no longer listens.
                if chunks.send(chunk.map_err(Into::into)).await.is_err() {
                    return;
                }
            }
        };
        let mut write = pin!(write);
        tokio::select! {
            biased;
            written = &mut write => return written?,
            () = send => {}
        }
        write.await?
    }
}
