//! Questions to real sockets that answer well, badly, strangely or not at all.

use super::*;
use runtime::SystemClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Commands whose last word says how they end.
struct Fake;

#[async_trait]
impl CommandRunner for Fake {
    async fn run(
        &self,
        _: &StackId,
        _: &ReplicaId,
        argv: &[String],
        _: Duration,
    ) -> Result<(CommandEnd, Vec<u8>), BoxError> {
        let end = match argv[1].as_str() {
            "slow" => CommandEnd::TimedOut,
            "none" => CommandEnd::NotFound,
            "broken" => return Err("no such replica".into()),
            code => CommandEnd::Code(code.parse()?),
        };
        Ok((end, b"no\x1b[31m route\n\nto host".to_vec()))
    }
}

async fn ask_at(check: Check, timeout: Duration) -> Found {
    let (stack, id) = ("shop@test".parse().expect("legal"), "api.1".parse().expect("legal"));
    let whom = Whom { stack: &stack, id: &id, address: Some([127, 0, 0, 1].into()) };
    let found = ask(&SystemClock, &Fake, whom, &check, timeout).await;
    let port = match check {
        Check::Http { port, .. } | Check::Tcp { port } => format!(":{port}"),
        Check::Command { .. } => return found,
    };
    found.map(|text| text.replace(&port, ":PORT")).map_err(|text| text.replace(&port, ":PORT"))
}

/// Asks a server that sends `answer` to whatever comes, and closes.
async fn check_http(answer: &'static [u8], want: Result<&str, &str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = async {
        let (mut peer, _) = listener.accept().await.expect("somebody comes");
        let mut request = [0; 1024];
        let n = peer.read(&mut request).await.expect("a request");
        let request = String::from_utf8_lossy(&request[..n]).into_owned();
        // The client may have gone before the end, which is its right.
        let _gone = peer.write_all(answer).await;
        request
    };
    let check = Check::Http { port, path: "/ready?x=1".into() };
    let (request, found) = tokio::join!(server, ask_at(check, Duration::from_secs(20)));
    assert!(request.starts_with("GET /ready?x=1 HTTP/1.1\r\n"), "{request}");
    assert_eq!(found, want.map(str::to_owned).map_err(str::to_owned));
}

#[tokio::test]
async fn statuses_from_200_to_399_pass() {
    let q = "GET http://127.0.0.1:PORT/ready?x=1";
    check_http(b"HTTP/1.1 204 No Content\r\n\r\n", Ok(&format!("{q} answered 204"))).await;
    check_http(b"HTTP/1.1 302 Found\r\nlocation: /login\r\n\r\n", Ok(&format!("{q} answered 302"))).await;
    let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 23\r\n\r\ndatabase\tnot\r\nreachable";
    check_http(answer, Err(&format!("{q} answered 503: database not reachable"))).await;
    check_http(b"HTTP/1.1 404 Not Found\r\n\r\n", Err(&format!("{q} answered 404"))).await;
}

#[tokio::test]
async fn strange_answers_fail_and_say_so() {
    let q = "GET http://127.0.0.1:PORT/ready?x=1";
    check_http(b"", Err(&format!("{q}: the connection closed before an answer"))).await;
    check_http(b"SSH-2.0-OpenSSH_9.2\r\n", Err(&format!("{q}: the answer is no HTTP"))).await;
    let cut = b"HTTP/1.1 500 Oops\r\ncontent-length: 100\r\n\r\nhalf of";
    check_http(cut, Err(&format!("{q} answered 500: half of"))).await;
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let mut answer = b"HTTP/1.1 500 Oops\r\n\r\n".to_vec();
    answer.resize(1 << 20, b'x');
    let want = format!("GET http://127.0.0.1:PORT/ready?x=1 answered 500: {}", "x".repeat(200));
    check_http(answer.leak(), Err(&want)).await;
}

#[tokio::test]
async fn who_does_not_answer_in_time_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let limit = Duration::from_millis(20);
    let found = ask_at(Check::Http { port, path: "/".into() }, limit).await;
    assert_eq!(found, Err("GET http://127.0.0.1:PORT/ gave no answer within 20ms".into()));
    assert_eq!(ask_at(Check::Tcp { port }, limit).await, Ok("connected to 127.0.0.1:PORT".into()));
    drop(listener);
    let refused = Err("connecting to 127.0.0.1:PORT: connection refused".into());
    assert_eq!(ask_at(Check::Tcp { port }, Duration::from_secs(20)).await, refused);
}

#[tokio::test]
async fn commands_pass_with_0_only() {
    let run = async |how: &str| {
        let argv = vec!["ping".to_owned(), how.to_owned()];
        ask_at(Check::Command { argv }, Duration::from_secs(3)).await
    };
    assert_eq!(run("0").await, Ok("`ping …` exited with 0: no [31m route to host".into()));
    assert_eq!(run("7").await, Err("`ping …` exited with 7: no [31m route to host".into()));
    assert_eq!(run("slow").await, Err("`ping …` took longer than 3s: no [31m route to host".into()));
    assert_eq!(run("none").await, Err("`ping …`: no such program inside the replica".into()));
    assert_eq!(run("broken").await, Err("`ping …` could not be run: no such replica".into()));
}
