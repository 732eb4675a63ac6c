//! A token bucket, as the generic cell rate algorithm (GCRA) keeps it: one number a client.
//!
//! The number is the time at which the client's bucket is full again, in nanoseconds. Each charge moves it further into
//! the future, by the time in which so much cost is given back; it may be at most one burst ahead of now. A time that
//! has passed says the same as no time at all. Source: ITU-T I.371, annex A ("virtual scheduling"); the same rule by units
//! is in <https://brandur.org/rate-limiting>.

use std::time::Duration;

/// More units a second would be too short a time for each.
const COST_PER_SECOND_MAX: u128 = 10_000_000;
/// The longest time: a client that has used up its burst waits so long until all of it is back.
const PERIOD_MAX: Duration = Duration::from_secs(366 * 86_400);
/// A burst that takes longer to be given back would be as good as none, and nears the end of what 64 bits of nanoseconds
/// can count, 584 years.
const GIVEN_BACK_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// A burst may be so many times the cost that is given back in one period.
const BURST_PERIODS_MAX: u64 = 1_000;

/// How much cost is given back in a time, and how much may be taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    cost: u64,
    period_ns: u64,
    burst: u64,
}

/// Why a charge is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It will be after this time, if nothing else is charged meanwhile.
    For(Duration),
    /// It is more than the burst.
    Ever,
}

impl Rate {
    /// Reads `COST/TIME` or `COST/TIME/BURST`. Without a burst, it is the cost.
    ///
    /// # Errors
    /// In words, if it is not of that form or out of bounds.
    pub fn read(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form 6000/1m");
        let (cost, rest) = text.split_once('/').ok_or_else(form)?;
        let (period, burst) = match rest.split_once('/') {
            Some((period, burst)) => (period, Some(burst)),
            None => (rest, None),
        };
        let cost = amount(cost)?;
        // An amount of one may be left out: 100/s.
        let period = match period.trim() {
            unit @ ("s" | "m" | "h" | "d") => format!("1{unit}"),
            period => period.to_owned(),
        };
        let period = service::duration_up_to(PERIOD_MAX)(&period)?;
        let period_ns = u64::try_from(period.as_nanos()).map_err(|_| form())?;
        if period_ns == 0
            || u128::from(cost) * 1_000_000_000 > COST_PER_SECOND_MAX * u128::from(period_ns)
        {
            return Err(format!(
                "{text:?} gives back more than {COST_PER_SECOND_MAX} a second"
            ));
        }
        let rate = Self {
            cost,
            period_ns,
            burst: cost,
        };
        match burst {
            Some(burst) => rate.with_burst(burst),
            None => Ok(rate),
        }
    }

    /// The same rate with another burst.
    ///
    /// # Errors
    /// In words, if it is no amount, or too much.
    pub fn with_burst(self, text: &str) -> Result<Self, String> {
        let burst = amount(text)?;
        if burst > self.cost.saturating_mul(BURST_PERIODS_MAX) {
            return Err(format!(
                "a burst may be at most {BURST_PERIODS_MAX} times the cost of the rate"
            ));
        }
        if u128::from(self.nanoseconds(burst)) > GIVEN_BACK_MAX.as_nanos() {
            return Err("it would take more than 100 years to give the burst back".to_owned());
        }
        Ok(Self { burst, ..self })
    }

    /// One of so many equal parts of the rate. Its burst is at least 1.
    pub(crate) fn part(self, parts: u64) -> Self {
        Self {
            period_ns: self.period_ns.saturating_mul(parts),
            ..self.with_part_of_burst(parts)
        }
    }

    /// The same rate with one of so many equal parts of the burst, at least 1.
    pub(crate) fn with_part_of_burst(self, parts: u64) -> Self {
        let burst = (self.burst / parts).max(1);
        Self { burst, ..self }
    }

    /// The time in nanoseconds in which a cost of 1 is given back.
    pub(crate) fn time_of_one(&self) -> u64 {
        self.nanoseconds(1)
    }

    /// The cost that may be taken at once.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// Whether it gives back more than another; if both give the same, whether its burst is larger.
    pub fn is_more_generous_than(&self, other: &Self) -> bool {
        let given = |one: &Self, other: &Self| u128::from(one.cost) * u128::from(other.period_ns);
        let (own, others) = (given(self, other), given(other, self));
        own > others || (own == others && self.burst > other.burst)
    }

    /// The bucket after a charge at the time `now`. `full_at` is when it would have been full again. For the time to
    /// wait, `needed` counts, which is at least the charge: what the client will be charged when it comes again.
    ///
    /// # Errors
    /// If the charge is more than is there; then nothing is charged.
    pub fn charge(&self, full_at: u64, now: u64, cost: u64, needed: u64) -> Result<u64, Excess> {
        let from = full_at.max(now);
        let most = now.saturating_add(self.nanoseconds(self.burst));
        let charged = from.saturating_add(self.nanoseconds(cost));
        if charged <= most {
            return Ok(charged);
        }
        let needed = needed.max(cost);
        if needed > self.burst {
            return Err(Excess::Ever);
        }
        let ahead = from.saturating_add(self.nanoseconds(needed)) - most;
        Err(Excess::For(Duration::from_nanos(ahead)))
    }

