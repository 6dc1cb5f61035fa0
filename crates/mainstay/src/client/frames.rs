//! Frames of `exec` and `run`: one byte of kind, four bytes of length, then so many bytes.

use server::api::exec::{Frame, MAX_FRAME};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Reads the next frame; none at the end. Not cancel-safe.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Frame, Vec<u8>)>> {
    let mut head = [0; 5];
    match from.read_exact(&mut head[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    from.read_exact(&mut head[1..]).await?;
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let kind = Frame::from_byte(head[0]).ok_or_else(|| wrong(format!("{} is no kind of frame", head[0])))?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if length > MAX_FRAME {
        return Err(wrong(format!("a frame of {length} bytes is longer than {MAX_FRAME}")));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes).await?;
    Ok(Some((kind, bytes)))
}

/// Writes one frame; `bytes` must not be longer than [`MAX_FRAME`].
pub async fn write(to: &mut (impl AsyncWrite + Unpin), kind: Frame, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} bytes do not fit a frame of {MAX_FRAME}", bytes.len()))
    })?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind as u8);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    to.write_all(&frame).await?;
    to.flush().await
}
