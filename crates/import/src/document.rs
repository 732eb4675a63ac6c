//! The documents that posts and comments of an export become.

use std::net::{IpAddr, SocketAddr};

use bson::oid::ObjectId;
use bson::{Document, doc};
use subgraph::stored_comment;
use subgraph::text::TextRule;
use subgraph::{DateTime, author};
use url::Url;

use crate::date;
use crate::html::{self, Lines, Source};
use crate::index::Placed;
use crate::key::Key;
use crate::record::{SourceComment, SourcePost, floor};

/// The longest text of a post that is read, in bytes: the posts subgraph has the same.
const CONTENT_BYTES_MAX: usize = 256 << 10;
/// What clients may give as a title.
const TITLE: TextRule = TextRule {
    field: "title",
    max_chars: 200,
};
const ANY_TEXT: TextRule = TextRule {
    field: "text",
    max_chars: usize::MAX,
};
/// What a post without a title is called.
const UNTITLED: &str = "Untitled";
/// The end of a text that was cut.
const CUT: &str = "\n\n…";

/// A document to be inserted.
#[derive(Clone, Debug)]
pub struct NewDocument {
    pub kind: Kind,
    pub id: ObjectId,
    /// Of a comment, its post.
    pub post: ObjectId,
    pub document: Document,
    /// About how large it is.
    pub bytes: usize,
    pub is_cut: bool,
    /// Its date was missing, or in the future.
    pub is_undated: bool,
}

/// Where a document belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Post,
    /// A visible comment.
    Comment {
        is_reply: bool,
    },
    /// A comment that waits for a moderator.
    Held,
}

/// The document of a post.
pub fn of_post(post: &SourcePost, key: Key, now: DateTime) -> NewDocument {
    let title = html::to_plain(&post.title);
    let title = TITLE.fitted(&title).or_else(|| TITLE.fitted(&post.link));
    let base = Url::parse(&post.link).ok();
    let base = base.filter(|base| matches!(base.scheme(), "http" | "https"));
    let source = Source {
        lines: match post.is_thread || post.content.contains("<!-- wp:") {
            true => lines_of(&post.content),
            false => Lines::AsTyped,
        },
        base: base.as_ref(),
        has_shortcodes: !post.is_thread,
    };
    let room = CONTENT_BYTES_MAX - CUT.len();
    let mut content = html::to_markdown(&post.content, source, room);
    let is_cut = cut(&mut content, room);
    if let Some(link) = base.filter(|_| post.is_thread) {
        // What the thread is about.
        let link = link.as_str();
        if content.len() + link.len() + 2 <= CONTENT_BYTES_MAX {
            content.push_str(if content.is_empty() { "" } else { "\n\n" });
            content.push_str(link);
        }
    }
    let created = post.created.iter().find_map(|date| date::parse(date));
    // At the end of all lists.
    let (created, is_undated) = dated(created.unwrap_or(0), created.is_none(), now);
    let updated = date::parse(&post.updated).map(DateTime::from_millis);
    let updated = updated.unwrap_or(created).clamp(created, created.max(now));
    let author = author_name(&post.author);
    let bytes = content.len() + post.title.len() + 200;
    let id = key.object_id();
    NewDocument {
        kind: Kind::Post,
        id,
        post: id,
        document: doc! {
            "_id": id,
            "title": title.unwrap_or_else(|| UNTITLED.to_owned()),
            "content": content,
            "author": author,
            "createdAt": created,
            "updatedAt": updated,
        },
        bytes,
        is_cut,
        is_undated,
    }
}

/// The document of a comment, or of its entry in moderation, whose shape `subgraphs/comments/src/moderation.rs` has.
pub fn of_comment(comment: &SourceComment, placed: Placed, now: DateTime) -> NewDocument {
    let source = Source {
        lines: lines_of(&comment.text),
        base: None,
        has_shortcodes: false,
    };
    let room = stored_comment::TEXT_BYTES_MAX - CUT.len();
    let mut text = html::to_markdown(&comment.text, source, room);
    let is_cut = cut(&mut text, room);
    let created = comment.created.iter().find_map(|date| date::parse(date));
    let date = created.or(placed.post_created).unwrap_or(0);
    let (created, is_undated) = dated(date, created.is_none(), now);
    let (id, post) = (placed.key.object_id(), placed.post.object_id());
    let bytes = text.len() + 200;
    let mut document = doc! { "_id": id, "postId": post };
    if let Some(parent) = placed.parent {
        document.insert("parentId", parent.object_id());
    }
    document.extend(doc! {
        "text": text,
        "author": author_name(&comment.author),
        "createdAt": created,
        "updatedAt": created,
        "edited": false,
    });
    let kind = match placed.is_held {
        true => Kind::Held,
        false => Kind::Comment {
            is_reply: placed.parent.is_some(),
        },
    };
    if kind == Kind::Held {
        document = doc! {
            "_id": id,
            "postId": post,
            "state": "HELD",
            "list": "OPEN",
            "createdAt": now,
            "reports": [],
            "reporters": [],
            "comment": document,
        };
    }
    NewDocument {
        kind,
        id,
        post,
        document,
        bytes,
        is_cut,
        is_undated,
    }
}

/// Whether nothing of a text can be seen.
pub fn is_blank(text: String) -> bool {
    // It has no control characters, so it can fail for nothing else.
    ANY_TEXT.check(text).is_err()
}

/// Editors write paragraphs as elements, or leave them to line breaks.
fn lines_of(html: &str) -> Lines {
    match html.contains("<p>") || html.contains("<p ") {
        true => Lines::AsBlanks,
        false => Lines::AsTyped,
    }
}

/// Cuts a text that is too long, where nothing of its Markdown breaks.
fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let mut kept = markdown::beginning(text, bytes_max).trim_end().len();
    if kept == 0 {
        kept = floor(text, bytes_max);
    }
    text.truncate(kept);
    text.push_str(CUT);
    true
}

fn dated(millis: i64, is_missing: bool, now: DateTime) -> (DateTime, bool) {
    let date = DateTime::from_millis(millis);
    (date.min(now), is_missing || date > now)
}

/// The name of an author. Addresses are no names: of e-mails and of machines, they are nobody's business.
fn author_name(name: &str) -> String {
    let name = html::to_plain(name);
    let separates = |char: char| char.is_whitespace() || "<>()[],;/\"'".contains(char);
    let words: Vec<&str> = name
        .split(separates)
        .filter(|word| !word.is_empty())
        .collect();
    match words.iter().any(|word| is_address(word)) {
        false => author::of_claim(&name),
        true => {
            let others = words.into_iter().filter(|word| !is_address(word));
            author::of_claim(&others.collect::<Vec<_>>().join(" "))
        }
    }
}

/// Whether a word is an e-mail address, or that of a machine.
fn is_address(word: &str) -> bool {
    let is_mail = word
        .split_once('@')
        .is_some_and(|(before, host)| !before.is_empty() && !host.is_empty());
    is_mail || word.parse::<IpAddr>().is_ok() || word.parse::<SocketAddr>().is_ok()
}

#[cfg(test)]
mod tests;
