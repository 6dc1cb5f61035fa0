//! The WebSocket client against a server of a few lines that speaks the other half.

use super::*;
use tokio::net::TcpListener;

#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Never,
    Polite,
    Violent,
}

/// Upgrades and echoes in a JSON text, like the shop's API; ends each connection after `texts` texts.
async fn serve(texts: usize, ending: Ending) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo(stream, texts, ending));
        }
    });
    address
}

async fn echo(mut stream: TcpStream, texts: usize, ending: Ending) {
    let head = read_head(&mut stream).await.unwrap();
    assert!(head.starts_with("GET /socket HTTP/1.1\r\n") && head.contains("Host: shop.localhost\r\n"), "{head}");
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.write_all(&[0x80 | PING, 0]).await.unwrap();
    let mut echoed = 0;
    while let Ok(first) = stream.read_u8().await {
        let length = usize::from(stream.read_u8().await.unwrap() & 0x7f);
        let mut rest = vec![0; 4 + length];
        stream.read_exact(&mut rest).await.unwrap();
        let (mask, payload) = rest.split_at(4);
        let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if first != 0x80 | TEXT {
            continue;
        }
        if ending != Ending::Never && echoed == texts {
            if ending == Ending::Polite {
                stream.write_all(&[0x80 | CLOSE, 2, 0x03, 0xe9]).await.unwrap();
            }
            return;
        }
        echoed += 1;
        let text = format!("{{\"text\":\"{}\",\"more\":\"{}\"}}", String::from_utf8(payload).unwrap(), "x".repeat(150));
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        stream.write_all(&[0x80 | TEXT, 126, length[0], length[1]]).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn counts(ending: Ending, enough: fn(&Counts) -> bool) -> Counts {
    let to = serve(3, ending).await;
    let echoes = Echoes::start(4, to, "shop.localhost", "/socket", Duration::from_millis(1));
    let waiting = async {
        while !enough(&echoes.counts()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    echoes.stop().await
}

#[tokio::test]
async fn texts_come_back() {
    let counts = counts(Ending::Never, |counts| counts.echoed >= 40).await;
    assert_eq!((counts.moved, counts.cut), (0, 0));
    assert_eq!(counts.sent, counts.echoed);
}

#[tokio::test]
async fn a_polite_goodbye_is_a_move_and_the_client_comes_back() {
    let counts = counts(Ending::Polite, |counts| counts.moved >= 8).await;
    assert_eq!(counts.cut, 0);
    assert!(counts.echoed >= 3 * counts.moved, "{counts:?}");
}

#[tokio::test]
async fn an_end_without_goodbye_is_a_cut() {
    let counts = counts(Ending::Violent, |counts| counts.cut >= 4).await;
    assert_eq!(counts.moved, 0);
}

#[tokio::test]
async fn a_server_that_does_not_upgrade_is_a_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").await.unwrap();
    });
    let error = Socket::connect(to, "shop.localhost", "/socket").await.err().unwrap();
    assert_eq!(error.to_string(), "asked for a WebSocket, got `HTTP/1.1 503 Service Unavailable`");
}

#[test]
fn frames_are_masked_and_short() {
    assert_eq!(frame(TEXT, b"mask").unwrap(), [0x81, 0x84, 0x6d, 0x61, 0x73, 0x6b, 0, 0, 0, 0]);
    assert!(frame(TEXT, &[0; 126]).is_err());
}
