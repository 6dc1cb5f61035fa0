//! How a build with BuildKit goes, out of its status messages. Pure.

use super::super::error::FailedBuild;
use super::super::trouble::Trouble;
use super::output::Tail;
use super::redact::Redactor;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog, VertexStatus};
use engine::images::News;
use std::collections::BTreeMap;

/// What has been heard of a build.
pub struct Trace {
    redactor: Redactor,
    steps: BTreeMap<String, Step>,
    /// Bytes of what is fetched, by what it is: so many of so many.
    bytes: BTreeMap<String, (u64, u64)>,
    told: (u64, u64),
    /// The step that failed first.
    failed: Option<String>,
}

#[derive(Default)]
struct Step {
    name: String,
    is_told: bool,
    /// The begin of a line that has not ended.
    partial: String,
    tail: Tail,
}

impl Trace {
    /// Of a build that begins.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, steps: BTreeMap::new(), bytes: BTreeMap::new(), told: (0, 0), failed: None }
    }

    /// Takes a message in.
    pub fn take(&mut self, message: &StatusResponse) -> Vec<News> {
        let mut news = Vec::new();
        message.vertexes.iter().for_each(|vertex| self.vertex(vertex, &mut news));
        message.statuses.iter().for_each(|status| self.status(status));
        message.logs.iter().for_each(|log| self.log(log, &mut news));
        let sum = self.bytes.values().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        if sum != self.told {
            self.told = sum;
            news.push(News::Bytes { done: sum.0, total: sum.1 });
        }
        news
    }

    /// The build has failed with these words.
    pub fn failed(mut self, message: &str) -> FailedBuild {
        let message = self.redactor.text(own_words(message));
        let step = self.failed.and_then(|digest| self.steps.remove(&digest));
        let (name, output) = match step {
            Some(mut step) => {
                if !step.partial.trim().is_empty() {
                    step.tail.push(self.redactor.text(step.partial.trim_end()));
                }
                (Some(step.name), step.tail.into_lines())
            }
            None => (None, Vec::new()),
        };
        let trouble = Trouble::of_step(&message, &output);
        FailedBuild { step: name, message, output, trouble }
    }

    fn vertex(&mut self, vertex: &Vertex, news: &mut Vec<News>) {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        if step.name.is_empty() {
            step.name = self.redactor.text(&vertex.name);
        }
        if !vertex.error.is_empty() && !vertex.error.contains("context canceled") && self.failed.is_none() {
            self.failed = Some(vertex.digest.clone());
        }
        let has_begun = vertex.started.is_some() || vertex.cached;
        if has_begun && !std::mem::replace(&mut step.is_told, true) {
            news.push(told(&step.name, vertex.cached));
        }
    }

    fn status(&mut self, status: &VertexStatus) {
        let number = |n: i64| u64::try_from(n).unwrap_or(0);
        if status.total > 0 {
            let part = (number(status.current).min(number(status.total)), number(status.total));
            self.bytes.insert(format!("{} {}", status.vertex, status.id), part);
        }
    }

    fn log(&mut self, log: &VertexLog, news: &mut Vec<News>) {
        let step = self.steps.entry(log.vertex.clone()).or_default();
        step.partial.push_str(&String::from_utf8_lossy(&log.msg));
        while let Some(end) = step.partial.find('\n') {
            let line: String = step.partial.drain(..=end).collect();
            let line = self.redactor.text(line.trim_end());
            step.tail.push(line.clone());
            news.push(News::Line(line));
        }
    }
}

/// A step by its name: `[build 2/7] RUN make`, `[internal] load build context`, `exporting to image`.
fn told(name: &str, cached: bool) -> News {
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let Some((place, text)) = bracketed else {
        return News::Step { number: 0, of: 0, text: name.to_owned(), cached };
    };
    let (stage, counts) = place.rsplit_once(' ').map_or(("", place), |(stage, counts)| (stage, counts));
    let counts = counts.split_once('/').and_then(|(n, of)| Some((n.parse().ok()?, of.parse().ok()?)));
    let Some((number, of)) = counts else {
        return News::Step { number: 0, of: 0, text: text.to_owned(), cached };
    };
    let text = if stage.is_empty() { text.to_owned() } else { format!("{stage}: {text}") };
    News::Step { number, of, text, cached }
}

/// The words behind what BuildKit's layers add on the way.
fn own_words(message: &str) -> &str {
    const ADDED: [&str; 3] =
        ["failed to solve with frontend dockerfile.v0: ", "failed to solve: ", "failed to build LLB: "];
    let mut words = message.trim();
    loop {
        let coded = words.strip_prefix("rpc error: code = ").and_then(|rest| rest.split_once(" desc = "));
        let coded = coded.map(|(_, rest)| rest);
        match coded.or_else(|| ADDED.iter().find_map(|added| words.strip_prefix(added))) {
            Some(rest) => words = rest,
            None => return words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(digest: &str, name: &str, started: bool, cached: bool, error: &str) -> Vertex {
        Vertex {
            digest: digest.into(),
            name: name.into(),
            started: started.then(Default::default),
            cached,
            error: error.into(),
            ..Vertex::default()
        }
    }

    #[test]
    fn steps_are_told_once_and_by_their_numbers() {
        let mut trace = Trace::new(Redactor::default());
        let mut take = |vertex: Vertex| trace.take(&StatusResponse { vertexes: vec![vertex], ..Default::default() });
        let step = |number, of, text: &str, cached| vec![News::Step { number, of, text: text.into(), cached }];
        assert_eq!(take(vertex("a", "[2/7] RUN make", false, false, "")), vec![]);
        assert_eq!(take(vertex("a", "[2/7] RUN make", true, false, "")), step(2, 7, "RUN make", false));
        assert_eq!(take(vertex("a", "[2/7] RUN make", true, false, "")), vec![]);
        assert_eq!(take(vertex("b", "[build 1/3] COPY . .", true, true, "")), step(1, 3, "build: COPY . .", true));
        let context = "load build context";
        assert_eq!(take(vertex("c", "[internal] load build context", true, false, "")), step(0, 0, context, false));
        assert_eq!(take(vertex("d", "exporting to image", true, false, "")), step(0, 0, "exporting to image", false));
    }

    #[test]
    fn a_failure_has_its_step_and_the_last_lines() {
        let mut trace = Trace::new(Redactor::default());
        let log = |text: String| VertexLog { vertex: "a".into(), msg: text.into_bytes(), ..Default::default() };
        let lines: Vec<VertexLog> = (0..30).map(|n| log(format!("line {n}\n"))).chain([log("end".into())]).collect();
        trace.take(&StatusResponse {
            vertexes: vec![vertex("a", "[2/2] RUN make", true, false, "exit code: 2")],
            logs: lines,
            ..Default::default()
        });
        let text = "failed to solve with frontend dockerfile.v0: failed to solve: rpc error: code = Unknown desc = exit code: 2";
        let failed = trace.failed(text);
        assert_eq!((failed.step.as_deref(), failed.output.len()), (Some("[2/2] RUN make"), 20));
        assert_eq!(failed.output.last().map(String::as_str), Some("end"));
        assert_eq!(failed.message, "exit code: 2");
    }
}
