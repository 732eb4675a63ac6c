//! Compressed forms of a page, and who accepts them.

use std::io::Write;

use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

/// A post of 20,000 characters is compressed within some milliseconds; the levels above take several times as long and
/// save little.
const BROTLI_QUALITY: i32 = 6;
/// The binary logarithms of the least and the largest window. The largest holds all of the largest page.
const BROTLI_WINDOWS: (u32, u32) = (16, 22);

/// A compressed form.
#[derive(Debug)]
pub struct Coded {
    /// As `Content-Encoding` names it.
    pub coding: &'static str,
    pub body: Bytes,
}

impl Coded {
    /// Those forms that are smaller than the body, the smallest first.
    pub fn forms_of(body: &[u8]) -> Vec<Self> {
        let forms = [("br", brotli(body)), ("gzip", gzip(body))];
        let forms = forms
            .into_iter()
            .filter_map(|(coding, form)| Some((coding, form?)));
        let mut smaller: Vec<Self> = forms
            .filter(|(_, form)| form.len() < body.len())
            .map(|(coding, form)| Self {
                coding,
                body: form.into(),
            })
            .collect();
        smaller.sort_by_key(|form| form.body.len());
        smaller
    }
}

fn brotli(mut body: &[u8]) -> Option<Vec<u8>> {
    let (least, largest) = BROTLI_WINDOWS;
    let window = (body.len().max(1).ilog2() + 1).clamp(least, largest);
    let params = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: i32::try_from(window).ok()?,
        mode: BrotliEncoderMode::BROTLI_MODE_TEXT,
        size_hint: body.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut body, &mut compressed, &params).ok()?;
    Some(compressed)
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// By `Accept-Encoding` (RFC 9110, section 12.5.3).
pub fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|accepted| {
        let (name, weight) = accepted.split_once(';').unwrap_or((accepted, ""));
        let quality = weight
            .trim()
            .strip_prefix("q=")
            .map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case(coding) && quality.is_ok_and(|quality| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that repeat rarely, as those of a text.
    fn text(chars: usize) -> String {
        let mut state = 1_u32;
        let mut words = String::new();
        while words.len() < chars {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            words.push_str(&format!("{:x} ", state >> 12));
        }
        words
    }

    #[test]
    fn the_second_of_two_equal_texts_takes_no_room_however_long_they_are() {
        for chars in [1_000, 100_000, 900_000] {
            let once = text(chars);
            let twice = format!("{once}{once}");
            let [one, two] = [&once, &twice].map(|text| Coded::forms_of(text.as_bytes()));
            assert_eq!(two[0].coding, "br");
            let (one, two) = (one[0].body.len(), two[0].body.len());
            assert!(two < one + one / 20 + 100, "{two} of {one}");
        }
    }

    #[test]
    fn each_form_is_the_body_again() {
        for body in [
            "a".repeat(2_000),
            text(70_000),
            "日本語 \u{2028} \u{0} 😀".repeat(5_000),
        ] {
            let forms = Coded::forms_of(body.as_bytes());
            assert_eq!(forms.len(), 2);
            for form in forms {
                let mut read = Vec::new();
                match form.coding {
                    "br" => brotli::BrotliDecompress(&mut &*form.body, &mut read).map(drop),
                    _ => std::io::Read::read_to_end(
                        &mut flate2::read::GzDecoder::new(&*form.body),
                        &mut read,
                    )
                    .map(drop),
                }
                .expect(form.coding);
                assert!(read == body.as_bytes(), "{}", form.coding);
            }
        }
        assert!(Coded::forms_of(b"").is_empty());
    }
}
