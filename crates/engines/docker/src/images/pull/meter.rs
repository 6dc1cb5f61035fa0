//! How a pull goes, out of the Engine's messages. Pure.
//!
//! Owns what counts as progress: bytes and phases that move. A message that the Engine tries again does not.

use engine::images::News;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A message of the Engine about a pull.
#[derive(Debug, Default, Deserialize)]
pub struct Message {
    /// The layer it is about.
    #[serde(default)]
    pub id: String,
    /// What goes on.
    #[serde(default)]
    pub status: String,
    /// How far it is.
    #[serde(default, rename = "progressDetail")]
    pub detail: Detail,
    /// What went wrong: the last message.
    #[serde(default, rename = "errorDetail")]
    pub error: Option<Failure>,
}

/// How far a layer is.
#[derive(Debug, Default, Deserialize)]
pub struct Detail {
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
}

/// What went wrong.
#[derive(Debug, Default, Deserialize)]
pub struct Failure {
    /// In words.
    #[serde(default)]
    pub message: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Waiting,
    Fetching,
    Fetched,
    Unpacking,
    Done,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Layer {
    phase: Phase,
    fetched: u64,
    unpacked: u64,
    size: u64,
}

/// All layers of a pull.
#[derive(Debug, Default)]
pub struct Meter {
    layers: BTreeMap<String, Layer>,
    unpacks: bool,
    told: (u64, u64),
}

impl Meter {
    /// Takes a message in; what is new, and whether anything moved.
    pub fn take(&mut self, message: &Message) -> (Vec<News>, bool) {
        let Some(phase) = phase(&message.status) else {
            let last = message.status.starts_with("Digest:") || message.status.starts_with("Status:");
            return (Vec::new(), last || message.status.starts_with("Pulling from"));
        };
        let before = self.layers.insert(message.id.clone(), Layer::default());
        let mut layer = before.unwrap_or_default();
        layer.step(phase, &message.detail);
        self.layers.insert(message.id.clone(), layer);
        (self.news(), before != Some(layer))
    }

    /// Whether what is under way is the machine's own work, which no registry holds up.
    pub fn is_local(&self) -> bool {
        let mut left = self.layers.values().filter(|layer| layer.phase != Phase::Done).peekable();
        left.peek().is_some() && left.all(|layer| layer.phase >= Phase::Fetched)
    }

    fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        if !self.unpacks && self.is_local() {
            self.unpacks = true;
            news.push(News::Step { number: 0, of: 0, text: "unpack".into(), cached: false });
        }
        let sum = |part: fn(&Layer) -> u64| self.layers.values().map(part).sum::<u64>();
        let done = if self.unpacks { sum(|layer| layer.unpacked) } else { sum(|layer| layer.fetched) };
        let now = (done, sum(|layer| layer.size));
        if now != self.told && now.1 > 0 {
            self.told = now;
            news.push(News::Bytes { done: now.0, total: now.1 });
        }
        news
    }
}

impl Layer {
    fn step(&mut self, phase: Phase, detail: &Detail) {
        self.phase = phase;
        self.size = self.size.max(detail.total);
        match phase {
            Phase::Waiting => {}
            Phase::Fetching => self.fetched = detail.current.min(self.size),
            Phase::Fetched => self.fetched = self.size,
            Phase::Unpacking => {
                self.fetched = self.size;
                self.unpacked = detail.current.min(self.size);
            }
            Phase::Done => (self.fetched, self.unpacked) = (self.size, self.size),
        }
    }
}

/// The phase that a status of a layer stands for; none for what is not about layers or is no progress.
fn phase(status: &str) -> Option<Phase> {
    Some(match status {
        "Pulling fs layer" | "Waiting" => Phase::Waiting,
        "Downloading" => Phase::Fetching,
        "Verifying Checksum" | "Download complete" => Phase::Fetched,
        "Extracting" => Phase::Unpacking,
        "Pull complete" | "Already exists" => Phase::Done,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_summed_and_retries_are_no_progress() {
        let mut meter = Meter::default();
        let mut take = |id: &str, status: &str, current: u64, total: u64| {
            let detail = Detail { current, total };
            meter.take(&Message { id: id.into(), status: status.into(), detail, error: None })
        };
        let bytes = |done, total| News::Bytes { done, total };
        assert_eq!(take("1", "Pulling from a/b", 0, 0), (vec![], true));
        assert_eq!(take("a", "Pulling fs layer", 0, 0), (vec![], true));
        assert_eq!(take("b", "Already exists", 0, 0), (vec![], true));
        assert_eq!(take("a", "Downloading", 10, 100), (vec![bytes(10, 100)], true));
        assert_eq!(take("a", "Downloading", 10, 100), (vec![], false));
        assert_eq!(take("a", "Retrying in 5 seconds", 0, 0), (vec![], false));
        assert_eq!(take("c", "Downloading", 50, 50), (vec![bytes(60, 150)], true));
        assert_eq!(take("c", "Download complete", 0, 0), (vec![], true));
        let (news, moved) = take("a", "Download complete", 0, 0);
        let unpack = News::Step { number: 0, of: 0, text: "unpack".into(), cached: false };
        assert_eq!((news, moved), (vec![unpack, bytes(0, 150)], true));
        assert_eq!(take("a", "Extracting", 40, 100), (vec![bytes(40, 150)], true));
        assert_eq!(take("a", "Pull complete", 0, 0), (vec![bytes(100, 150)], true));
        assert_eq!(take("c", "Pull complete", 0, 0), (vec![bytes(150, 150)], true));
        assert!(!meter.is_local(), "all is done");
    }
}
