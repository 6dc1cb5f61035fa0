//! HTTP interfaces behind sockets, the daemon's and the Docker Engine's, as far as tasks read them. Fields nobody here asks
//! for are left out.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The interface behind a socket.
pub struct Api {
    socket: PathBuf,
}

/// The daemon itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its process.
    pub pid: u32,
    /// The edge's process.
    pub edge_pid: Option<u32>,
}

/// A stack.
#[derive(Debug, Clone, Deserialize)]
pub struct StackStatus {
    /// `ok` when all is as wanted.
    pub health: String,
    /// The release that is wanted.
    pub release: Option<u64>,
    /// The run under way.
    pub run: Option<u64>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
}

/// A service.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Ready replicas.
    pub ready: u32,
    /// Wanted replicas.
    pub replicas: u32,
    /// Each of them.
    pub instances: Vec<ReplicaStatus>,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplicaStatus {
    /// `api.1`
    pub id: String,
    /// The release that started it.
    pub release: u64,
    /// `running`, …
    pub phase: String,
    /// `ready`, …
    pub health: String,
    /// Since when it is in this phase.
    pub since: Option<String>,
    /// Whether it gets traffic.
    pub routed: bool,
    /// Its address per network.
    pub addresses: BTreeMap<String, IpAddr>,
}

impl StackStatus {
    /// Whether nothing is under way and every service has what it wants.
    pub fn is_ready(&self) -> bool {
        self.health == "ok" && self.run.is_none()
    }

    /// A service by name.
    pub fn service(&self, name: &str) -> anyhow::Result<&ServiceStatus> {
        self.services
            .iter()
            .find(|service| service.name == name)
            .with_context(|| format!("there is no service `{name}`"))
    }

    /// Ready replicas per service, in words.
    pub fn in_words(&self) -> String {
        let words = self.services.iter().filter(|service| service.replicas > 0);
        words
            .map(|service| format!("{} {}/{}", service.name, service.ready, service.replicas))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Api {
    /// Nothing is connected before the first request.
    pub fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The daemon itself.
    pub fn version(&self) -> anyhow::Result<Version> {
        self.get("/v1/version")
    }

    /// `GET path`, read as JSON.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send("GET", path)?.json()
    }

    /// The same of something that may not be there.
    pub fn find<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let answer = self.send("GET", path)?;
        if answer.status == "404" { Ok(None) } else { answer.json().map(Some) }
    }

    /// The messages of a stream that ends by itself.
    pub fn stream<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let body = String::from_utf8(self.send("GET", path)?.accepted()?).context("a stream is text")?;
        messages(&body).map(|text| serde_json::from_str(text).with_context(|| format!("read `{text}`"))).collect()
    }

    /// `POST path` without a body.
    pub fn post(&self, path: &str) -> anyhow::Result<()> {
        self.send("POST", path)?.accepted().map(drop)
    }

    /// `DELETE path`; that it is gone already is fine.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        let answer = self.send("DELETE", path)?;
        if answer.status == "404" { Ok(()) } else { answer.accepted().map(drop) }
    }

    /// One request on a connection of its own: HTTP/1.0, so that the end of the answer is the end of the connection.
    fn send(&self, method: &str, path: &str) -> anyhow::Result<Answer> {
        let what = format!("{method} {path}");
        let mut stream =
            UnixStream::connect(&self.socket).with_context(|| format!("connect to {}", self.socket.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        // In one piece: who answers early, and leaves, has had all of it.
        let request = format!("{what} HTTP/1.0\r\nHost: mainstay\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).with_context(|| what.clone())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(|| what.clone())?;
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").with_context(|| format!("{what}: no answer"))?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Ok(Answer { what, status, body: answer.split_off(end + 4) })
    }
}

/// What came back.
struct Answer {
    /// Method and path that were sent.
    what: String,
    status: String,
    body: Vec<u8>,
}

impl Answer {
    /// Its body.
    ///
    /// Errors: any status but success, with what was said.
    fn accepted(self) -> anyhow::Result<Vec<u8>> {
        let Self { what, status, body } = self;
        ensure!(status.starts_with('2'), "{what}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    fn json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        let what = self.what.clone();
        serde_json::from_slice(&self.accepted()?).with_context(|| format!("read the answer to {what}"))
    }
}

/// The data of server-sent events; ours have one line each.
fn messages(body: &str) -> impl Iterator<Item = &str> {
    body.lines().filter_map(|line| line.strip_prefix("data:").map(str::trim))
}

/// Reads `name value` lines as `redis-cli HGETALL` and `psql -At -F ' '` can print them.
pub fn counts(text: &str) -> BTreeMap<String, u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.chunks_exact(2).filter_map(|pair| Some((pair[0].to_owned(), pair[1].parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn served(answer: &'static str) -> (tempfile::TempDir, Api) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        (folder, Api::at(socket))
    }

    #[test]
    fn an_answer_is_read_by_its_fields() {
        let (_folder, api) = served("HTTP/1.0 200 OK\r\nx: y\r\n\r\n{\"pid\":7,\"edgePid\":null,\"more\":1}");
        let version = api.version().unwrap();
        assert_eq!((version.pid, version.edge_pid), (7, None));
    }

    #[test]
    fn a_stream_is_read_by_its_messages() {
        let (_folder, api) = served("HTTP/1.0 200 OK\r\n\r\nevent: run\ndata: 1\n\n: keep alive\n\ndata: 2\n\n");
        assert_eq!(api.stream::<u8>("/x").unwrap(), [1, 2]);
    }

    #[test]
    fn a_refusal_is_an_error_with_its_text() {
        let (_folder, api) = served("HTTP/1.0 404 Not Found\r\n\r\nno such stack");
        assert_eq!(api.version().unwrap_err().to_string(), "GET /v1/version: 404 no such stack");
    }

    #[test]
    fn what_is_not_there_is_no_error_for_who_expects_that() {
        let missing = "HTTP/1.0 404 Not Found\r\n\r\nno such container";
        assert_eq!(served(missing).1.find::<u8>("/x").unwrap(), None);
        served(missing).1.delete("/x").unwrap();
        let (_folder, api) = served("HTTP/1.0 409 Conflict\r\n\r\nin use");
        assert_eq!(api.delete("/x").unwrap_err().to_string(), "DELETE /x: 409 in use");
    }

    #[test]
    fn counts_are_pairs_of_words() {
        let read = counts("calls\n12\ncalls_failed\n0\n");
        assert_eq!((read["calls"], read["calls_failed"]), (12, 0));
    }
}
