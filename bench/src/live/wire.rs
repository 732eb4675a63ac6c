//! As much of WebSockets and of HTTP/1.1 as a client that trusts its server needs, without a copy of what is read.

use anyhow::{Context, ensure};

/// The key of every handshake here, and what the server answers to it: both from RFC 6455, section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame.
#[derive(Debug)]
pub struct Frame<'a> {
    pub opcode: u8,
    /// Whether it is a message's last.
    pub is_last: bool,
    pub payload: &'a [u8],
    /// Its bytes on the wire.
    pub length: usize,
}

/// A frame from a server, which does not mask: `None` while it is not complete.
///
/// # Errors
/// When it is masked, or too long for this machine.
pub fn server_frame(bytes: &[u8]) -> anyhow::Result<Option<Frame<'_>>> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(second & 0x80 == 0, "a server masks its frames");
    let Some((length, head)) = payload_length(second, rest)? else {
        return Ok(None);
    };
    let length = 2 + head + length;
    Ok(bytes.get(2 + head..length).map(|payload| Frame {
        opcode: first & 0x0f,
        is_last: first & 0x80 != 0,
        payload,
        length,
    }))
}

/// The first frame of a client, its payload unmasked, and its bytes on the wire: `None` while it is not complete.
///
/// # Errors
/// When it is not masked.
pub fn client_frame(bytes: &[u8]) -> anyhow::Result<Option<(u8, Vec<u8>, usize)>> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    ensure!(second & 0x80 != 0, "a client does not mask its frames");
    let Some((length, head)) = payload_length(second, rest)? else {
        return Ok(None);
    };
    let start = 2 + head;
    let Some(bytes) = bytes.get(start..start + 4 + length) else {
        return Ok(None);
    };
    let (mask, payload) = bytes.split_at(4);
    let payload = payload.iter().zip(mask.iter().cycle());
    let payload = payload.map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some((first & 0x0f, payload, start + 4 + length)))
}

/// A payload's length, and how many bytes after the first two say it.
fn payload_length(second: u8, rest: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    Ok(match second & 0x7f {
        126 => rest
            .first_chunk()
            .map(|&bytes| (usize::from(u16::from_be_bytes(bytes)), 2)),
        127 => match rest.first_chunk() {
            Some(&bytes) => Some((usize::try_from(u64::from_be_bytes(bytes))?, 8)),
            None => None,
        },
        short => Some((usize::from(short), 0)),
    })
}

/// A client's frame. Its mask is zero, so that the payload stays as it is.
pub fn to_server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, 0x80, &[0; 4], payload)
}

/// A server's frame.
pub fn to_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(opcode, 0, &[], payload)
}

fn frame(opcode: u8, masked: u8, mask: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(masked | length),
        (_, Ok(length)) => {
            frame.push(masked | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(mask);
    frame.extend_from_slice(payload);
    frame
}

/// The bytes up to and with the blank line that ends a head.
pub fn head(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    bytes.get(..end + 4)
}

/// The first chunk of a body, and its bytes on the wire: `None` while it is not complete.
///
/// # Errors
/// When its length cannot be read.
pub fn chunk(bytes: &[u8]) -> anyhow::Result<Option<(&[u8], usize)>> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&bytes[..end])?.trim_end();
    let length = usize::from_str_radix(line, 16).with_context(|| format!("chunk {line:?}"))?;
    let start = end + 1;
    let whole = start + length + 2;
    Ok(bytes
        .get(start..whole)
        .map(|chunk| (&chunk[..length], whole)))
}

/// A chunk of a body.
pub fn to_chunk(payload: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", payload.len()).into_bytes();
    chunk.extend_from_slice(payload);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        for length in [0, 125, 126, 300, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let wire = to_client(TEXT, &payload);
            for cut in [1, 2, wire.len() - 1] {
                let cut = cut.min(wire.len() - 1);
                assert!(server_frame(&wire[..cut]).expect("a frame").is_none());
            }
            let frame = server_frame(&wire).expect("a frame").expect("a frame");
            assert_eq!((frame.opcode, frame.is_last), (TEXT, true));
            assert_eq!((frame.payload, frame.length), (&payload[..], wire.len()));

            let wire = to_server(TEXT, &payload);
            let (opcode, read, used) = client_frame(&wire).expect("a frame").expect("a frame");
            assert_eq!((opcode, read, used), (TEXT, payload, wire.len()));
        }
    }

    #[test]
    fn chunks_are_read_as_they_were_written() {
        let wire = to_chunk(b"data: 1\n\n");
        for cut in 0..wire.len() {
            assert_eq!(chunk(&wire[..cut]).expect("a frame"), None);
        }
        assert_eq!(
            chunk(&wire).expect("a frame"),
            Some((&b"data: 1\n\n"[..], wire.len()))
        );
        assert!(chunk(b"no number\r\n").is_err());
    }
}
