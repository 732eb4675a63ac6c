//! The XML export of Disqus (<https://help.disqus.com/en/articles/1717164-comments-export>).
//!
//! `<disqus>` has categories, then a `<thread>` for each page, then a `<post>` for each comment. Their attribute `dsq:id`
//! is unique at Disqus, whatever the site.

use crate::error::FileError;
use crate::record::{Export, Fields, Record, SourceComment, SourcePost, Status, Unread};
use crate::xml::{Piece, Xml};

const FIELDS: [&str; 7] = [
    "title",
    "link",
    "message",
    "createdAt",
    "isDeleted",
    "isSpam",
    "isApproved",
];
const AUTHOR_FIELDS: [&str; 2] = ["name", "username"];

/// The depth of threads and posts.
const ENTRY: usize = 2;
/// The depth of their fields.
const FIELD: usize = 3;

/// A Disqus export, after the beginning of its `<disqus>`.
pub struct Disqus {
    xml: Xml,
    entry: Option<Entry>,
    threads: usize,
}

/// A thread or a post.
struct Entry {
    is_thread: bool,
    id: Option<String>,
    fields: Fields<7>,
    author: Option<Fields<2>>,
    thread: Option<String>,
    parent: Option<String>,
}

impl Disqus {
    pub fn new(xml: Xml) -> Self {
        Self {
            xml,
            entry: None,
            threads: 0,
        }
    }

    fn open(&mut self, name: &str, id: Option<&String>) {
        match (self.xml.depth(), name, &mut self.entry) {
            (ENTRY, "thread" | "post", _) => {
                self.entry = Some(Entry {
                    is_thread: name == "thread",
                    id: id.cloned(),
                    fields: Fields::of_element(&FIELDS, ENTRY),
                    author: None,
                    thread: None,
                    parent: None,
                });
            }
            (FIELD, "author", Some(entry)) if entry.author.is_none() => {
                entry.author = Some(Fields::of_element(&AUTHOR_FIELDS, FIELD));
            }
            (FIELD, "thread", Some(entry)) => entry.thread = id.cloned(),
            (FIELD, "parent", Some(entry)) => entry.parent = id.cloned(),
            _ => {}
        }
    }

    fn thread(&mut self, mut entry: Entry) -> SourcePost {
        self.threads += 1;
        let is_unread = entry.is("isDeleted") || entry.is("isSpam");
        SourcePost {
            ordinal: self.threads - 1,
            author: entry.author(),
            id: entry.id,
            unread: is_unread.then_some(Unread::Deleted),
            title: entry.fields.take("title"),
            content: entry.fields.take("message"),
            link: entry.fields.word("link").unwrap_or_default(),
            created: [entry.fields.take("createdAt"), String::new(), String::new()],
            updated: String::new(),
            is_thread: true,
        }
    }
}

impl Entry {
    fn is(&mut self, flag: &str) -> bool {
        let flag = self.fields.word(flag);
        flag.is_some_and(|flag| flag == "true" || flag == "1")
    }

    fn author(&mut self) -> String {
        let Some(author) = &mut self.author else {
            return String::new();
        };
        let name = author.word("name").or_else(|| author.word("username"));
        name.unwrap_or_default()
    }

    fn comment(mut self) -> SourceComment {
        let is_approved = self.fields.word("isApproved");
        let status = if self.is("isSpam") {
            Status::Spam
        } else if self.is("isDeleted") {
            Status::Deleted
        } else if is_approved.is_some_and(|flag| flag == "false" || flag == "0") {
            Status::Pending
        } else {
            Status::Approved
        };
        SourceComment {
            status,
            text: self.fields.take("message"),
            author: self.author(),
            created: [self.fields.take("createdAt"), String::new()],
            id: self.id,
            parent: self.parent,
            // Of none, where it says nothing.
            post: Some(self.thread.unwrap_or_default()),
            ordinal: 0,
        }
    }
}

impl Export for Disqus {
    fn next(&mut self) -> Result<Option<Record>, FileError> {
        loop {
            let piece = self.xml.read()?;
            let depth = self.xml.depth();
            match &piece {
                Piece::Open { name, id } => self.open(name, id.as_ref()),
                Piece::End => return Ok(None),
                Piece::Text(_) | Piece::Close => {}
            }
            if let Some(entry) = &mut self.entry {
                entry.fields.take_piece(&piece, depth);
                if let Some(author) = &mut entry.author {
                    author.take_piece(&piece, depth);
                }
            }
            // It was directly below the root.
            if piece == Piece::Close
                && depth + 1 == ENTRY
                && let Some(entry) = self.entry.take()
            {
                return Ok(Some(match entry.is_thread {
                    true => Record::Post(self.thread(entry)),
                    false => Record::Comment(entry.comment()),
                }));
            }
        }
    }

    fn position(&self) -> u64 {
        self.xml.position()
    }

    fn site(&self) -> &str {
        "disqus"
    }
}
