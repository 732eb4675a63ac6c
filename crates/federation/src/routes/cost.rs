//! What a route or a selection costs.

use std::ops::{Add, AddAssign};

/// A cost, in requests to subgraphs beyond those that the plan has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cost(usize);

impl Cost {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(1);
    /// More than any route costs that was found.
    pub const MAX: Self = Self(usize::MAX);
    /// Of what was not looked into: more than anything that was.
    pub const UNCERTAIN: Self = Self(1_000);

    pub const fn requests(count: usize) -> Self {
        Self(count)
    }

    /// Whether `self` for `parts` is less for each of them than `other` for `other_parts`.
    pub fn compare_per_part(
        self,
        parts: usize,
        other: Self,
        other_parts: usize,
    ) -> std::cmp::Ordering {
        (self.0 * other_parts).cmp(&(other.0 * parts))
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}
