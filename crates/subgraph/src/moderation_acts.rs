//! What moderators do, in all subgraphs: each act leaves a line in `moderationActs`, which says who did what, when, and
//! why.
//!
//! The line is written in the transaction of the act, so there is one if and only if the act was done. What belongs to
//! the moderator is changed without a line ([`Viewer::moderates`](crate::Viewer::moderates) says which that is). The
//! lines are never deleted, and nothing reads them: they are for people.

use async_graphql::ID;
use bson::{Bson, Document, doc};
use mongodb::error::Result;
use mongodb::{ClientSession, Collection, Database, IndexModel};

use crate::text::TextRule;
use crate::{DateTime, Owner, Person};

/// The collection of the lines.
pub const ACTS: &str = "moderationActs";
/// What the reason of an act, or of a report, has to be like.
pub const REASON: TextRule = TextRule {
    field: "reason",
    max_chars: 500,
};

/// The moderator who acts, as lines keep them.
#[derive(Clone, Debug)]
pub struct Moderator {
    /// The id of the person.
    pub id: ID,
    /// The name that the person has now.
    pub name: String,
}

impl From<&Person> for Moderator {
    fn from(person: &Person) -> Self {
        Self {
            id: person.id.clone(),
            name: person.name.clone(),
        }
    }
}

/// The line of one act.
#[derive(Clone, Debug)]
pub struct Line(Document);

impl Line {
    /// Who, what and when, and why if the moderator says so.
    pub fn new(act: &'static str, by: &Moderator, reason: Option<&str>) -> Self {
        let mut line = doc! {
            "at": DateTime::now(), "act": act, "by": by.id.as_str(), "name": by.name.as_str(),
        };
        line.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
        Self(line)
    }

    /// Names a document that the act is about.
    #[must_use]
    pub fn about(mut self, field: &'static str, id: impl Into<Bson>) -> Self {
        self.0.insert(field, id.into());
        self
    }

    /// Names the person whom the act concerns.
    #[must_use]
    pub fn of_person(mut self, id: &str) -> Self {
        self.0.insert("authorId", id);
        self
    }

    /// Names the person to whom the document belongs, if it is one.
    #[must_use]
    pub fn of_owner(self, owner: &Owner) -> Self {
        match owner.id() {
            Some(id) => self.of_person(id),
            None => self,
        }
    }
}

/// The collection of the lines, to which they are only added.
#[derive(Clone, Debug)]
pub struct ModerationActs(Collection<Document>);

impl ModerationActs {
    /// The lines of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.collection(ACTS))
    }

    /// Leaves a line in the transaction of its act.
    ///
    /// # Errors
    /// When the database fails; the transaction has to end without a trace then.
    pub async fn leave(&self, line: Line, session: &mut ClientSession) -> Result<()> {
        self.0.insert_one(line.0).session(session).await.map(drop)
    }
}

/// Makes the collection, and the index by which people find what was done about an author. In a transaction over
/// several shards MongoDB makes no collection. All subgraphs that leave lines do this, and whichever starts first makes
/// it.
///
/// # Errors
/// When MongoDB cannot be reached, or has an index of the same keys and another shape.
pub async fn prepare(database: &Database) -> Result<()> {
    let of_author = IndexModel::builder().keys(doc! { "authorId": 1, "_id": -1 });
    let acts = database.collection::<Document>(ACTS);
    acts.create_index(of_author.build()).await.map(drop)
}
