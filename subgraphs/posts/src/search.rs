//! What a search of posts asks for, and the place of a post among those that were found.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bson::oid::ObjectId;
use bson::{Document, doc};
use subgraph::page::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, checked_size};
use subgraph::text::TextRule;
use subgraph::{InputError, Page};

use crate::post::Post;

/// What the text of a search has to be like. It bounds how many words one search looks up.
const QUERY: TextRule = TextRule {
    field: "query",
    max_chars: 200,
};
/// Version 1: version, list, score (the bits of the number, big endian), id.
const CURSOR_HEAD: [u8; 2] = [1, b's'];

/// Where a post is among those that a search finds: the best match first, and of two that match alike the newer one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// How well it matches. It is the same for as long as the post is.
    pub score: f64,
    pub id: ObjectId,
}

/// A checked search.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    pub query: String,
    pub size: usize,
    pub after: Option<Rank>,
}

/// One page of what was found: each post and its rank.
pub type RankedPage = Page<(Post, Rank)>;

impl SearchRequest {
    /// Checks the arguments of a search.
    ///
    /// # Errors
    /// When the text is blank or too long, the size is negative or above [`MAX_PAGE_SIZE`], or the cursor is none of a
    /// search.
    pub fn check(
        query: String,
        first: Option<i32>,
        after: Option<&str>,
    ) -> Result<Self, InputError> {
        let size = match first {
            None => DEFAULT_PAGE_SIZE,
            Some(first) => checked_size("first", first, MAX_PAGE_SIZE)?,
        };
        let no_cursor = InputError::Cursor { argument: "after" };
        let after = after.map(|cursor| Rank::from_cursor(cursor).ok_or(no_cursor));
        Ok(Self {
            query: QUERY.check(query)?,
            size,
            after: after.transpose()?,
        })
    }

    /// How many posts to look for: one more than the page has, to see whether the list continues.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }
}

impl Rank {
    /// The filter of what comes after this rank, where `score` has the score.
    pub fn after(&self) -> Document {
        doc! { "$or": [
            { "score": { "$lt": self.score } },
            { "score": self.score, "_id": { "$lt": self.id } },
        ] }
    }

    /// The filter of what comes up to this rank.
    pub fn up_to(&self) -> Document {
        doc! { "$nor": [self.after()] }
    }

    /// The cursor of a post at this rank.
    pub fn to_cursor(self) -> String {
        let score = self.score.to_bits().to_be_bytes();
        let bytes = [&CURSOR_HEAD[..], &score, &self.id.bytes()].concat();
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (head, rank) = bytes.split_first_chunk::<2>()?;
        let (score, id) = rank.split_first_chunk::<8>()?;
        let score = f64::from_bits(u64::from_be_bytes(*score));
        (*head == CURSOR_HEAD && score.is_finite()).then_some(Self {
            score,
            id: ObjectId::from_bytes(id.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_what_is_none_is_refused() {
        let rank = Rank {
            score: 10.25,
            id: ObjectId::new(),
        };
        let cursor = rank.to_cursor();
        assert_eq!(Rank::from_cursor(&cursor), Some(rank));
        let endless = Rank {
            score: f64::NAN,
            ..rank
        };
        for forged in [
            "",
            "x",
            &cursor[1..],
            &format!("{cursor}AAAA"),
            &endless.to_cursor(),
        ] {
            assert_eq!(Rank::from_cursor(forged), None, "{forged:?}");
        }
    }

    #[test]
    fn searches_have_limits() {
        let check = |query: &str, first| SearchRequest::check(query.to_owned(), first, None);
        assert_eq!(check("a", None).map(|search| search.size), Ok(20));
        assert!(check(&"x".repeat(200), Some(100)).is_ok());
        for (query, first) in [("", None), (" \n", None), ("a\u{0}", None), ("a", Some(-1))] {
            assert!(check(query, first).is_err(), "{query:?} {first:?}");
        }
        assert!(check(&"x".repeat(201), None).is_err());
        assert!(check("a", Some(101)).is_err());
    }
}
