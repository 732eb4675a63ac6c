//! Which topics a change belongs to.

use bson::{Bson, Document, RawDocument, doc};

use crate::change::{Operation, RawChange};

/// The field of a document that is its topic, and which of its values are the same topic.
#[derive(Clone, Debug)]
pub struct TopicField {
    name: String,
    topic: fn(Bson) -> Bson,
    values: fn(&Bson) -> Vec<Bson>,
}

impl TopicField {
    /// A top-level field each of whose values is a topic of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            topic: |value| value,
            values: |topic| vec![topic.clone()],
        }
    }

    /// For a field in which one topic is stored in several forms: `topic` gives the one that stands
    /// for a value, `values` all that stand for the same topic, itself included.
    #[must_use]
    pub fn with_forms(self, topic: fn(Bson) -> Bson, values: fn(&Bson) -> Vec<Bson>) -> Self {
        Self {
            topic,
            values,
            ..self
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The topic that a value stands for.
    pub(crate) fn topic(&self, value: Bson) -> Bson {
        (self.topic)(value)
    }
}

impl From<&str> for TopicField {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for TopicField {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// The topics that one change belongs to.
pub(crate) enum Topics {
    /// None, one, or two when the change moved the document.
    These(Vec<Bson>),
    /// Nobody knows: an image is missing.
    Unknown,
}

/// The topics of a change: the values of the field before and after it.
pub(crate) fn topics_of(change: &RawChange<'_>, field: &TopicField) -> Topics {
    let lacks_an_image = match change.operation {
        Operation::Insert => change.after.is_none(),
        Operation::Update | Operation::Replace => change.before.is_none() || change.after.is_none(),
        Operation::Delete => change.before.is_none(),
    };
    if lacks_an_image {
        return Topics::Unknown;
    }
    let value = |document: &RawDocument| {
        document
            .get(&field.name)
            .ok()
            .flatten()
            .and_then(|value| Bson::try_from(value).ok())
            .map(|value| field.topic(value))
    };
    let mut topics: Vec<Bson> = change.before.and_then(value).into_iter().collect();
    topics.extend(
        change
            .after
            .and_then(value)
            .filter(|topic| !topics.contains(topic)),
    );
    Topics::These(topics)
}

/// The share of all other changes that a filtered stream shows as well. The server answers when an answer
/// is full, or at the end of the history: of topics that are quiet, nothing else would show for minutes
/// how far it is.
const PROGRESS_SHARE: f64 = 0.01;

/// The stage that leaves, of a stream, these topics' changes, those of unknown topics, the ends of the
/// collection, and a few others.
pub(crate) fn filter(field: &TopicField, topics: &[&Bson]) -> Document {
    let name = &field.name;
    let values = topics.iter().flat_map(|topic| (field.values)(topic));
    let values: Vec<Bson> = values.collect();
    doc! { "$match": { "$or": [
        { format!("fullDocument.{name}"): { "$in": &values } },
        { format!("fullDocumentBeforeChange.{name}"): { "$in": &values } },
        { "operationType": { "$ne": "insert" }, "fullDocumentBeforeChange": Bson::Null },
        { "operationType": { "$ne": "delete" }, "fullDocument": Bson::Null },
        { "$expr": { "$lt": [{ "$rand": {} }, PROGRESS_SHARE] } },
    ] } }
}
