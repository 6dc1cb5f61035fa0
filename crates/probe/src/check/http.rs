//! `GET` over a connection of its own: one request, the status and the begin of the body.

use super::{Found, KEPT, head, reason};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The head of an answer may be this long; hyper's own limit is 400 KiB, much for a probe.
const MOST_HEAD: usize = 16 << 10;

/// 200–399 passes, and redirects are not followed: a replica that redirects has answered.
pub async fn get(address: SocketAddr, path: &str) -> Found {
    let question = format!("GET http://{address}{path}");
    let failed = |why: String| format!("{question}: {why}");
    let stream = TcpStream::connect(address).await.map_err(|error| failed(reason(&error)))?;
    let handshake = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let request = http::Request::get(path)
            // What a health check inside the container says: applications that look at it know this name.
            .header(http::header::HOST, format!("localhost:{}", address.port()))
            .header(http::header::USER_AGENT, "mainstay-probe")
            .header(http::header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(words(&error)))?;
        let status = answer.status();
        // A passing answer needs no body; a failing one explains itself there.
        if status.is_success() || status.is_redirection() {
            return Ok(format!("{question} answered {}", status.as_u16()));
        }
        let said = body_head(answer.into_body()).await;
        let said = if said.is_empty() { said } else { format!(": {said}") };
        Err(format!("{question} answered {}{said}", status.as_u16()))
    };
    let drive = async {
        // What goes wrong with the connection shows in the exchange.
        let _shown = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        found = exchange => found,
        () = drive => Err(failed("the connection closed".to_owned())),
    }
}

fn words(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "the connection closed before an answer".to_owned()
    } else if error.is_parse() {
        "the answer is no HTTP".to_owned()
    } else {
        runtime::tasks::chain(error)
    }
}

/// As much of the body as is kept; one that breaks off is kept up to there.
async fn body_head(mut body: hyper::body::Incoming) -> String {
    let mut kept = Vec::new();
    while kept.len() < KEPT
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(&data[..data.len().min(KEPT)]);
        }
    }
    head(&kept)
}
