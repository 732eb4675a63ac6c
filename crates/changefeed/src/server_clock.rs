//! The server's clock, as this process knows it.
//!
//! Times that the server wrote are compared with the server's clock alone: the wall clocks of two machines differ, and
//! one machine's may be set while it runs. In between two answers of the server, the time that passes is taken from the
//! monotonic clock.
//!
//! It is the wall clock of the primary, with which the server writes its times, and goes back with it. What dates are written
//! with has to go on after an election: the service has a clock of its own for that, which follows the cluster's time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{DateTime, doc};
use mongodb::Database;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Error, WithCauses};

/// An answer that took longer says too little: the server's time in it is of any moment since the question.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// The clock of the primary. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct ServerClock {
    known: Arc<Mutex<Reading>>,
}

/// The server's time at a moment of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Reading {
    time: DateTime,
    at: Instant,
}

impl ServerClock {
    /// Asks the server for its time.
    pub async fn read(database: &Database) -> Result<Self, Error> {
        let (reading, _) = ask(database).await?;
        Ok(Self {
            known: Arc::new(Mutex::new(reading)),
        })
    }

    /// A clock that shows this time now.
    #[cfg(test)]
    pub fn at(time: DateTime) -> Self {
        let at = Instant::now();
        Self {
            known: Arc::new(Mutex::new(Reading { time, at })),
        }
    }

    /// Asks again: the clock may have been set, or another node may be the primary.
    async fn refresh(&self, database: &Database) -> Result<(), Error> {
        let (reading, took) = ask(database).await?;
        if took <= ANSWER_TIME_MAX {
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = reading;
        }
        Ok(())
    }

    /// Asks again at this interval. A server that does not answer holds up nobody else.
    pub async fn keep(self, database: Database, interval: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.refresh(&database).await {
                tracing::debug!(
                    error = %WithCauses(&error),
                    "the server's clock could not be read, will retry"
                );
            }
        }
    }

    /// The server's time now.
    pub fn now(&self) -> DateTime {
        self.time_at(Instant::now())
    }

    /// The server's time at a moment of the monotonic clock.
    pub fn time_at(&self, moment: Instant) -> DateTime {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.time_at(moment)
    }

    /// How long ago a time of the server's was; zero for one to come.
    pub fn since(&self, time: DateTime) -> Duration {
        between(time, self.now())
    }
}

impl Reading {
    /// The server's time at another moment, before or after it.
    fn time_at(&self, moment: Instant) -> DateTime {
        let millis = |between: Duration| i64::try_from(between.as_millis()).unwrap_or(i64::MAX);
        let since = millis(moment.saturating_duration_since(self.at));
        let until = millis(self.at.saturating_duration_since(moment));
        let time = self.time.timestamp_millis();
        DateTime::from_millis(time.saturating_add(since).saturating_sub(until))
    }
}

fn between(earlier: DateTime, later: DateTime) -> Duration {
    let between = later
        .timestamp_millis()
        .saturating_sub(earlier.timestamp_millis());
    Duration::from_millis(u64::try_from(between).unwrap_or_default())
}

/// The server's time in the middle of the question, and how long its answer took.
async fn ask(database: &Database) -> Result<(Reading, Duration), Error> {
    let asked = Instant::now();
    let answer = database.run_command(doc! { "hello": 1 }).await;
    let took = asked.elapsed();
    let answer = answer.map_err(|source| Error::Database {
        doing: "reading the server's clock",
        source,
    })?;
    let time = answer.get_datetime("localTime").copied();
    let time = time.map_err(|_| Error::Refused("the server does not tell its time".to_owned()))?;
    let at = asked + took / 2;
    Ok((Reading { time, at }, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_with_the_monotonic_clock() {
        let (time, at) = (DateTime::from_millis(1_000_000), Instant::now());
        let later = Reading { time, at }.time_at(at + Duration::from_secs(40));
        assert_eq!(later, DateTime::from_millis(1_040_000));
        let at = at + Duration::from_secs(60);
        let earlier = Reading { time, at }.time_at(at - Duration::from_secs(50));
        assert_eq!(earlier, DateTime::from_millis(950_000));
        assert_eq!(between(time, later), Duration::from_secs(40));
        assert_eq!(between(later, time), Duration::ZERO, "a time to come");
        assert!(between(DateTime::from_millis(i64::MIN), time) > Duration::from_secs(1));
    }
}
