//! One HTTP/1.1 exchange over one connection (RFC 9112).

use std::{
    io::{ErrorKind, IoSlice},
    mem::MaybeUninit,
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use graphql_transport::coding::{self, Bounds, Coding, Side, Undecoded};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FetchError, HttpResponse, stream::Stream};

/// The largest response head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The largest number of headers in a response.
const HEADERS_MAX: usize = 100;
/// Bytes to make room for when the size of the rest is unknown.
const READ_BYTES: usize = 16 * 1024;
/// The longest line that announces a chunk, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

const ENDS_IN_HEAD: FetchError = FetchError::Protocol("it ends within its head");
const ENDS_IN_BODY: FetchError = FetchError::Protocol("it ends within its body");
const NOT_REQUESTED: FetchError = FetchError::Protocol("its Content-Encoding was not requested");

/// Bounds of one response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseLimits {
    /// The body, in bytes.
    pub body_bytes_max: usize,
    /// Bytes of interim heads, chunk framing and trailers, in addition to half of the body.
    pub overhead_bytes_max: usize,
    /// Whether a content encoding was asked for.
    pub may_be_encoded: bool,
}

/// Counts the bytes of a response that are neither its head nor its body. Each piece takes about as
/// much work as a small response, however short it is.
struct Overhead {
    bytes: usize,
    bytes_max: usize,
}

impl Overhead {
    /// Counts another piece of `bytes` bytes, received after `body_bytes` bytes of the body.
    fn add(&mut self, bytes: usize, body_bytes: usize) -> Result<(), FetchError> {
        self.bytes += bytes;
        if self.bytes > self.bytes_max.saturating_add(body_bytes / 2) {
            return Err(FetchError::Protocol(
                "it has too many interim heads, small chunks or trailers",
            ));
        }
        Ok(())
    }
}

/// An open HTTP/1.1 connection to a subgraph, which serves one request at a time.
pub struct HttpConnection {
    stream: Stream,
    /// Empty between two exchanges; kept so that the next response need not allocate.
    buffer: BytesMut,
    exchanges: u64,
    can_be_kept: bool,
}

/// How the body is delimited, according to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

struct ResponseHead {
    status: u16,
    headers: HeaderMap,
    framing: Framing,
    coding: Option<Coding>,
    keep_alive: bool,
    retry_after: Option<Duration>,
    bytes: usize,
}