    /// The time in which so much is given back. Rounded down, so that charges of one by one never exceed their sum.
    fn nanoseconds(&self, cost: u64) -> u64 {
        let time = u128::from(cost) * u128::from(self.period_ns) / u128::from(self.cost);
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

fn amount(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(0) => Err("at least a cost of 1 is needed".to_owned()),
        Ok(amount) => Ok(amount),
        Err(error) => Err(format!("{text:?} is not a whole number: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(text: &str) -> Rate {
        Rate::read(text).expect(text)
    }

    /// A bucket and a clock.
    struct Bucket {
        rate: Rate,
        full_at: u64,
        now: u64,
    }

    impl Bucket {
        fn charge(&mut self, cost: u64, needed: u64) -> Result<(), Excess> {
            self.full_at = self.rate.charge(self.full_at, self.now, cost, needed)?;
            Ok(())
        }
    }

    fn bucket(text: &str) -> Bucket {
        Bucket {
            rate: rate(text),
            full_at: 0,
            now: 5 * SECOND,
        }
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        // A time per unit that is no whole number of nanoseconds.
        for text in ["7/1s", "6000/1m", "3/7m", "10000000/1s"] {
            let mut bucket = bucket(text);
            let burst = bucket.rate.burst();
            for _ in 0..burst.min(10_000) {
                assert_eq!(bucket.charge(1, 1), Ok(()), "{text}");
            }
            if burst > 10_000 {
                continue;
            }
            let Err(Excess::For(wait)) = bucket.charge(1, 1) else {
                panic!("{text}: the burst is used up");
            };
            let wait = u64::try_from(wait.as_nanos()).expect("short");
            bucket.now += wait - 1;
            assert!(bucket.charge(1, 1).is_err(), "{text}");
            bucket.now += 1;
            assert_eq!(bucket.charge(1, 1), Ok(()), "{text}");
            assert!(bucket.charge(1, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_rest_gives_back_one_burst() {
        let mut bucket = bucket("10/1s/30");
        assert_eq!(bucket.charge(30, 30), Ok(()));
        bucket.now += 3_600 * SECOND;
        assert_eq!(bucket.charge(30, 30), Ok(()));
        assert_eq!(
            bucket.charge(1, 1),
            Err(Excess::For(Duration::from_millis(100)))
        );
    }

    #[test]
    fn the_time_to_wait_is_that_of_the_whole_operation() {
        let mut bucket = bucket("10/1s");
        assert_eq!(bucket.charge(10, 10), Ok(()));
        let wait = Duration::from_millis(600);
        assert_eq!(bucket.charge(1, 6), Err(Excess::For(wait)));
        bucket.now += 600_000_000;
        assert_eq!(bucket.charge(1, 6), Ok(()));
        assert_eq!(bucket.charge(5, 6), Ok(()));
    }

    #[test]
    fn what_is_refused_is_not_charged() {
        let mut bucket = bucket("10/1s");
        assert_eq!(bucket.charge(8, 8), Ok(()));
        for _ in 0..5 {
            assert_eq!(
                bucket.charge(3, 3),
                Err(Excess::For(Duration::from_millis(100)))
            );
        }
        assert_eq!(bucket.charge(2, 2), Ok(()));
    }

    #[test]
    fn more_than_the_burst_never_passes() {
        let mut bucket = bucket("10/1s");
        assert_eq!(bucket.charge(11, 11), Err(Excess::Ever));
        assert_eq!(bucket.charge(u64::MAX, u64::MAX), Err(Excess::Ever));
        assert_eq!(bucket.charge(10, 10), Ok(()));
        assert_eq!(bucket.charge(1, 11), Err(Excess::Ever));
    }

    #[test]
    fn rates_are_read_with_their_unit() {
        assert_eq!(rate("6000/1m"), rate(" 6000/ 60s"));
        assert_eq!(rate("100/s"), rate("100/1s/100"));
        for (text, why) in [
            ("6000", "form"),
            ("6000/60", "time unit"),
            ("0/1m", "at least"),
            ("-1/1m", "whole number"),
            ("1.5/1m", "whole number"),
            ("1/0s", "more than"),
            ("20000000/1s", "more than"),
            ("1/400d", "at most"),
            ("1/1s/0", "at least"),
            ("1/1s/1001", "at most"),
            ("1/1s/1/1", "whole number"),
            ("1/366d/101", "100 years"),
            ("1/366d/1000", "100 years"),
        ] {
            let error = Rate::read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_slowest_rate_limits_too() {
        let mut bucket = bucket("1/366d/100");
        assert_eq!(bucket.charge(100, 100), Ok(()));
        let a_year = Duration::from_secs(366 * 86_400);
        assert_eq!(bucket.charge(1, 1), Err(Excess::For(a_year)));
        // A process that has run for 400 years.
        bucket.now += 400 * 366 * 86_400 * SECOND;
        assert_eq!(bucket.charge(100, 100), Ok(()));
        assert_eq!(bucket.charge(1, 1), Err(Excess::For(a_year)));
    }

    #[test]
    fn the_most_generous_gives_back_the_most() {
        let generous = |one, other| rate(one).is_more_generous_than(&rate(other));
        assert!(generous("61/1m", "1/1s/1000"));
        assert!(generous("1/1s/61", "60/1m"));
        assert!(!generous("60/1m", "1/1s/60"));
    }
}
