//! Registries: a real one, one behind a line that stops, one that is silent.

use crate::world::World;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::PushImageOptionsBuilder;
use engine::images::{Credentials, Login};
use futures_util::TryStreamExt;
use model::Secret;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The password has both characters that the two alphabets of base64 differ in.
pub const PASSWORD: &str = "?~>?~>s3cret";

/// `bob` with [`PASSWORD`], `pusher` with `plain`.
const USERS: &str = "bob:$2y$04$abcdefghijklmnopqrstuu3S5O9OXKGh2kr8K4kBdte3TV8zvM7uW\npusher:$2y$04$abcdefghijklmnopqrstuuruZGaAtMc7jnr6nmeNRglF4gzpWIu72\n";

pub struct Registry {
    pub host: String,
    process: Child,
}

impl Registry {
    /// One that everybody may use.
    pub async fn open(dir: &Path) -> Self {
        Self::start(dir, "").await
    }

    /// One that wants a login.
    pub async fn closed(dir: &Path) -> Self {
        std::fs::write(dir.join("users"), USERS).unwrap();
        let users = dir.join("users");
        Self::start(dir, &format!("auth: {{htpasswd: {{realm: r, path: {}}}}}\n", users.display())).await
    }

    async fn start(dir: &Path, more: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let store = dir.join("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n{more}",
            store.display()
        );
        let path = dir.join("registry.yml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(dir.join("registry.log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = command.spawn().expect("docker-registry is installed");
        let began = std::time::Instant::now();
        while TcpStream::connect(&host).await.is_err() {
            assert!(began.elapsed() < crate::world::SOON, "the registry has not begun");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self { host, process }
    }

    /// Pushes an image under this name, which it has on the Engine then.
    pub async fn push(&self, world: &World, id: &str, name: &str) -> String {
        let full = format!("{}/{name}", self.host);
        world.tag(id, &full).await;
        let (repository, tag) = full.rsplit_once(':').unwrap();
        let credentials =
            DockerCredentials { username: Some("pusher".into()), password: Some("plain".into()), ..Default::default() };
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let pushed = world.docker.push_image(repository, Some(options), Some(credentials));
        let _messages: Vec<_> = pushed.try_collect().await.expect("pushed");
        full
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub fn login(host: &str, user: &str, password: &str) -> Credentials {
    let login = Login { username: user.into(), password: Secret::new(password), identity_token: None };
    Credentials(BTreeMap::from([(host.to_owned(), login)]))
}

/// A line to `host` that passes on so many bytes of answers and then nothing more, and stays open.
pub async fn stopping_line(host: &str, most: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (host, left) = (host.to_owned(), Arc::new(AtomicU64::new(most)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (host, left) = (host.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let server = TcpStream::connect(host).await.unwrap();
                let (mut from_server, mut to_server) = server.into_split();
                let (mut from_client, mut to_client) = client.into_split();
                let up = async { drop(tokio::io::copy(&mut from_client, &mut to_server).await) };
                let down = async {
                    let mut chunk = [0; 1024];
                    while let Ok(n @ 1..) = from_server.read(&mut chunk).await {
                        let before = left.fetch_sub(left.load(Ordering::Relaxed).min(n as u64), Ordering::Relaxed);
                        if before < n as u64 {
                            std::future::pending::<()>().await;
                        }
                        if to_client.write_all(&chunk[..n]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::join!(up, down);
            });
        }
    });
    address
}