impl HttpConnection {
    /// Wraps a stream on which nothing has been sent yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            exchanges: 0,
            can_be_kept: false,
        }
    }

    /// Whether it has served a request before.
    pub fn was_used(&self) -> bool {
        self.exchanges > 0
    }

    /// Whether its last exchange left it ready for another.
    pub fn can_be_kept(&self) -> bool {
        self.can_be_kept
    }

    /// False if the subgraph has closed it, or has sent bytes that answer no request, while it was
    /// idle.
    pub fn looks_open(&mut self) -> bool {
        self.stream.looks_open()
    }

    /// Sends a request and reads its whole response. `want_headers` keeps the response's headers.
    pub async fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
        want_headers: bool,
        limits: ResponseLimits,
    ) -> Result<HttpResponse, FetchError> {
        self.can_be_kept = false;
        self.exchanges += 1;
        self.write(head, body).await?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(READ_BYTES);
        let body_bytes_max = limits.body_bytes_max;
        let mut overhead = Overhead {
            bytes: 0,
            bytes_max: limits.overhead_bytes_max,
        };
        let head = self
            .read_head(&mut buffer, want_headers, &mut overhead)
            .await?;
        buffer.advance(head.bytes);
        let body = match head.framing {
            Framing::Length(length) if length > body_bytes_max => {
                return Err(FetchError::TooLarge(body_bytes_max));
            }
            Framing::Length(length) => self.read_length(&mut buffer, length).await?,
            Framing::Chunked => {
                self.read_chunks(&mut buffer, body_bytes_max, &mut overhead)
                    .await?
            }
            Framing::UntilClosed => self.read_until_closed(&mut buffer, body_bytes_max).await?,
        };
        // Bytes after the body answer no request of ours: such a connection is not used again.
        self.can_be_kept =
            head.keep_alive && head.framing != Framing::UntilClosed && buffer.is_empty();
        if buffer.capacity() <= READ_BYTES {
            self.buffer = buffer;
        }
        let body = match head.coding {
            None => body,
            Some(_) if body.is_empty() => body,
            Some(coding) if limits.may_be_encoded => {
                Box::pin(decoded(coding, &body, body_bytes_max)).await?
            }
            Some(_) => return Err(NOT_REQUESTED),
        };
        Ok(HttpResponse {
            status: head.status,
            headers: head.headers,
            body,
            retry_after: head.retry_after,
        })
    }

    async fn write(&mut self, head: &[u8], body: &[u8]) -> Result<(), FetchError> {
        let mut written = 0;
        while written < head.len() {
            let slices = [IoSlice::new(&head[written..]), IoSlice::new(body)];
            written += match self.stream.write_vectored(&slices).await {
                Ok(0) => return Err(FetchError::ClosedBeforeResponse),
                Ok(count) => count,
                // TLS may have sent a part of what it took.
                Err(error) if written == 0 && self.stream.is_plain() => {
                    return Err(match closed_or_broken(error) {
                        FetchError::ClosedBeforeResponse => FetchError::ClosedBeforeRequest,
                        error => error,
                    });
                }
                Err(error) => return Err(closed_or_broken(error)),
            };
        }
        self.stream
            .write_all(&body[written - head.len()..])
            .await
            .map_err(closed_or_broken)?;
        // Sends what TLS still buffers; nothing else is buffered.
        self.stream.flush().await.map_err(closed_or_broken)
    }

    async fn read_head(
        &mut self,
        buffer: &mut BytesMut,
        want_headers: bool,
        overhead: &mut Overhead,
    ) -> Result<ResponseHead, FetchError> {
        // A head that arrives byte by byte is not parsed again at each byte.
        let (mut scanned, mut parse_at) = (0, 0);
        loop {
            match self.stream.read_buf(buffer).await {
                Ok(0) if buffer.is_empty() => return Err(FetchError::ClosedBeforeResponse),
                Ok(0) => return Err(ENDS_IN_HEAD),
                Ok(_) => {}
                Err(error) if buffer.is_empty() => return Err(closed_or_broken(error)),
                Err(error) => return Err(FetchError::io(error)),
            }
            let may_be_whole = has_empty_line(&buffer[scanned..]) || buffer.len() >= parse_at;
            while may_be_whole && let Some(head) = parse_head(buffer, want_headers)? {
                // A 1xx response precedes the final one and has no body.
                if head.status >= 200 {
                    return Ok(head);
                }
                overhead.add(head.bytes, 0)?;
                buffer.advance(head.bytes);
            }
            scanned = buffer.len().saturating_sub(2);
            if may_be_whole {
                parse_at = buffer.len() * 2;
            }
            if buffer.len() > HEAD_BYTES_MAX {
                return Err(FetchError::Protocol("its head is too long"));
            }
            buffer.reserve(READ_BYTES);
        }
    }

    async fn read_length(
        &mut self,
        buffer: &mut BytesMut,
        length: usize,
    ) -> Result<Bytes, FetchError> {
        buffer.reserve(length.saturating_sub(buffer.len()));
        while buffer.len() < length {
            self.read_more(buffer).await?;
        }
        if length < READ_BYTES / 2 {
            // A short body must not keep the whole buffer alive.
            let body = Bytes::copy_from_slice(&buffer[..length]);
            buffer.advance(length);
            return Ok(body);
        }
        Ok(buffer.split_to(length).freeze())
    }

    async fn read_until_closed(
        &mut self,
        buffer: &mut BytesMut,
        body_bytes_max: usize,
    ) -> Result<Bytes, FetchError> {
        loop {
            if buffer.len() > body_bytes_max {
                return Err(FetchError::TooLarge(body_bytes_max));
            }
            buffer.reserve(READ_BYTES);
            if self.stream.read_buf(buffer).await.map_err(FetchError::io)? == 0 {
                return Ok(buffer.split().freeze());
            }
        }
    }

    async fn read_chunks(
        &mut self,
        buffer: &mut BytesMut,
        body_bytes_max: usize,
        overhead: &mut Overhead,
    ) -> Result<Bytes, FetchError> {
        let mut body = BytesMut::new();
        loop {
            let (line, length) = self.read_chunk_line(buffer).await?;
            if length == 0 {
                break;
            }
            overhead.add(line + 2, body.len())?;
            if body.len().saturating_add(length) > body_bytes_max {
                return Err(FetchError::TooLarge(body_bytes_max));
            }
            buffer.reserve((length + 2).saturating_sub(buffer.len()));
            while buffer.len() < length + 2 {
                self.read_more(buffer).await?;
            }
            if &buffer[length..length + 2] != b"\r\n" {
                return Err(FetchError::Protocol("a chunk is longer than announced"));
            }
            body.extend_from_slice(&buffer[..length]);
            buffer.advance(length + 2);
        }
        // Skips trailers, which we do not use, and the empty line.
        loop {
            let line = self.read_line(buffer).await?;
            let is_end = line == 2;
            overhead.add(line, body.len())?;
            buffer.advance(line);
            if is_end {
                return Ok(body.freeze());
            }
        }
    }

    /// Reads the line before a chunk. Returns the bytes of the line, and the length of the chunk.
    async fn read_chunk_line(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<(usize, usize), FetchError> {
        let line = self.read_line(buffer).await?;
        let parsed = httparse::parse_chunk_size(&buffer[..line]);
        let Ok(httparse::Status::Complete((used, length))) = parsed else {
            return Err(FetchError::Protocol("a chunk has no valid size"));
        };
        buffer.advance(used);
        let length = usize::try_from(length);
        let length = length.map_err(|_| FetchError::Protocol("a chunk has no valid size"))?;
        Ok((used, length))
    }

    /// Waits until `buffer` starts with a whole line. Returns its length, line end included.
    async fn read_line(&mut self, buffer: &mut BytesMut) -> Result<usize, FetchError> {
        loop {
            if let Some(end) = buffer
                .iter()
                .take(CHUNK_LINE_BYTES_MAX)
                .position(|byte| *byte == b'\n')
            {
                return Ok(end + 1);
            }
            if buffer.len() >= CHUNK_LINE_BYTES_MAX {
                return Err(FetchError::Protocol("a chunk's line is too long"));
            }
            buffer.reserve(READ_BYTES);
            self.read_more(buffer).await?;
        }
    }

    async fn read_more(&mut self, buffer: &mut BytesMut) -> Result<(), FetchError> {
        match self.stream.read_buf(buffer).await {
            Ok(0) => Err(ENDS_IN_BODY),
            Ok(_) => Ok(()),
            Err(error) => Err(FetchError::io(error)),
        }
    }
}

