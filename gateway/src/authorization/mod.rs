//! Decides which requirements of authorisation a client meets (`@authenticated`, `@requiresScopes`, `@policy`).
//!
//! What a field requires is in `federation::authorization`. An operation touches few requirements, which are found
//! when it is prepared; for most it is none, and nothing here runs. The others are prepared once for each set of
//! decisions that occurs: the plan does not depend on the token, only on which of the requirements it meets.
//!
//! A field whose requirements a client does not meet is not fetched. In its place the response has null and an error
//! with the code `UNAUTHORIZED_FIELD_OR_TYPE`, as if its resolver had failed; so null propagates as everywhere.

pub(crate) mod field_view;
pub mod policies;

use federation::authorization::{Authorization, Requirement, RequirementId};

use crate::identity::Identity;

/// The distinct requirements that one operation may touch: one bit each in [`Decisions`].
pub const TOUCHED_MAX: usize = u128::BITS as usize;

/// What is known of a client, as far as requirements need it. The default is a client of whom nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claims<'a> {
    /// Whether it is known who the client is.
    pub is_authenticated: bool,
    /// The client's scopes, sorted.
    pub scopes: &'a [String],
    /// The policies that hold for the client, sorted.
    pub policies: &'a [String],
}

impl<'a> Claims<'a> {
    /// What is known of a client with this token, if it has one.
    pub fn of(identity: Option<&'a Identity>) -> Self {
        identity.map_or(Self::default(), |identity| Self {
            is_authenticated: true,
            scopes: &identity.scopes,
            policies: &identity.policies,
        })
    }

    /// The policies that could decide about those of `touched` that the claims do not meet already, sorted.
    pub fn open_policies<'r>(
        &self,
        authorization: &'r Authorization,
        touched: &[RequirementId],
    ) -> Vec<&'r str> {
        let mut open: Vec<&'r str> = Vec::new();
        for id in touched {
            let requirement = authorization.requirement(*id);
            if let Requirement::Policies(wanted) = requirement
                && !self.meets(requirement)
            {
                let names = wanted.sets().iter().flat_map(|set| set.iter());
                let names = names.map(|name| &**name);
                open.extend(names.filter(|name| !has(self.policies, name)));
            }
        }
        open.sort_unstable();
        open.dedup();
        open
    }

    fn meets(&self, requirement: &Requirement) -> bool {
        match requirement {
            Requirement::Authenticated => self.is_authenticated,
            Requirement::Scopes(wanted) => wanted.is_met(|scope| has(self.scopes, scope)),
            Requirement::Policies(wanted) => wanted.is_met(|policy| has(self.policies, policy)),
        }
    }
}

/// Whether a name is among these, which are sorted.
fn has(names: &[String], name: &str) -> bool {
    let place = names.binary_search_by(|known| known.as_str().cmp(name));
    place.is_ok()
}

/// Which of the requirements that an operation touches are met, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decisions(u128);

impl Decisions {
    /// Decides `touched`, which are at most [`TOUCHED_MAX`].
    pub fn of(touched: &[RequirementId], is_met: impl Fn(RequirementId) -> bool) -> Self {
        let bits = touched.iter().enumerate().take(TOUCHED_MAX);
        Self(bits.fold(0, |bits, (bit, id)| bits | (u128::from(is_met(*id)) << bit)))
    }

    /// What a client of these claims meets.
    pub fn by_claims(
        authorization: &Authorization,
        touched: &[RequirementId],
        claims: &Claims<'_>,
    ) -> Self {
        Self::of(touched, |id| claims.meets(authorization.requirement(id)))
    }

    /// Whether a requirement is met. One that is not among `touched`, which these are the decisions of, is not.
    pub fn is_met(self, touched: &[RequirementId], id: RequirementId) -> bool {
        let place = touched.binary_search(&id);
        place.is_ok_and(|bit| bit < TOUCHED_MAX && (self.0 >> bit) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_that_was_not_decided_is_not_met() {
        let ids: Vec<RequirementId> = (0..200).map(|id| RequirementId(id * 2)).collect();
        let all = Decisions::of(&ids, |_| true);
        assert!(all.is_met(&ids, RequirementId(0)) && all.is_met(&ids, RequirementId(254)));
        assert!(!all.is_met(&ids, RequirementId(1)), "not touched");
        assert!(!all.is_met(&ids, RequirementId(256)), "beyond the bits");
        let some = Decisions::of(&ids[..3], |id| id.0 == 2);
        let met: Vec<bool> = ids[..3].iter().map(|id| some.is_met(&ids, *id)).collect();
        assert_eq!(met, [false, true, false]);
    }
}
