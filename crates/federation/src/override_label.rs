//! Labels of progressive overrides: `@override(from: "old", label: "percent(5)")` moves a field for
//! five of a hundred requests.
//!
//! Each request stands at a position from 0 to 100 percent, and an override holds for those below its
//! percentage. A label of another form names a flag, which the caller sets for an operation or not: the
//! field stays where it was for those without it.

/// Percentages and positions are counted in these parts of a percent: eight decimals are the most that
/// a label may have.
pub const PARTS_PER_PERCENT: u64 = 100_000_000;

/// The flags that a supergraph can have: as many as [`Overrides`] holds. Further ones are never set.
pub const FLAGS_MAX: usize = u64::BITS as usize;

/// What decides whether an override holds for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideLabel {
    /// It holds for requests below this position, in [`PARTS_PER_PERCENT`].
    Percent(u64),
    /// A flag of this name.
    Flag,
}

impl OverrideLabel {
    /// Reads a label: `percent(5)`, `percent(0.25)`, or the name of a flag.
    pub fn read(text: &str) -> Self {
        let number = text
            .strip_prefix("percent(")
            .and_then(|rest| rest.strip_suffix(')'));
        match number.and_then(|number| number.parse::<f64>().ok()) {
            Some(percent) if (0.0..=100.0).contains(&percent) => {
                Self::Percent((percent * PARTS_PER_PERCENT as f64).round() as u64)
            }
            _ => Self::Flag,
        }
    }
}

/// Which progressive overrides hold for the requests of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// Where they stand, in [`PARTS_PER_PERCENT`]: an override holds below its percentage.
    pub position: u64,
    /// The flags that are set, a bit for each of [`crate::Supergraph::flags`], the first the lowest.
    pub flags: u64,
}

impl Default for Overrides {
    /// No override holds: every field comes from where it was before.
    fn default() -> Self {
        Self {
            position: u64::MAX,
            flags: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OverrideLabel;

    #[test]
    fn labels_are_percentages_or_flags() {
        let label = OverrideLabel::read;
        assert_eq!(label("percent(0.25)"), OverrideLabel::Percent(25_000_000));
        assert_eq!(
            label("percent(100)"),
            OverrideLabel::Percent(10_000_000_000)
        );
        for flag in ["percent(101)", "percent()", "percent(NaN)", "new-checkout"] {
            assert_eq!(label(flag), OverrideLabel::Flag, "{flag}");
        }
    }
}
