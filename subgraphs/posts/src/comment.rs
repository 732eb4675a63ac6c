//! One of a post's newest comments, as the post's document embeds it.

use std::borrow::Cow;

use async_graphql::{ComplexObject, Context, SimpleObject};
use bson::{Document, RawDocument, doc};
use subgraph::author::{self, ANONYMOUS};
use subgraph::limits::answer::count_bytes;
use subgraph::readable::{Kind, Shape};
use subgraph::stored_comment::TEXT_BYTES_MAX;
use subgraph::{DateTime, FlatObject, Id, JsonText};

/// A comment as a post embeds it. What was not UTF-8 in its texts may be three times as long here.
const EMBEDDED: Shape<4> = Shape([
    ("_id", Kind::Id),
    (
        "text",
        Kind::Text {
            bytes_max: 3 * TEXT_BYTES_MAX,
        },
    ),
    (
        "author",
        Kind::Text {
            bytes_max: 3 * author::BYTES_MAX,
        },
    ),
    ("createdAt", Kind::Date),
]);

/// The id of a comment.
pub type CommentId = Id<Comment<'static>>;

/// A comment on a post.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
#[graphql(complex, unresolvable = "id")]
pub struct Comment<'d> {
    /// Identifies the comment and never changes. A new comment has this id only if this one was deleted
    /// and the new one is created with the same `idempotencyKey`.
    pub id: CommentId,
    #[graphql(skip)]
    pub text: Cow<'d, str>,
    /// The name of the comment's author; "Anonymous" if none was given.
    #[graphql(external)]
    pub author: Cow<'d, str>,
    /// When the comment was created.
    #[graphql(external)]
    pub created_at: DateTime,
}

#[ComplexObject]
impl Comment<'_> {
    /// The comment's text: 1 to 5,000 characters. Empty if another program wrote the comment without one.
    #[graphql(external)]
    async fn text(&self, ctx: &Context<'_>) -> async_graphql::Result<&str> {
        count_bytes(ctx, self.text.len())?;
        Ok(&self.text)
    }
}

impl<'d> Comment<'d> {
    /// Reads an embedded comment; none where it is not one. Texts are copied only where they are not UTF-8.
    pub fn read(document: &'d RawDocument) -> Option<Self> {
        let [id, text, author, created_at] = EMBEDDED.read(document).ok()?;
        Some(Self {
            id: id.id()?.into(),
            text: text.text()?,
            author: author.text().unwrap_or(Cow::Borrowed(ANONYMOUS)),
            created_at: created_at.date()?,
        })
    }

    /// The comment as a post embeds it.
    pub fn to_document(&self) -> Document {
        doc! { "_id": self.id, "text": &*self.text, "author": &*self.author, "createdAt": self.created_at }
    }
}

impl FlatObject for Comment<'_> {
    fn write_leaf(&self, field: &str, json: &mut JsonText) -> bool {
        match field {
            "id" => json.id(self.id),
            "text" => json.string(&self.text),
            "author" => json.string(&self.author),
            "createdAt" => json.date_time(self.created_at),
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::OutputType;
    use async_graphql::registry::{MetaType, Registry};
    use bson::rawdoc;

    use super::*;

    #[test]
    fn every_field_of_the_type_is_a_leaf() {
        let mut registry = Registry::default();
        Comment::create_type_info(&mut registry);
        let Some(MetaType::Object { fields, .. }) = registry.types.get("Comment") else {
            panic!("Comment is an object");
        };
        let comment = Comment {
            id: CommentId::new(),
            text: "Text".into(),
            author: ANONYMOUS.into(),
            created_at: DateTime::now(),
        };
        let mut json = JsonText::default();
        assert!(
            fields
                .keys()
                .all(|field| comment.write_leaf(field, &mut json))
        );
    }

    #[test]
    fn a_comment_is_read_from_its_document_or_not_at_all() {
        let (id, at) = (CommentId::new(), DateTime::from_millis(1));
        let at_bson = bson::DateTime::from_millis(1);
        let whole = rawdoc! {
            "_id": id.object_id(), "text": "Text", "author": "Ada", "createdAt": at_bson, "more": 1,
        };
        let comment = Comment::read(&whole).expect("a comment");
        assert_eq!(
            (comment.id, &*comment.text, &*comment.author),
            (id, "Text", "Ada")
        );
        assert_eq!(comment.created_at, at);

        let nameless = rawdoc! { "_id": id.object_id(), "text": "Text", "createdAt": at_bson };
        assert_eq!(
            Comment::read(&nameless).map(|it| it.author),
            Some(ANONYMOUS.into())
        );
        for broken in [
            rawdoc! { "text": "Text", "createdAt": at_bson },
            rawdoc! { "_id": id.object_id(), "createdAt": at_bson },
            rawdoc! { "_id": id.object_id(), "text": 1, "createdAt": at_bson },
            rawdoc! { "_id": id.object_id(), "text": "Text", "author": 1, "createdAt": at_bson },
            rawdoc! { "_id": id.object_id(), "text": "Text", "createdAt": "today" },
        ] {
            assert_eq!(Comment::read(&broken), None, "{broken:?}");
        }
    }
}
