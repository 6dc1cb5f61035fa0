//! Streams of the daemon: server-sent events, and JSON line by line.
//!
//! Owns cutting bytes into messages, whatever the borders of the chunks. Never reconnects: whoever follows a stream
//! knows where to go on.

use super::Error;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// A message longer than this is none of ours.
const MAX_MESSAGE: usize = 64 << 20;

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    Lines,
}

/// Messages of one type, one after the other.
#[derive(Debug)]
pub struct Messages {
    request: String,
    body: Incoming,
    cutter: Cutter,
}

impl Messages {
    /// The `data:` of server-sent events.
    pub fn events(request: &str, body: Incoming) -> Self {
        Self { request: request.to_owned(), body, cutter: Cutter::new(Form::Events) }
    }

    /// One JSON document a line.
    pub fn lines(request: &str, body: Incoming) -> Self {
        Self { request: request.to_owned(), body, cutter: Cutter::new(Form::Lines) }
    }

    /// The next message; none when the daemon has ended the stream. Cancel-safe.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(text) = self.cutter.next() {
                let message = serde_json::from_slice(&text);
                let unreadable = |error: serde_json::Error| self.unreadable(error.into());
                return message.map(Some).map_err(unreadable);
            }
            if self.cutter.rest.len() > MAX_MESSAGE {
                return Err(self.unreadable(format!("a message is longer than {MAX_MESSAGE} bytes").into()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.cutter.push(&bytes);
                    }
                }
                Some(Err(error)) => return Err(super::broken(&self.request, error)),
            }
        }
    }

    fn unreadable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Answer { request: self.request.clone(), source }
    }
}

#[derive(Debug)]
struct Cutter {
    form: Form,
    rest: BytesMut,
    scanned: usize,
    data: Option<BytesMut>,
}

impl Cutter {
    fn new(form: Form) -> Self {
        Self { form, rest: BytesMut::new(), scanned: 0, data: None }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Bytes> {
        while let Some(at) = self.rest[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let mut line = self.rest.split_to(self.scanned + at + 1).freeze();
            self.scanned = 0;
            line.truncate(line.len() - 1);
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if let Some(message) = self.line(line) {
                return Some(message);
            }
        }
        self.scanned = self.rest.len();
        None
    }

    fn line(&mut self, line: Bytes) -> Option<Bytes> {
        if self.form == Form::Lines {
            return (!line.is_empty()).then_some(line);
        }
        if line.is_empty() {
            return self.data.take().map(BytesMut::freeze);
        }
        // Fields other than `data`, and comments that keep the connection alive, carry nothing we need.
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            match &mut self.data {
                Some(before) => {
                    before.extend_from_slice(b"\n");
                    before.extend_from_slice(data);
                }
                None => self.data = Some(data.into()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, text: &str, want: &[&str]) {
        // Whatever the borders of the chunks.
        for size in 1..=text.len() {
            let mut cutter = Cutter::new(form);
            let mut found = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                cutter.push(chunk);
                while let Some(message) = cutter.next() {
                    found.push(String::from_utf8(message.to_vec()).expect("text"));
                }
            }
            assert_eq!(found, want, "chunks of {size}");
        }
    }

    #[test]
    fn events_are_their_data_lines() {
        check(
            Form::Events,
            "event: run\nid: 7\ndata: {\"a\":1}\n\n: alive\n\ndata:x\r\ndata: y\r\n\r\n",
            &["{\"a\":1}", "x\ny"],
        );
        check(Form::Events, "data: cut off", &[]);
    }

    #[test]
    fn lines_are_messages() {
        check(Form::Lines, "{}\n\n{\"a\":1}\r\nrest", &["{}", "{\"a\":1}"]);
    }
}
