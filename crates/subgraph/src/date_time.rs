//! `DateTime`: a point in time with milliseconds, as MongoDB stores it and RFC 3339 writes it.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use bson::RawBson;
use bson::oid::ObjectId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A point in time in UTC with milliseconds, as MongoDB stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DateTime(bson::DateTime);

impl DateTime {
    /// The first instant that RFC 3339 can write: the beginning of year 0.
    pub const RFC3339_FIRST: Self = Self(bson::DateTime::from_millis(-62_167_219_200_000));
    /// The last one: the end of year 9999.
    pub const RFC3339_LAST: Self = Self(bson::DateTime::from_millis(253_402_300_799_999));

    /// Whether RFC 3339, which has four digits for a year, can write the instant. MongoDB's range is wider.
    pub fn is_in_rfc3339(self) -> bool {
        (Self::RFC3339_FIRST..=Self::RFC3339_LAST).contains(&self)
    }

    /// The present on the database's clock ([`crate::database_clock`]), cut to milliseconds.
    pub fn now() -> Self {
        Self::from_millis(crate::database_clock::now_ms())
    }

    /// When an id was made, to the second.
    pub fn of_id(id: ObjectId) -> Self {
        Self(id.timestamp())
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, negative before.
    pub fn timestamp_millis(self) -> i64 {
        self.0.timestamp_millis()
    }

    /// Writes it as [`ScalarType::to_value`] does.
    pub fn write_rfc3339(self, text: &mut Vec<u8>) {
        write_rfc3339_millis(self.timestamp_millis(), text);
    }

    /// The point in time that is this many milliseconds after 1970-01-01T00:00:00Z.
    pub fn from_millis(millis: i64) -> Self {
        Self(bson::DateTime::from_millis(millis))
    }
}

impl<'de> Deserialize<'de> for DateTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `bson::DateTime` takes the way over extended JSON, a text and several allocations for each
        // date; as a raw value it is the number that the document holds.
        match RawBson::deserialize(deserializer)? {
            RawBson::DateTime(date_time) => Ok(Self(date_time)),
            other => Err(D::Error::custom(format_args!(
                "{:?} is not a date",
                other.element_type()
            ))),
        }
    }
}

/// A point in time in UTC, in the format of RFC 3339, always with milliseconds: `2026-01-31T23:59:59.999Z`.
#[Scalar(
    name = "DateTime",
    specified_by_url = "https://datatracker.ietf.org/doc/html/rfc3339"
)]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(bson::DateTime::parse_rfc3339_str(text)?)),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        let mut text = Vec::with_capacity(24);
        self.write_rfc3339(&mut text);
        // Digits and signs alone.
        Value::String(String::from_utf8(text).unwrap_or_default())
    }
}

impl From<DateTime> for bson::Bson {
    fn from(date_time: DateTime) -> Self {
        Self::DateTime(date_time.0)
    }
}

/// A list of posts writes some 200 dates, so this is done by hand: days to a date as in Howard
/// Hinnant's `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn write_rfc3339_millis(millis: i64, text: &mut Vec<u8>) {
    const MILLIS_A_DAY: i64 = 86_400_000;
    let days = millis.div_euclid(MILLIS_A_DAY) + 719_468;
    let in_day = millis.rem_euclid(MILLIS_A_DAY);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    if !(0..=9999).contains(&year) {
        // RFC 3339 has four digits for the year; MongoDB's range is wider.
        let wider = bson::DateTime::from_millis(millis).to_chrono().to_rfc3339();
        return text.extend_from_slice(wider.as_bytes());
    }

    let mut digits = *b"0000-00-00T00:00:00.000Z";
    put_digits(&mut digits[0..4], year);
    put_digits(&mut digits[5..7], month);
    put_digits(&mut digits[8..10], day);
    put_digits(&mut digits[11..13], in_day / 3_600_000);
    put_digits(&mut digits[14..16], in_day / 60_000 % 60);
    put_digits(&mut digits[17..19], in_day / 1_000 % 60);
    put_digits(&mut digits[20..23], in_day % 1_000);
    text.extend_from_slice(&digits);
}

/// The last digits of `number`, as many as there are places.
fn put_digits(places: &mut [u8], mut number: i64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc3339_millis(millis: i64) -> String {
        let mut text = Vec::new();
        write_rfc3339_millis(millis, &mut text);
        String::from_utf8(text).expect("UTF-8")
    }

    #[test]
    fn an_instant_is_written_as_chrono_writes_it() {
        let four_digit_years = -62_167_219_200_000..253_402_300_800_000_i64;
        // A stride that meets every month, leap days, and odd times of the day.
        for millis in four_digit_years.step_by(1_234_567_891) {
            let date = bson::DateTime::from_millis(millis).to_chrono();
            let expected = date.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
            assert_eq!(rfc3339_millis(millis), expected);
        }
    }

    #[test]
    fn a_date_is_read_from_bytes_and_from_values_and_nothing_else_is_one() {
        let date = DateTime::from_millis(1_234_567_890_123);
        let read = |value: bson::Bson| {
            let bytes = bson::doc! { "alone": value }.to_vec().expect("a document");
            bson::deserialize_from_slice::<std::collections::HashMap<String, DateTime>>(&bytes)
        };
        assert_eq!(read(date.into()).expect("a date")["alone"], date);
        assert!(read("2026-01-31T23:59:59.999Z".into()).is_err());
        let value = bson::Bson::from(date);
        assert_eq!(
            bson::deserialize_from_bson::<DateTime>(value).ok(),
            Some(date)
        );
    }

    #[test]
    fn the_last_and_the_first_instants_of_mongodb_are_written_too() {
        assert!(!rfc3339_millis(i64::MAX).is_empty());
        assert!(!rfc3339_millis(i64::MIN).is_empty());
    }
}
