//! The collections: their pre-images, their indexes, and what lies in them that needs an operator.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, IndexModel};

use crate::database_error::{NAMESPACE_NOT_FOUND, code};

use super::{Finding, QUESTION_TIME_LIMIT};

/// What a service needs of one of its collections.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The collection's name.
    pub collection: &'static str,
    /// Whether its changes are followed, so that it needs pre-images.
    pub has_pre_images: bool,
    /// Its indexes, but for that of `_id`.
    pub indexes: Vec<Index>,
    /// What to do where it has documents; `None` where it may.
    pub when_not_empty: Option<&'static str>,
}

/// An index by its keys, in their order, as `createdAt -1, _id -1`; those of a text index are `text`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The keys.
    pub keys: &'static str,
    /// What is slow, or does not work, without it.
    pub without: &'static str,
}

impl Expected {
    /// A collection that needs nothing but to be there.
    pub fn of(collection: &'static str) -> Self {
        Self {
            collection,
            has_pre_images: false,
            indexes: Vec::new(),
            when_not_empty: None,
        }
    }

    /// The same, with pre-images.
    #[must_use]
    pub fn pre_images(mut self) -> Self {
        self.has_pre_images = true;
        self
    }

    /// The same, with an index by these keys.
    #[must_use]
    pub fn index(mut self, keys: &'static str, without: &'static str) -> Self {
        self.indexes.push(Index { keys, without });
        self
    }

    /// The same, and it should be empty: what to do where it is not.
    #[must_use]
    pub fn empty_or(mut self, advice: &'static str) -> Self {
        self.when_not_empty = Some(advice);
        self
    }

    pub(super) async fn look(&self, database: &Database) -> Vec<Finding> {
        let name = self.collection;
        let found = database.list_collections().filter(doc! { "name": name });
        let found = async { found.await?.try_next().await };
        let collection = match found.await {
            Ok(Some(collection)) => collection,
            Ok(None) => {
                return vec![Finding::attention(
                    format!("{name}: there is no such collection yet"),
                    "start the service: it makes it",
                )];
            }
            Err(error) => return vec![Finding::unseen(name, &error)],
        };
        let mut findings = Vec::new();
        let images = collection.options.change_stream_pre_and_post_images;
        if self.has_pre_images && !images.is_some_and(|images| images.enabled) {
            findings.push(Finding::broken(
                format!("{name}: pre-images are off: deletions and edits cannot be followed"),
                format!("start the service with a user that may collMod, or run db.runCommand({{ collMod: \"{name}\", changeStreamPreAndPostImages: {{ enabled: true }} }})"),
            ));
        }
        match indexes(database, name).await {
            Ok(indexes) => findings.extend(self.missing(&indexes)),
            Err(error) => findings.push(Finding::unseen(&format!("{name}: the indexes"), &error)),
        }
        findings.extend(self.leftovers(database).await);
        if findings.is_empty() {
            let (images, indexes) = (self.has_pre_images, self.indexes.len());
            let images = if images { "pre-images on, " } else { "" };
            findings.push(Finding::fine(format!(
                "{name}: {images}all {indexes} index(es)"
            )));
        }
        findings
    }

    fn missing(&self, found: &[String]) -> Vec<Finding> {
        let missing = self
            .indexes
            .iter()
            .filter(|index| !found.iter().any(|keys| keys == index.keys));
        let finding = |index: &Index| {
            Finding::attention(
                format!(
                    "{}: there is no index by {}: {}",
                    self.collection, index.keys, index.without
                ),
                "start the service: it makes it, or logs why it cannot",
            )
        };
        missing.map(finding).collect()
    }

    async fn leftovers(&self, database: &Database) -> Option<Finding> {
        let advice = self.when_not_empty?;
        let documents = database.collection::<Document>(self.collection);
        let counted = documents
            .count_documents(Document::new())
            .max_time(QUESTION_TIME_LIMIT)
            .limit(1_000);
        match counted.await {
            Ok(0) => None,
            Ok(count) => Some(Finding::attention(
                format!("{}: {count} document(s)", self.collection),
                advice,
            )),
            Err(error) => Some(Finding::unseen(self.collection, &error)),
        }
    }
}

/// The keys of a collection's indexes, but for that of `_id`, as [`Index::keys`] has them.
///
/// # Errors
/// When MongoDB cannot be reached or does not allow it.
pub async fn indexes(database: &Database, collection: &str) -> mongodb::error::Result<Vec<String>> {
    let collection = database.collection::<Document>(collection);
    let listed = match collection.list_indexes().await {
        Ok(listed) => listed.try_collect::<Vec<IndexModel>>().await,
        Err(error) => Err(error),
    };
    match listed {
        Ok(indexes) => Ok(indexes
            .iter()
            .map(|index| keys(&index.keys))
            .filter(|keys| keys != "_id 1")
            .collect()),
        Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn keys(keys: &Document) -> String {
    if keys.contains_key("_fts") {
        return "text".to_owned();
    }
    let key = |(name, order): (&String, &Bson)| {
        let order = match order {
            Bson::Int32(order) => order.to_string(),
            Bson::Int64(order) => order.to_string(),
            Bson::Double(order) => order.to_string(),
            Bson::String(kind) => kind.clone(),
            _ => "?".to_owned(),
        };
        format!("{name} {order}")
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}
