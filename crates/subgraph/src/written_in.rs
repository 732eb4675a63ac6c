//! The trace in which a document was written, in the document itself: so what the change stream brings about, in whichever
//! process, can be linked to the mutation.
//!
//! Other programs write to the collections, too: the field may be missing, or have any value. Only a `traceparent` of
//! exactly 55 bytes counts, and it decides nothing but a link.

use bson::RawDocument;
use serde::{Serialize, Serializer};
use traces::TraceContext;
use traces::context::TRACEPARENT_LENGTH;

/// The field of a document.
pub const FIELD: &str = "rejoinderTrace";

/// The span in whose trace a document was written last, if that was recorded. It is no part of what the document says, so
/// any two are equal.
#[derive(Clone, Debug, Default)]
pub struct WrittenIn(
    // In a box, because many documents are kept, and few have it.
    Option<Box<TraceContext>>,
);

impl WrittenIn {
    /// The span that this task works for, if it is recorded.
    pub fn now() -> Self {
        Self(traces::current_parent().map(|parent| Box::new(parent.context())))
    }

    /// What a stored document says. Anything but a recorded trace's valid context is none.
    pub fn of(document: &RawDocument) -> Self {
        let text = document.get_str(FIELD).ok();
        let text = text.filter(|text| text.len() == TRACEPARENT_LENGTH);
        let context = text.and_then(|text| TraceContext::parse(text.as_bytes()));
        let recorded = context.filter(|context| context.is_sampled);
        Self(recorded.map(Box::new))
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The context of the write that made this of a document that had `before`, absent if it was new; none if that write
    /// was not recorded, as the field stays then as it was.
    pub fn since(&self, before: Option<&Self>) -> Option<TraceContext> {
        let context = self.0.as_deref()?;
        let was_there = before.is_some_and(|before| before.0.as_deref() == Some(context));
        (!was_there).then_some(*context)
    }

    /// As the field's value.
    pub fn text(&self) -> Option<String> {
        self.0.as_ref().map(|context| context.to_string())
    }
}

impl PartialEq for WrittenIn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Serialize for WrittenIn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawDocumentBuf, doc};

    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: impl Into<Bson>) -> WrittenIn {
        let document = doc! { FIELD: value.into() };
        WrittenIn::of(&RawDocumentBuf::try_from(&document).expect("a document"))
    }

    #[test]
    fn only_a_recorded_context_counts() {
        assert_eq!(of(SAMPLED).text().as_deref(), Some(SAMPLED));
        let later = format!("{}-more", SAMPLED.replacen("00", "01", 1));
        for odd in [
            Bson::Null,
            1.into(),
            doc! { "$gt": 1 }.into(),
            vec![SAMPLED].into(),
            "".into(),
            "$text".into(),
            later.into(),
            SAMPLED.to_uppercase().into(),
            SAMPLED.replace("-01", "-00").into(),
            "x".repeat(1 << 20).into(),
        ] {
            assert!(of(odd.clone()).is_none(), "{odd:.80}");
        }
        assert!(WrittenIn::of(&RawDocumentBuf::new()).is_none());
    }

    #[test]
    fn a_write_that_was_not_recorded_has_no_link_to_an_earlier_one() {
        let (first, second) = (of(SAMPLED), of(SAMPLED.replace("00f0", "11f0")));
        assert!(first.since(None).is_some());
        assert!(first.since(Some(&first)).is_none());
        assert_eq!(second.since(Some(&first)), second.since(None));
        assert!(WrittenIn::default().since(None).is_none());
        assert!(first.since(Some(&WrittenIn::default())).is_some());
    }
}
