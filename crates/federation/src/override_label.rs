//! Labels of progressive overrides: `@override(from: "old", label: "percent(5)")` moves a field for
//! five of a hundred requests.
//!
//! Each request stands at a position from 0 to 100 percent, and an override holds for those below its
//! percentage. A label of another form names a flag; flags are never set, so the field stays where it
//! was.

/// Percentages and positions are counted in these parts of a percent: eight decimals are the most that
/// a label may have.
pub const PARTS_PER_PERCENT: u64 = 100_000_000;

/// What decides whether an override holds for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideLabel {
    /// It holds for requests below this position, in [`PARTS_PER_PERCENT`].
    Percent(u64),
    /// A flag.
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
