//! Which fields a client may see, while an operation is prepared for it.

use std::{cell::RefCell, collections::BTreeSet};

use federation::{
    TypeId,
    authorization::{Authorization, RequirementId},
};

use super::Decisions;

/// Answers whether a field may be seen, and notes which requirements were asked about.
pub struct FieldView<'a> {
    authorization: &'a Authorization,
    touched: &'a [RequirementId],
    /// `None` while nothing is decided: then all may be seen.
    decisions: Option<Decisions>,
    noted: RefCell<BTreeSet<RequirementId>>,
}

impl<'a> FieldView<'a> {
    /// By `decisions` about `touched`.
    pub fn new(
        authorization: &'a Authorization,
        touched: &'a [RequirementId],
        decisions: Option<Decisions>,
    ) -> Self {
        Self {
            authorization,
            touched,
            decisions,
            noted: RefCell::default(),
        }
    }

    /// Whether no field of the supergraph requires anything.
    pub fn is_whole(&self) -> bool {
        self.authorization.is_empty()
    }

    /// Whether a field of objects of a type may be seen. Of an interface, whether it may be seen whatever the
    /// object's type is.
    pub fn sees(&self, ty: TypeId, field: &str) -> bool {
        let required = self.authorization.of_field(ty, field);
        let Some(decisions) = self.decisions else {
            self.noted.borrow_mut().extend(required);
            return true;
        };
        let mut required = required.iter();
        required.all(|id| decisions.is_met(self.touched, *id))
    }

    /// The requirements of all fields that were asked about while nothing was decided, sorted.
    pub fn noted(&self) -> Vec<RequirementId> {
        self.noted.borrow().iter().copied().collect()
    }
}
