//! Progressive overrides (`@override` with a label): assigns each request to a group of requests
//! with the same plan.
//!
//! Each request gets a random position from 0 to 100 percent. Its plan depends only on which of the
//! supergraph's percentages are below that position, so an operation is planned once for each such
//! group, and for each set of the other labels, which a setting enables for all requests and a
//! header for one.

use federation::{Overrides, PARTS_PER_PERCENT, Supergraph};

use super::conditions::ConditionValues;
use crate::authorization::Decisions;

/// The percentages and labels by which a supergraph's plans differ.
pub struct Rollout {
    /// The percentages of its labels, in units of 1/[`PARTS_PER_PERCENT`] percent, the smallest
    /// first.
    percentages: Vec<u64>,
    /// Its other labels, by the number of the bit for each.
    flags: Vec<String>,
    /// The bits of the labels that are enabled for all requests.
    always: u64,
}

/// Identifies requests for which an operation has the same plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RolloutGroup {
    /// How many of the percentages their position has reached.
    reached: usize,
    /// The labels that are enabled for them, a bit for each.
    flags: u64,
    /// The values of the condition variables; `None` if they are not known yet, or do not matter.
    pub conditions: Option<ConditionValues>,
    /// Which of the requirements that the operation touches are met; `None` if that is not known yet, or it touches
    /// none.
    pub authorization: Option<Decisions>,
}

impl Rollout {
    /// The groups of a supergraph. `always` has the labels enabled for all requests; labels that
    /// the supergraph does not have are ignored, because the next one may have them.
    pub fn new(supergraph: &Supergraph, always: &[String]) -> Self {
        Self::of(supergraph.percentages(), supergraph.flags(), always)
    }

    fn of(mut percentages: Vec<u64>, flags: &[String], always: &[String]) -> Self {
        percentages.sort_unstable();
        percentages.dedup();
        let mut rollout = Self {
            percentages,
            flags: flags.to_vec(),
            always: 0,
        };
        rollout.always = rollout.bits(always.iter().map(|label| label.trim()));
        rollout
    }

    /// Draws the group of a new request, for which `labels` are enabled in addition to those of all
    /// requests.
    pub fn draw<'l>(&self, labels: impl Iterator<Item = &'l str>) -> RolloutGroup {
        let flags = match self.flags.is_empty() {
            true => 0,
            false => self.always | self.bits(labels),
        };
        if self.percentages.is_empty() {
            return RolloutGroup {
                flags,
                ..RolloutGroup::default()
            };
        }
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        RolloutGroup {
            flags,
            ..self.group_at(random % (100 * PARTS_PER_PERCENT))
        }
    }

    /// The group of requests for which only fields that have moved for all requests have moved.
    pub fn last(&self) -> RolloutGroup {
        RolloutGroup {
            flags: self.always,
            ..RolloutGroup::reaching(self.percentages.len())
        }
    }

    /// The groups here of the requests that were in `group` with another supergraph: with the same labels, and from the
    /// same position on if the percentages are the same, or else from all positions.
    pub fn groups_like(&self, before: &Self, group: RolloutGroup) -> Vec<RolloutGroup> {
        let was_enabled = before.flags.iter().enumerate();
        let labels = was_enabled.filter(|(bit, _)| (group.flags >> bit) & 1 == 1);
        let flags = match self.flags.is_empty() {
            true => 0,
            false => self.always | self.bits(labels.map(|(_, label)| &**label)),
        };
        let reached = match self.percentages == before.percentages {
            true => group.reached..=group.reached,
            false => 0..=self.percentages.len(),
        };
        reached
            .map(|reached| RolloutGroup {
                flags,
                ..RolloutGroup::reaching(reached)
            })
            .collect()
    }

    /// The overrides that apply to the requests of a group.
    pub fn overrides(&self, group: RolloutGroup) -> Overrides {
        Overrides {
            position: self.place(group),
            flags: group.flags,
        }
    }

    /// A position at which requests of this group are.
    fn place(&self, group: RolloutGroup) -> u64 {
        let below = group.reached.checked_sub(1);
        below
            .and_then(|index| self.percentages.get(index))
            .copied()
            .unwrap_or_default()
    }

    fn group_at(&self, place: u64) -> RolloutGroup {
        RolloutGroup::reaching(
            self.percentages
                .partition_point(|percentage| *percentage <= place),
        )
    }

    fn bits<'l>(&self, labels: impl Iterator<Item = &'l str>) -> u64 {
        labels.fold(0, |bits, label| {
            let place = self.flags.binary_search_by(|flag| (**flag).cmp(label));
            bits | place.map_or(0, |place| 1 << place)
        })
    }
}

impl RolloutGroup {
    fn reaching(percentages: usize) -> Self {
        Self {
            reached: percentages,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rollout;

    #[test]
    fn a_group_stands_below_the_percentages_that_it_has_not_reached() {
        let rollout = Rollout::of(vec![50, 0, 100, 50], &[], &[]);
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
        let last = rollout.last();
        assert_eq!(rollout.groups_like(&rollout, last), [last]);
        let other = Rollout::of(vec![10], &[], &[]);
        assert_eq!(other.groups_like(&rollout, last).len(), 2);
    }

    #[test]
    fn labels_that_a_supergraph_has_are_set_for_all_or_for_one_request() {
        let labels = ["a", "b", "c"].map(str::to_owned);
        let always = [" b".to_owned(), "unknown".to_owned()];
        let rollout = Rollout::of(Vec::new(), &labels, &always);
        let flags = |labels: &[&str]| rollout.draw(labels.iter().copied()).flags;
        assert_eq!(flags(&[]), 0b010);
        assert_eq!(flags(&["c", "other", "c", "b"]), 0b110);
        assert_eq!(rollout.overrides(rollout.last()).flags, 0b010);
        let swapped = ["b", "c"].map(str::to_owned);
        let next = Rollout::of(Vec::new(), &swapped, &[]);
        let group = rollout.draw(["a", "c"].into_iter());
        let groups = next.groups_like(&rollout, group);
        assert_eq!(groups.iter().map(|it| it.flags).collect::<Vec<_>>(), [0b11]);
        let plain = Rollout::of(Vec::new(), &[], &always);
        assert_eq!(plain.draw(["b"].into_iter()), Default::default());
    }
}
