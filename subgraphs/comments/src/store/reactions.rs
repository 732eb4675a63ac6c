//! Reactions: a document for each person and comment in `commentReactions`, and the counts in the comment's own document. Both
//! change in one transaction, so they always agree. See `docs/decisions/reactions.md`.

use std::collections::HashMap;
use std::time::Duration;

use async_graphql::ID;
use bson::spec::BinarySubtype;
use bson::{Binary, Document, RawBsonRef, RawDocument, doc, serialize_to_raw_document_buf};
use changefeed::{SendAction, read_all};
use mongodb::{ClientSession, Database, IndexModel};
use sha2::{Digest, Sha256};
use subgraph::readable::{Kind, Shape};
use subgraph::transaction::Attempt;
use subgraph::turns::{KeyedTurn, KeyedTurns, TurnLimits};
use subgraph::{DateTime, Overloaded, Written, readable};

use super::{Collections, Store, readable_comment};
use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::reaction::{FIELD, Reaction, Reactions};

/// The collection of who chose which.
pub(super) const REACTIONS: &str = "commentReactions";

/// Those who wait for their turn to react to one comment, and how long. An instance lets about 100 of them in a second.
const TURNS: TurnLimits = TurnLimits {
    waiting_max: 500,
    wait_max: Duration::from_secs(5),
};
/// Those who react to any comment at the same time.
const REACTING_MAX: usize = 5_000;

/// Who may have reacted to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PersonOnComment {
    pub comment: CommentId,
    pub person: ID,
}

impl PersonOnComment {
    /// The `_id` of the reaction. A digest, because a collation of the collection could make two persons equal.
    fn key(&self) -> Binary {
        let mut digest = Sha256::new();
        digest.update(self.comment.object_id().bytes());
        digest.update(self.person.as_str());
        Binary {
            subtype: BinarySubtype::Generic,
            bytes: digest.finalize().to_vec(),
        }
    }
}

impl Store {
    /// Sets a person's reaction, or removes it, and returns the comment; none if no visible one has this id.
    pub async fn set_reaction(
        &self,
        of: PersonOnComment,
        reaction: Option<Reaction>,
    ) -> Result<Written<Option<Comment>>, Error> {
        let act = SetReaction {
            of,
            reaction,
            turns: self.reactions.clone(),
        };
        self.calls.in_transaction(act).await
    }

    /// What each of the persons chose; those who chose nothing are left out.
    pub async fn reactions(
        &self,
        of: &[PersonOnComment],
    ) -> Result<HashMap<PersonOnComment, Reaction>, Error> {
        let keyed = of.iter().map(|of| (of.key().bytes, of.clone()));
        let mut keyed: HashMap<Vec<u8>, PersonOnComment> = keyed.collect();
        let keys: Vec<_> = of.iter().map(PersonOnComment::key).collect();
        let read = self.calls.run(|collections| async move {
            let found = collections.reactions.find(doc! { "_id": { "$in": keys } });
            let found = read_all(found.send().await?).await?;
            let found = found.iter().filter_map(|it| {
                let of = keyed.remove(it.get_binary("_id").ok()?.bytes)?;
                Some((of, reaction_in(it)?))
            });
            Ok(found.collect())
        });
        read.await
    }
}

/// Whose turn it is to react to a comment: people who react to the same one at the same moment would be in each other's
/// way at the server, and each would begin again and again. Other instances, edits and moves are met there, as before.
pub(super) fn turns() -> KeyedTurns {
    KeyedTurns::new(REACTING_MAX, TURNS)
}

struct SetReaction {
    of: PersonOnComment,
    reaction: Option<Reaction>,
    turns: KeyedTurns,
}

impl Attempt<Collections> for SetReaction {
    type Output = Option<Comment>;

    async fn turn(&self) -> Result<Option<KeyedTurn>, Overloaded> {
        let turn = self.turns.take(self.of.comment.object_id());
        turn.await.map(Some)
    }

