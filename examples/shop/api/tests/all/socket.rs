//! The WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use stage::Stage;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

#[tokio::test]
async fn it_answers_with_the_text_and_the_version_and_says_goodbye() {
    let stage = Stage::start();
    let mut api = stage.api(&[("DRAIN_MS", "0")]).await;
    let (mut socket, _) = connect_async(format!("ws://127.0.0.1:{}/socket", api.port())).await.unwrap();
    for text in ["hello", "ahoj ⚓", ""] {
        socket.send(Message::text(text)).await.unwrap();
        let Message::Text(answer) = socket.next().await.unwrap().unwrap() else {
            panic!("texts are answered by texts")
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["text"], text);
        assert!(answer["version"].as_str().is_some_and(|version| !version.is_empty()), "{answer}");
    }
    socket.send(Message::binary(vec![0, 255])).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::binary(vec![0, 255]));

    api.terminate();
    let Message::Close(Some(goodbye)) = socket.next().await.unwrap().unwrap() else { panic!("it says goodbye") };
    assert_eq!(goodbye.code, CloseCode::Away);
    assert_eq!(api.wait(std::time::Duration::from_secs(5)).code, Some(0));
}
