//! One of a post's newest comments, as the post's document embeds it.

use async_graphql::{InputType, ScalarType, SimpleObject, Value};
use serde::{Deserialize, Serialize};
use subgraph::{DateTime, FlatObject, Id};

use crate::post::anonymous;

/// The id of a comment.
pub type CommentId = Id<Comment>;

/// What somebody wrote about a post.
#[derive(Clone, Debug, PartialEq, SimpleObject, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[graphql(unresolvable = "id")]
pub struct Comment {
    /// Identifies the comment.
    #[serde(rename = "_id")]
    pub id: CommentId,
    /// The comment's text.
    #[graphql(external)]
    pub text: String,
    /// Who wrote the comment.
    #[serde(default = "anonymous")]
    #[graphql(external)]
    pub author: String,
    /// When the comment was created.
    #[graphql(external)]
    pub created_at: DateTime,
}

impl FlatObject for Comment {
    fn leaf(&self, field: &str) -> Option<Value> {
        Some(match field {
            "id" => InputType::to_value(&self.id),
            "text" => Value::from(self.text.as_str()),
            "author" => Value::from(self.author.as_str()),
            "createdAt" => ScalarType::to_value(&self.created_at),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::OutputType;
    use async_graphql::registry::{MetaType, Registry};

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
            text: "Text".to_owned(),
            author: anonymous(),
            created_at: DateTime::now(),
        };
        assert!(fields.keys().all(|field| comment.leaf(field).is_some()));
    }
}
