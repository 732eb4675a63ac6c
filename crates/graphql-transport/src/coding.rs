//! Bodies in a content coding: gzip, br, zstd. What comes out has a bound, and so has the memory that it takes.
//!
//! A few bytes can stand for gigabytes. So a body is decompressed in steps, each checked against the bound, and none
//! has more memory than its coding allows on the web: brotli's large windows and zstd windows above 8 MiB (RFC 9659) are
//! refused.
//!
//! Most bodies are decompressed where they are ([`decoded_at_once`]). Larger ones are by other threads, one for each
//! processor: there a body ends soon, whereas a task waits for the turns of its client between two steps, with a window
//! of up to 16 MiB in memory.

use std::{
    io::{self, Read},
    sync::LazyLock,
};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use tokio::sync::Semaphore;

/// The codings that are read, as `Accept-Encoding` lists them.
pub const READ: &str = "gzip, br, zstd";

/// So much is decompressed at a time; it takes less than a millisecond.
const STEP_BYTES: usize = 64 * 1024;
/// The largest window of zstd on the web (RFC 9659).
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The buffer that brotli reads into.
const BROTLI_BUFFER_BYTES: usize = 4 * 1024;

/// The threads for larger requests and responses. Each kind has its own: a response may be thirty times as large.
static THREADS: LazyLock<[Semaphore; 2]> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    [Semaphore::new(processors), Semaphore::new(processors)]
});

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client's.
    Request,
    /// A service's.
    Response,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952, one member.
    Gzip,
    /// RFC 7932, without large windows.
    Brotli,
    /// RFC 8878, one frame.
    Zstd,
}

impl Coding {
    /// The coding with this name in `Content-Encoding`.
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match () {
            () if is(b"gzip") || is(b"x-gzip") => Some(Self::Gzip),
            () if is(b"br") => Some(Self::Brotli),
            () if is(b"zstd") => Some(Self::Zstd),
            () => None,
        }
    }
}

/// What may come out of a body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The largest number of bytes.
    pub bytes_max: usize,
    /// Beyond 64 KiB, at most so many times the bytes of the body; `None` for any number.
    pub ratio_max: Option<usize>,
}

impl Bounds {
    /// The largest number of bytes that may come out of a body.
    pub fn of(self, body: &[u8]) -> usize {
        let by_ratio = self
            .ratio_max
            .map(|ratio| body.len().saturating_mul(ratio).max(STEP_BYTES));
        self.bytes_max.min(by_ratio.unwrap_or(usize::MAX))
    }
}

/// Why a body was not decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// More would come out than is allowed.
    #[error("it is larger than allowed when decompressed")]
    TooLarge,
    /// It is not what its coding says, or needs more memory than that allows.
    #[error("it is not valid in its content coding")]
    Malformed,
}

/// Decompresses a body of which at most 64 KiB come out; `None` of a larger one. Takes less than a millisecond.
///
/// # Errors
/// If it is malformed, or more than the bounds allow would come out.
pub fn decoded_at_once(
    coding: Coding,
    body: &[u8],
    bounds: Bounds,
) -> Result<Option<Bytes>, Undecoded> {
    let bytes_max = bounds.of(body);
    let mut decoder = Decoder::new(coding, body, bytes_max)?;
    let mut out = Vec::new();
    let is_all = decoder.step(&mut out, bytes_max)?;
    Ok(is_all.then(|| out.into()))
}

/// Decompresses a larger body by another thread. Whoever leaves does not wait for its end.
///
/// # Errors
/// If it is malformed, or more than the bounds allow would come out.
pub async fn decoded(
    coding: Coding,
    body: &Bytes,
    bounds: Bounds,
    side: Side,
) -> Result<Bytes, Undecoded> {
    // They are never closed.
    let permit = THREADS[side as usize].acquire().await;
    let (body, bytes_max) = (body.clone(), bounds.of(body));
    let decoded = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        whole(coding, &body, bytes_max)
    });
    decoded.await.unwrap_or(Err(Undecoded::Malformed))
}

