//! An idempotency key, and a digest of the input that came with it.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, RawDocument, doc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use subgraph::Owner;

use crate::Error;
use crate::comment::{Comment, CommentId};
use crate::post::PostId;

/// Begins the digest of a reply.
const REPLY_TO: &[u8] = b"reply to";

/// What is kept of a request, to know it when it comes again.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The `_id` of the key's document, which no other owner has.
    pub(super) key: Bson,
    /// A digest of the input that came with the key.
    digest: Binary,
}

impl Idempotency {
    /// Remembers the owner's key and what came with it.
    pub fn new(
        key: String,
        owner: &Owner,
        (post, parent): (PostId, Option<CommentId>),
        text: &str,
        author: &str,
    ) -> Self {
        let mut digest = Sha256::new();
        // Nothing without a parent: keys that are older than replies have the same digest.
        if let Some(parent) = parent {
            digest.update(REPLY_TO);
            digest.update(parent.object_id().bytes());
        }
        digest.update(post.object_id().bytes());
        // The length separates the text from the author.
        digest.update(text.len().to_be_bytes());
        digest.update(text);
        let key = match owner.id() {
            // A new token may have another name for the same person.
            Some(id) => Bson::from(doc! { "owner": id.as_str(), "key": key }),
            None => {
                digest.update(author);
                Bson::from(key)
            }
        };
        let digest = Binary {
            subtype: BinarySubtype::Generic,
            bytes: digest.finalize().to_vec(),
        };
        Self { key, digest }
    }

    /// Refuses a comment's document that names another input. Comments of earlier versions name none.
    pub(super) fn require_same_input(&self, comment: &RawDocument) -> Result<(), Error> {
        let kept = comment
            .get_document("idempotency")
            .and_then(|kept| kept.get_binary("digest"));
        match kept {
            Ok(digest) if digest.bytes != self.digest.bytes => Err(Error::IdempotencyKeyReused),
            _ => Ok(()),
        }
    }
}

/// A comment's document with the digest of the input that created it.
#[derive(Serialize)]
pub(super) struct KeyedComment<'a> {
    #[serde(flatten)]
    comment: &'a Comment,
    idempotency: Document,
}

impl<'a> KeyedComment<'a> {
    pub fn new(comment: &'a Comment, idempotency: &Idempotency) -> Self {
        Self {
            comment,
            idempotency: doc! { "digest": &idempotency.digest },
        }
    }
}
