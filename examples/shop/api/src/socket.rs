//! `GET /socket`: a WebSocket that answers each text with the text and the version that answered.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::IntoResponse;
use serde_json::json;

use crate::app::App;
use crate::version::VERSION;

const LONGEST_MESSAGE: usize = 64 * 1024;

/// Turns the request into a WebSocket.
pub async fn upgrade(State(app): State<Arc<App>>, request: WebSocketUpgrade) -> impl IntoResponse {
    let open = app.sockets.token();
    request.max_message_size(LONGEST_MESSAGE).on_upgrade(async move |socket| {
        echo(&app, socket).await;
        drop(open);
    })
}

/// Answers until the peer leaves or the process ends; then says goodbye, so that the peer connects elsewhere.
async fn echo(app: &App, mut socket: WebSocket) {
    loop {
        let message = tokio::select! {
            message = socket.recv() => message,
            () = app.closing.cancelled() => {
                let goodbye = CloseFrame { code: close_code::AWAY, reason: "this replica is going away".into() };
                // A peer that has already gone needs no goodbye.
                let _gone = socket.send(Message::Close(Some(goodbye))).await;
                return;
            }
        };
        let answer = match message {
            Some(Ok(Message::Text(text))) => {
                let answer = json!({ "text": text.as_str(), "version": VERSION, "replica": app.identity.replica });
                Message::Text(answer.to_string().into())
            }
            Some(Ok(Message::Binary(bytes))) => Message::Binary(bytes),
            // Pings are answered, closes acknowledged, by the protocol's own code.
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => return,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}