/// Whether a head may end in `bytes`. The parser also accepts a lone line feed as a line end.
fn has_empty_line(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'\n' && matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..])
    })
}

/// Whether the connection ended, in whatever state of the exchange.
pub(super) fn is_broken(error: &FetchError) -> bool {
    match error {
        FetchError::Io(_) | FetchError::ClosedBeforeRequest | FetchError::ClosedBeforeResponse => {
            true
        }
        FetchError::Protocol(text) => [ENDS_IN_HEAD, ENDS_IN_BODY]
            .iter()
            .any(|end| matches!(end, FetchError::Protocol(other) if text == other)),
        _ => false,
    }
}

fn closed_or_broken(error: std::io::Error) -> FetchError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
            FetchError::ClosedBeforeResponse
        }
        _ => FetchError::io(error),
    }
}

/// Parses the head at the start of `buffer`; `None` if it is incomplete.
fn parse_head(buffer: &[u8], want_headers: bool) -> Result<Option<ResponseHead>, FetchError> {
    let mut headers = [MaybeUninit::uninit(); HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let bytes = match parser.parse_response_with_uninit_headers(&mut response, buffer, &mut headers)
    {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(FetchError::Protocol("its head cannot be read")),
    };
    let status = response.code.unwrap_or_default();
    let mut head = ResponseHead {
        status,
        headers: HeaderMap::new(),
        framing: Framing::UntilClosed,
        coding: None,
        keep_alive: response.version == Some(1),
        retry_after: None,
        bytes,
    };
    let mut length = None;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            if value.is_none() || (length.is_some() && length != value) {
                return Err(FetchError::Protocol("its length is not a number"));
            }
            length = value;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(FetchError::Protocol(
                    "its Transfer-Encoding is not supported",
                ));
            }
            head.framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("content-encoding") {
            if !header.value.eq_ignore_ascii_case(b"identity") {
                let coding = Coding::named(header.value).filter(|_| head.coding.is_none());
                head.coding = Some(coding.ok_or(NOT_REQUESTED)?);
            }
        } else if header.name.eq_ignore_ascii_case("connection") && names_close(header.value) {
            head.keep_alive = false;
        } else if matches!(status, 502..=504) && header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after = Some(retry_after(header.value));
        }
        if want_headers
            && let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(header.name.as_bytes()),
                HeaderValue::from_bytes(header.value),
            )
        {
            head.headers.append(name, value);
        }
    }
    if matches!(status, 100..=199 | 204 | 304) {
        head.framing = Framing::Length(0);
    } else if head.framing != Framing::Chunked
        && let Some(length) = length
    {
        head.framing = Framing::Length(length);
    }
    Ok(Some(head))
}

