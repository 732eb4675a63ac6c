//! Progressive overrides: `@override(from: "old", label: "percent(5)")` moves a field for five of a
//! hundred requests.
//!
//! Each request stands somewhere between 0 and 100, drawn anew. Only between which of the
//! supergraph's percentages it stands matters for its plan, so each such group is planned once.
//! A label of another form names a flag; flags are never set, so the field stays where it was.

use super::conditions::Values;

/// Percentages are counted in these parts: eight decimals are the most that a label may have.
const PARTS_PER_PERCENT: u64 = 100_000_000;

/// What decides whether an override holds for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// It holds for requests below this place, in parts.
    Percent(u64),
    /// A flag.
    Flag,
}

/// Reads the label of an override: `percent(5)`, `percent(0.25)`, or the name of a flag.
pub fn label(text: &str) -> Label {
    let number = text
        .strip_prefix("percent(")
        .and_then(|rest| rest.strip_suffix(')'));
    match number.and_then(|number| number.parse::<f64>().ok()) {
        Some(percent) if (0.0..=100.0).contains(&percent) => {
            Label::Percent((percent * PARTS_PER_PERCENT as f64).round() as u64)
        }
        _ => Label::Flag,
    }
}

/// The groups of requests that a supergraph tells apart.
pub struct Rollout {
    /// The percentages of its labels in parts, from the smallest up.
    percentages: Vec<u64>,
}

/// Requests that are planned alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Group {
    /// They stand at or above so many of the percentages.
    reached: usize,
    /// Their conditions stand like this; none where that is not known yet, or does not matter.
    pub conditions: Option<Values>,
}

impl Rollout {
    /// Of a supergraph with labels of these percentages, in parts of 1/100,000,000.
    pub fn new(mut percentages: Vec<u64>) -> Self {
        percentages.sort_unstable();
        percentages.dedup();
        Self { percentages }
    }

    /// The group of a new request.
    pub fn draw(&self) -> Group {
        if self.percentages.is_empty() {
            return Group::default();
        }
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        self.group_at(random % (100 * PARTS_PER_PERCENT))
    }

    /// The requests for which nothing has moved yet.
    pub fn last(&self) -> Group {
        Group::reaching(self.percentages.len())
    }

    /// A place where requests of this group stand, in parts.
    pub fn place(&self, group: Group) -> u64 {
        let below = group.reached.checked_sub(1);
        below
            .and_then(|index| self.percentages.get(index))
            .copied()
            .unwrap_or_default()
    }

    fn group_at(&self, place: u64) -> Group {
        Group::reaching(
            self.percentages
                .partition_point(|percentage| *percentage <= place),
        )
    }
}

impl Group {
    fn reaching(percentages: usize) -> Self {
        Self {
            reached: percentages,
            conditions: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Label, Rollout, label};

    #[test]
    fn labels_are_percentages_or_flags() {
        assert_eq!(label("percent(0.25)"), Label::Percent(25_000_000));
        assert_eq!(label("percent(100)"), Label::Percent(10_000_000_000));
        for flag in ["percent(101)", "percent()", "percent(NaN)", "new-checkout"] {
            assert_eq!(label(flag), Label::Flag, "{flag}");
        }
    }

    #[test]
    fn a_group_stands_below_the_percentages_that_it_has_not_reached() {
        let rollout = Rollout::new(vec![50, 0, 100, 50]);
        for (place, ahead) in [
            (0, vec![50, 100]),
            (49, vec![50, 100]),
            (50, vec![100]),
            (99, vec![100]),
        ] {
            let group = rollout.group_at(place);
            let mut percentages = rollout.percentages.clone();
            percentages.retain(|percentage| rollout.place(group) < *percentage);
            assert_eq!(percentages, ahead, "{place}");
        }
        assert_eq!(rollout.place(rollout.last()), 100);
    }
}