    async fn attempt(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Option<Comment>, Error> {
        let id = self.of.comment;
        let found = collections.comments.find_one(readable_comment(id));
        let Some(document) = found.session(&mut *session).send().await? else {
            return Ok(None);
        };
        let Some(comment) = readable::one::<Comment>(&document, &collections.unreadables) else {
            return Ok(None);
        };
        let key = doc! { "_id": self.of.key() };
        let before = collections.reactions.find_one(key.clone());
        let before = before.session(&mut *session).send().await?;
        let before = before.and_then(|before| reaction_in(&before));
        if before == self.reaction {
            return Ok(Some(comment));
        }
        if has_foreign_counts(&document) {
            return Err(Error::ForeignReactions(id));
        }
        let reactions = comment.reactions.after(before, self.reaction);
        // The comment first: where others react to it at this moment, nothing else is written in vain.
        let counts = update_of_counts(&document, reactions, [before, self.reaction]);
        let update = collections.comments.update_one(doc! { "_id": id }, counts);
        update.session(&mut *session).await?;
        match self.reaction {
            Some(reaction) => {
                let chosen = doc! {
                    "_id": self.of.key(), "commentId": id, "postId": comment.post_id,
                    "by": self.of.person.as_str(), "reaction": reaction.stored(),
                    "at": DateTime::now(),
                };
                let chosen = serialize_to_raw_document_buf(&chosen);
                let chosen = chosen.map_err(mongodb::error::Error::from)?;
                let put = collections.reactions.replace_one(key, chosen);
                put.upsert(true).session(session).await?;
            }
            None => {
                let remove = collections.reactions.delete_one(key);
                remove.session(session).await?;
            }
        }
        Ok(Some(Comment {
            reactions,
            ..comment
        }))
    }
}

impl Collections {
    /// Deletes all reactions to a comment that is being deleted.
    pub(super) async fn remove_reactions(
        &self,
        comment: CommentId,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let remove = self.reactions.delete_many(doc! { "commentId": comment });
        remove.session(session).await.map(drop)
    }
}

/// The filter of comments without counts, so that nobody has reacted to them.
pub(super) fn without_reactions(filter: &mut Document) {
    filter.insert(FIELD, doc! { "$exists": false });
}

fn reaction_in(document: &RawDocument) -> Option<Reaction> {
    Reaction::read(document.get_str("reaction").ok()?)
}

/// Whether another program keeps something in the field of the counts that is no document, and would be lost.
fn has_foreign_counts(comment: &RawDocument) -> bool {
    let field = comment.get(FIELD).ok().flatten();
    !matches!(
        field,
        None | Some(RawBsonRef::Null | RawBsonRef::Document(_))
    )
}

/// The update of the counts that have changed. What other programs keep in the field stays, if it is a document.
fn update_of_counts(
    comment: &RawDocument,
    reactions: Reactions,
    changed: [Option<Reaction>; 2],
) -> Document {
    let kept = Shape([(FIELD, Kind::Document)]).read(comment);
    let kept = kept.ok().and_then(|[kept]| kept.document());
    let is_ours = |kept: &RawDocument| {
        let mut fields = kept.iter();
        fields.all(|it| it.is_ok_and(|(name, _)| Reaction::read(name.as_str()).is_some()))
    };
    match kept {
        Some(kept) if !reactions.is_empty() || !is_ours(kept) => {
            let (mut set, mut unset) = (Document::new(), Document::new());
            for reaction in changed.into_iter().flatten() {
                let path = format!("{FIELD}.{}", reaction.stored());
                match reactions.count(reaction) {
                    0 => unset.insert(path, ""),
                    count => set.insert(path, i64::from(count)),
                };
            }
            let stages = [("$set", set), ("$unset", unset)];
            let stages = stages.into_iter().filter(|(_, fields)| !fields.is_empty());
            stages
                .map(|(name, fields)| (name.to_owned(), fields.into()))
                .collect()
        }
        _ if reactions.is_empty() => doc! { "$unset": { FIELD: "" } },
        _ => {
            let counts = reactions.counts().into_iter();
            let counts =
                counts.map(|it| (it.reaction.stored().to_owned(), i64::from(it.count).into()));
            doc! { "$set": { FIELD: counts.collect::<Document>() } }
        }
    }
}

/// Creates the indexes by which reactions go with their comment, or with their post. In a transaction over several
/// shards MongoDB makes no collection.
pub(super) async fn prepare(database: &Database) -> mongodb::error::Result<()> {
    let of_comment = IndexModel::builder().keys(doc! { "commentId": 1 }).build();
    let of_post = IndexModel::builder().keys(doc! { "postId": 1 }).build();
    let reactions = database.collection::<Document>(REACTIONS);
    reactions.create_index(of_comment).await?;
    reactions.create_index(of_post).await.map(drop)
}
