//! Dates as exports write them.

use chrono::{DateTime, NaiveDateTime};

/// Milliseconds since 1970, of a date in UTC such as `2012-12-12 12:12:12` (WordPress), `2012-12-12T12:12:12Z` (Disqus)
/// or `Wed, 12 Dec 2012 12:12:12 +0000` (RSS). None of a date that is missing, such as `0000-00-00 00:00:00`, or that is
/// not in the years 1 to 9999.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let rfc = || {
        let date = DateTime::parse_from_rfc3339(text);
        date.or_else(|_| DateTime::parse_from_rfc2822(text)).ok()
    };
    let date = rfc().map(|date| date.naive_utc()).or_else(|| {
        ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    })?;
    let millis = date.and_utc().timestamp_millis();
    (FIRST..=LAST).contains(&millis).then_some(millis)
}

/// The beginning of year 1. WordPress writes -0001-11-30 for none.
const FIRST: i64 = -62_135_596_800_000;
/// The end of year 9999, beyond which no comment can be read.
const LAST: i64 = 253_402_300_799_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_utc() {
        for text in [
            "2012-12-12 12:12:12",
            " 2012-12-12T12:12:12 ",
            "2012-12-12T12:12:12Z",
            "2012-12-12T14:12:12+02:00",
            "Wed, 12 Dec 2012 12:12:12 +0000",
        ] {
            assert_eq!(parse(text), Some(1_355_314_332_000), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "0000-00-00 00:00:00",
            "Wed, 30 Nov -0001 00:00:00 +0000",
            "0000-01-01 00:00:00",
            "12012-12-12 12:12:12",
            "2012-02-30 00:00:00",
            "soon",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