/// Decompresses a body of at most `bytes_max`.
async fn decoded(coding: Coding, body: &Bytes, bytes_max: usize) -> Result<Bytes, FetchError> {
    let bounds = Bounds {
        bytes_max,
        ratio_max: None,
    };
    let decoded = match coding::decoded_at_once(coding, body, bounds) {
        Ok(Some(small)) => Ok(small),
        Ok(None) => coding::decoded(coding, body, bounds, Side::Response).await,
        Err(error) => Err(error),
    };
    decoded.map_err(|error| match error {
        Undecoded::TooLarge => FetchError::TooLarge(bytes_max),
        Undecoded::Malformed => FetchError::Protocol("it is not valid in its Content-Encoding"),
    })
}

/// The value of a `Retry-After`. A date, which depends on two clocks, counts as a time far away.
fn retry_after(value: &[u8]) -> Duration {
    let seconds = std::str::from_utf8(value).ok();
    let seconds = seconds.and_then(|text| text.trim().parse().ok());
    seconds.map_or(Duration::MAX, Duration::from_secs)
}

/// Whether `close` is one of the options in a `Connection` header.
fn names_close(options: &[u8]) -> bool {
    options
        .split(|byte| *byte == b',')
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Option<ResponseHead>, FetchError> {
        parse_head(text.as_bytes(), true)
    }

    #[test]
    fn a_head_says_where_its_body_ends() {
        let framing = |text: &str| head(text).expect("valid").expect("complete").framing;
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"),
            Framing::Length(12)
        );
        assert_eq!(
            framing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Framing::Chunked
        );
        assert_eq!(
            framing("HTTP/1.1 204 No Content\r\n\r\n"),
            Framing::Length(0)
        );
        assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n"), Framing::UntilClosed);
        assert!(
            head("HTTP/1.1 200 OK\r\ncontent-le")
                .expect("valid so far")
                .is_none()
        );
    }

    #[test]
    fn the_end_of_a_head_is_an_empty_line() {
        for whole in ["a\r\n\r\n", "a\n\n", "a\n\r\nb", "\n\n"] {
            assert!(has_empty_line(whole.as_bytes()), "{whole:?}");
        }
        for part in ["", "\n", "a\r\n\r", "a\r\nb\r\n", "a\nb\n"] {
            assert!(!has_empty_line(part.as_bytes()), "{part:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_its_head_says_close() {
        let keeps = |connection: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{connection}content-length: 2\r\n\r\n");
            head(&text).expect("valid").expect("complete").keep_alive
        };
        assert!(keeps("") && keeps("connection: keep-alive, te\r\n"));
        for connection in ["close", "Close", "keep-alive, close", "close,te"] {
            assert!(
                !keeps(&format!("connection: {connection}\r\n")),
                "{connection}"
            );
        }
    }

    #[test]
    fn an_answer_that_fails_may_say_when_to_come_again() {
        let after = |status: u16, value: &str| {
            let text = format!("HTTP/1.1 {status} A\r\nRetry-After: {value}\r\n\r\n");
            head(&text).expect("valid").expect("complete").retry_after
        };
        assert_eq!(after(503, "2"), Some(Duration::from_secs(2)));
        for far in [
            "Fri, 31 Dec 1999 23:59:59 GMT",
            "-1",
            "99999999999999999999",
        ] {
            assert_eq!(after(502, far), Some(Duration::MAX), "{far}");
        }
        assert_eq!(after(429, "2"), None);
    }

    #[test]
    fn a_doubtful_length_is_refused() {
        for lengths in ["-1", "1, 2", "0x10", "1\r\ncontent-length: 2"] {
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {lengths}\r\n\r\n");
            assert!(head(&text).is_err(), "{lengths}");
        }
        assert!(head("HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\n\r\n").is_err());
    }
}