fn whole(coding: Coding, body: &[u8], bytes_max: usize) -> Result<Bytes, Undecoded> {
    let mut decoder = Decoder::new(coding, body, bytes_max)?;
    let mut out = Vec::with_capacity(2 * STEP_BYTES);
    while !decoder.step(&mut out, bytes_max)? {}
    Ok(out.into())
}

enum Decoder<'b> {
    Gzip(Box<GzDecoder<&'b [u8]>>),
    Brotli(Box<brotli::Decompressor<&'b [u8]>>),
    Zstd(Box<StreamingDecoder<&'b [u8], FrameDecoder>>),
}

impl<'b> Decoder<'b> {
    fn new(coding: Coding, body: &'b [u8], bytes_max: usize) -> Result<Self, Undecoded> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(GzDecoder::new(body))),
            Coding::Brotli => {
                // The pattern that announces a large window, which is not a part of RFC 7932.
                if body.first().is_none_or(|first| first & 0x7f == 0x11) {
                    return Err(Undecoded::Malformed);
                }
                let decoder = brotli::Decompressor::new(body, BROTLI_BUFFER_BYTES);
                Self::Brotli(Box::new(decoder))
            }
            Coding::Zstd => {
                check_zstd_frame(body, bytes_max)?;
                let decoder = StreamingDecoder::new(body);
                Self::Zstd(Box::new(decoder.map_err(|_| Undecoded::Malformed)?))
            }
        })
    }

    /// Appends what comes next. Returns whether that was all.
    fn step(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<bool, Undecoded> {
        // One byte more shows that it is too large.
        let left = (bytes_max + 1).saturating_sub(out.len());
        let wanted = left.min(STEP_BYTES);
        let read = self.take(wanted as u64).read_to_end(out);
        let read = read.map_err(|_| Undecoded::Malformed)?;
        if out.len() > bytes_max {
            return Err(Undecoded::TooLarge);
        }
        let is_all = read < wanted;
        if is_all && !self.has_read_all() {
            return Err(Undecoded::Malformed);
        }
        Ok(is_all)
    }

    /// Whether nothing follows the content.
    fn has_read_all(&self) -> bool {
        match self {
            Self::Gzip(decoder) => decoder.get_ref().is_empty(),
            // It has read ahead.
            Self::Brotli(_) => true,
            Self::Zstd(decoder) => decoder.get_ref().is_empty(),
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Brotli(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Refuses a frame whose header (RFC 8878, section 3.1.1.1) announces too much.
fn check_zstd_frame(body: &[u8], bytes_max: usize) -> Result<(), Undecoded> {
    const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let header = body.strip_prefix(MAGIC).ok_or(Undecoded::Malformed)?;
    let (descriptor, rest) = header.split_first().ok_or(Undecoded::Malformed)?;
    let is_single_segment = descriptor & 0b10_0000 != 0;
    if !is_single_segment {
        let window = rest.first().ok_or(Undecoded::Malformed)?;
        let base = 1_u64 << (10 + (window >> 3));
        return match base + base / 8 * u64::from(window & 0b111) {
            ..=ZSTD_WINDOW_BYTES_MAX => Ok(()),
            _ => Err(Undecoded::Malformed),
        };
    }
    // The window is the whole content.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let size = rest.get(dictionary_bytes..).unwrap_or_default();
    let number = |count: usize| {
        let bytes = size.get(..count).ok_or(Undecoded::Malformed)?;
        let mut number = [0; 8];
        number[..count].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(number))
    };
    let size = match descriptor >> 6 {
        0 => number(1),
        1 => number(2).map(|size| size + 256),
        2 => number(4),
        _ => number(8),
    }?;
    match size <= bytes_max as u64 {
        true => Ok(()),
        false => Err(Undecoded::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
                encoder.write_all(plain).expect("in memory");
                encoder.finish().expect("in memory")
            }
            Coding::Brotli => {
                let mut out = Vec::new();
                let parameters = brotli::enc::BrotliEncoderParams {
                    quality: 4,
                    ..Default::default()
                };
                brotli::BrotliCompress(&mut &*plain, &mut out, &parameters).expect("in memory");
                out
            }
            Coding::Zstd => compress_to_vec(plain, CompressionLevel::Fastest),
        }
    }

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
    const BOUNDS: Bounds = Bounds {
        bytes_max: 1024 * 1024,
        ratio_max: None,
    };

    async fn decode(coding: Coding, body: &[u8], bounds: Bounds) -> Result<Bytes, Undecoded> {
        match decoded_at_once(coding, body, bounds)? {
            Some(all) => Ok(all),
            None => {
                let body = Bytes::copy_from_slice(body);
                decoded(coding, &body, bounds, Side::Request).await
            }
        }
    }

    #[tokio::test]
    async fn what_was_packed_comes_out() {
        for coding in ALL {
            for plain in [
                Vec::new(),
                b"{\"query\":\"{ a }\"}".to_vec(),
                b"0123456789".repeat(STEP_BYTES),
                vec![b' '; STEP_BYTES],
            ] {
                let body = packed(coding, &plain);
                let out = decode(coding, &body, BOUNDS).await;
                assert!(out == Ok(plain.into()), "{coding:?}");
            }
        }
    }

    #[tokio::test]
    async fn no_more_comes_out_than_is_allowed() {
        let plain = vec![b'a'; 1024 * 1024];
        for coding in ALL {
            let body = packed(coding, &plain);
            let bounds = |bytes_max, ratio_max| Bounds {
                bytes_max,
                ratio_max,
            };
            let decode = async |bounds| decode(coding, &body, bounds).await.map(|it| it.len());
            assert_eq!(decode(bounds(plain.len(), None)).await, Ok(plain.len()));
            for bytes_max in [plain.len() - 1, STEP_BYTES, STEP_BYTES - 1, 1, 0] {
                let out = decode(bounds(bytes_max, None)).await;
                assert_eq!(out, Err(Undecoded::TooLarge), "{coding:?} {bytes_max}");
            }
            let out = decode(bounds(plain.len(), Some(10))).await;
            assert_eq!(out, Err(Undecoded::TooLarge), "{coding:?}");
        }
    }

    #[tokio::test]
    async fn what_is_broken_is_refused() {
        for coding in ALL {
            let body = packed(coding, &b"0123456789".repeat(20_000));
            let two = [&body[..], &body].concat();
            for broken in [&b""[..], &body[..body.len() / 2], b"{}", &body[1..], &two] {
                // It has no mark at its beginning, and reads ahead.
                if coding == Coding::Brotli && !body.starts_with(broken) {
                    continue;
                }
                let out = decode(coding, broken, BOUNDS).await;
                assert_eq!(out.err(), Some(Undecoded::Malformed), "{coding:?}");
            }
        }
    }

    #[tokio::test]
    async fn windows_that_the_web_does_not_have_are_refused() {
        let large = [0x11, 0x1f, 0, 0, 0, 0, 0, 0];
        let out = decode(Coding::Brotli, &large, BOUNDS).await;
        assert_eq!(out, Err(Undecoded::Malformed));
        // 16 MiB, and a content of 4 GiB in one segment.
        let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 14 << 3, 1, 0, 0];
        let out = decode(Coding::Zstd, &window, BOUNDS).await;
        assert_eq!(out, Err(Undecoded::Malformed));
        let segment = [
            0x28,
            0xb5,
            0x2f,
            0xfd,
            0b1010_0000,
            255,
            255,
            255,
            255,
            1,
            0,
            0,
        ];
        let out = decode(Coding::Zstd, &segment, BOUNDS).await;
        assert_eq!(out, Err(Undecoded::TooLarge));
    }

    #[test]
    fn codings_have_their_names() {
        assert_eq!(Coding::named(b"GZIP"), Some(Coding::Gzip));
        assert_eq!(Coding::named(b"br"), Some(Coding::Brotli));
        assert_eq!(Coding::named(b"zstd"), Some(Coding::Zstd));
        for name in [&b""[..], b"identity", b"deflate", b"gzip, br", b"*"] {
            assert_eq!(Coding::named(name), None);
        }
    }
}
