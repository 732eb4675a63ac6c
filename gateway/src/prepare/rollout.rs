//! Progressive overrides, by groups of requests.
//!
//! Each request stands at a random position from 0 to 100 percent. Only between which of the
//! supergraph's percentages it stands matters for its plan, so each such group is planned once.

use federation::PARTS_PER_PERCENT;

use super::conditions::Values;

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
    use super::Rollout;

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
