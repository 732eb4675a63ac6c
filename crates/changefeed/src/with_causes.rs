//! One way to write an error into a log: its text and the texts of its causes, in one line.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// An error with its causes, for a log: `the database failed while committing a batch: I/O error: refused`.
///
/// Of an error of the driver it leaves out the labels and the server's whole answer in hexadecimal digits,
/// which the driver's own text includes.
///
/// ```
/// use changefeed::WithCauses;
/// use changefeed::mongodb::error::Error;
///
/// let error = Error::from(std::io::Error::other("connection refused"));
/// assert_eq!(WithCauses(&error).to_string(), "I/O error: connection refused");
/// ```
pub struct WithCauses<'a>(pub &'a (dyn Error + 'static));

impl Display for WithCauses<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write_one(self.0, formatter)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            formatter.write_str(": ")?;
            write_one(cause, formatter)?;
            source = cause.source();
        }
        Ok(())
    }
}

fn write_one(error: &(dyn Error + 'static), formatter: &mut Formatter<'_>) -> fmt::Result {
    type Driver = mongodb::error::Error;
    // The cause of a driver's error is in a box.
    let of_driver = error
        .downcast_ref::<Driver>()
        .or_else(|| error.downcast_ref::<Box<Driver>>().map(Box::as_ref));
    match of_driver {
        Some(error) => write!(formatter, "{}", error.kind),
        None => write!(formatter, "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_written_and_the_drivers_labels_are_not() {
        let source = mongodb::error::Error::from(std::io::Error::other("connection refused"));
        let error = crate::Error::Database {
            doing: "committing a batch",
            source,
        };
        assert_eq!(
            WithCauses(&error).to_string(),
            "the database failed while committing a batch: I/O error: connection refused"
        );
    }

    #[test]
    fn a_boxed_error_of_the_driver_is_recognised() {
        let error = Box::new(mongodb::error::Error::from(std::io::Error::other(
            "no route",
        )));
        assert_eq!(WithCauses(&error).to_string(), "I/O error: no route");
    }
}
