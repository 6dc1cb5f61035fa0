//! How a classic build goes, out of its output. Pure.

use super::super::error::FailedBuild;
use super::super::trouble::Trouble;
use super::redact::Redactor;
use engine::images::News;
use serde::Deserialize;
use std::collections::VecDeque;

/// How many lines of a failed step are kept.
pub const KEPT: usize = 20;

/// A message of the Engine about a build.
#[derive(Debug, Default, Deserialize)]
pub struct Message {
    /// Output, in pieces of lines.
    #[serde(default)]
    pub stream: String,
    /// What went wrong: the last message.
    #[serde(default, rename = "errorDetail")]
    pub error: Option<Failure>,
}

/// What went wrong.
#[derive(Debug, Default, Deserialize)]
pub struct Failure {
    /// In words.
    #[serde(default)]
    pub message: String,
}

/// The output of a build so far.
pub struct Output {
    redactor: Redactor,
    /// The begin of a line that has not ended.
    partial: String,
    /// The step that is under way, and whether it has been told: whether it is cached is said one line later.
    step: Option<(Step, bool)>,
    tail: Tail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    number: u32,
    of: u32,
    text: String,
}

impl Step {
    /// `Step 2/7 : RUN make`.
    fn parse(line: &str) -> Option<Self> {
        let (counts, text) = line.strip_prefix("Step ")?.split_once(" : ")?;
        let (number, of) = counts.split_once('/')?;
        Some(Self { number: number.parse().ok()?, of: of.parse().ok()?, text: text.to_owned() })
    }

    fn news(&self, cached: bool) -> News {
        News::Step { number: self.number, of: self.of, text: self.text.clone(), cached }
    }
}

impl Output {
    /// Of a build that begins.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor, partial: String::new(), step: None, tail: Tail::default() }
    }

    /// Takes a message in.
    pub fn take(&mut self, message: &Message) -> Vec<News> {
        self.partial.push_str(&message.stream);
        let mut news = Vec::new();
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            self.line(line.trim_end(), &mut news);
        }
        news
    }

    /// What is left at the end.
    pub fn end(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        let rest = std::mem::take(&mut self.partial);
        self.line(rest.trim_end(), &mut news);
        self.tell_step(false, &mut news);
        news
    }

    /// The build has failed with these words.
    pub fn failed(mut self, message: &str) -> FailedBuild {
        let _told = self.end();
        let message = self.redactor.text(message.trim());
        let step = self.step.map(|(step, _)| format!("[{}/{}] {}", step.number, step.of, step.text));
        let output = self.tail.into_lines();
        FailedBuild { step, trouble: Trouble::of_step(&message, &output), message, output }
    }

    fn line(&mut self, line: &str, news: &mut Vec<News>) {
        let line = self.redactor.text(line);
        if let Some(step) = Step::parse(&line) {
            self.tell_step(false, news);
            self.step = Some((step, false));
            self.tail = Tail::default();
        } else if line == " ---> Using cache" {
            self.tell_step(true, news);
        } else if !line.trim().is_empty() {
            self.tell_step(false, news);
            let is_own =
                [" ---> ", "Removing intermediate container ", "Successfully "].iter().any(|own| line.starts_with(own));
            if !is_own {
                self.tail.push(line.clone());
                news.push(News::Line(line));
            }
        }
    }

    fn tell_step(&mut self, cached: bool, news: &mut Vec<News>) {
        if let Some((step, told)) = &mut self.step
            && !std::mem::replace(told, true)
        {
            news.push(step.news(cached));
        }
    }
}

/// The last lines of a step.
#[derive(Debug, Default)]
pub struct Tail(VecDeque<String>);

impl Tail {
    /// Adds a line, and forgets one that is too old.
    pub fn push(&mut self, line: String) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// The oldest first.
    pub fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_steps_and_lines() {
        let mut output = Output::new(Redactor::default());
        let mut take = |text: &str| output.take(&Message { stream: text.into(), error: None });
        let step = |number, text: &str, cached| News::Step { number, of: 3, text: text.into(), cached };
        assert_eq!(take("Step 1/3 : FROM base\n"), vec![]);
        assert_eq!(take(" ---> 0123\n"), vec![step(1, "FROM base", false)]);
        assert_eq!(take("Step 2/3 : COPY . ."), vec![]);
        assert_eq!(take("\n ---> Using cache\n ---> 4567\n"), vec![step(2, "COPY . .", true)]);
        assert_eq!(take("Step 3/3 : RUN make\n ---> Running in 89\nhel"), vec![step(3, "RUN make", false)]);
        assert_eq!(take("lo\n"), vec![News::Line("hello".into())]);
        let failed = output.failed("The command 'make' returned a non-zero code: 2");
        assert_eq!((failed.step.as_deref(), failed.output), (Some("[3/3] RUN make"), vec!["hello".to_owned()]));
    }
}
