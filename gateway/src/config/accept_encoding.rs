//! The content encodings that subgraphs are asked for.

use std::{fmt, str::FromStr};

use graphql_transport::coding::Coding;

/// A value for `Accept-Encoding`: encodings, the one that is liked best first, or `identity` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptEncoding(Vec<String>);

impl AcceptEncoding {
    /// Whether any is asked for.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }
}

impl FromStr for AcceptEncoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().eq_ignore_ascii_case("identity") {
            return Ok(Self::default());
        }
        let names = text.split(',').map(|name| name.trim().to_ascii_lowercase());
        let names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
        match names
            .iter()
            .find(|name| Coding::named(name.as_bytes()).is_none())
        {
            Some(other) => Err(format!(
                "{other:?} is none of gzip, br and zstd, nor identity alone"
            )),
            None => Ok(Self(names)),
        }
    }
}

impl fmt::Display for AcceptEncoding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_any() {
            true => formatter.write_str(&self.0.join(", ")),
            false => formatter.write_str("identity"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_is_asked_for() {
        let shown = |text: &str| text.parse::<AcceptEncoding>().map(|it| it.to_string());
        assert_eq!(shown("zstd,GZIP"), Ok("zstd, gzip".to_owned()));
        for none in ["identity", " Identity ", ""] {
            assert_eq!(shown(none), Ok("identity".to_owned()));
        }
        for wrong in ["deflate", "gzip, *", "gzip;q=1", "identity, gzip"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
