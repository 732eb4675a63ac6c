//! One of a post's newest comments, as the post's document embeds it.

use async_graphql::SimpleObject;
use bson::RawDocument;
use subgraph::{DateTime, FlatObject, Id, JsonText};

use crate::post::ANONYMOUS;

/// The id of a comment.
pub type CommentId = Id<Comment<'static>>;

/// What somebody wrote about a post.
#[derive(Clone, Debug, PartialEq, SimpleObject)]
#[graphql(unresolvable = "id")]
pub struct Comment<'d> {
    /// Identifies the comment.
    pub id: CommentId,
    /// The comment's text.
    #[graphql(external)]
    pub text: &'d str,
    /// Who wrote the comment.
    #[graphql(external)]
    pub author: &'d str,
    /// When the comment was created.
    #[graphql(external)]
    pub created_at: DateTime,
}

impl<'d> Comment<'d> {
    /// Reads an embedded comment, and copies nothing; none where it is not one.
    pub fn read(document: &'d RawDocument) -> Option<Self> {
        let (mut id, mut text, mut author, mut created_at) = (None, None, ANONYMOUS, None);
        for element in document {
            let (key, value) = element.ok()?;
            match key.as_str() {
                "_id" => id = value.as_object_id(),
                "text" => text = value.as_str(),
                "author" => author = value.as_str()?,
                "createdAt" => created_at = value.as_datetime(),
                _ => {}
            }
        }
        Some(Self {
            id: id?.into(),
            text: text?,
            author,
            created_at: DateTime::from_millis(created_at?.timestamp_millis()),
        })
    }
}

impl FlatObject for Comment<'_> {
    fn write_leaf(&self, field: &str, json: &mut JsonText) -> bool {
        match field {
            "id" => json.id(self.id),
            "text" => json.string(self.text),
            "author" => json.string(self.author),
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
            text: "Text",
            author: ANONYMOUS,
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
            (comment.id, comment.text, comment.author),
            (id, "Text", "Ada")
        );
        assert_eq!(comment.created_at, at);

        let nameless = rawdoc! { "_id": id.object_id(), "text": "Text", "createdAt": at_bson };
        assert_eq!(
            Comment::read(&nameless).map(|it| it.author),
            Some(ANONYMOUS)
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
