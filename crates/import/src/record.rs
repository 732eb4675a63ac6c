//! What an export has, whatever its kind: posts and comments as they are written there.

use crate::error::FileError;
use crate::xml::Piece;

/// What is kept of the text of one field; the rest is dropped. Posts are cut at less.
pub const FIELD_BYTES_MAX: usize = 4 << 20;

/// The end of the last character that ends before `bytes_max`, or there.
pub fn floor(text: &str, bytes_max: usize) -> usize {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}

/// One post or comment of an export.
#[derive(Debug)]
pub enum Record {
    Post(SourcePost),
    Comment(SourceComment),
}

/// A post, a page or a thread.
#[derive(Debug, Default)]
pub struct SourcePost {
    /// Its number in the file, from 0.
    pub ordinal: usize,
    pub id: Option<String>,
    /// Why the export itself says that nobody reads it.
    pub unread: Option<Unread>,
    /// As HTML.
    pub title: String,
    /// As HTML.
    pub content: String,
    pub link: String,
    pub author: String,
    /// Candidates, the best one first.
    pub created: [String; 3],
    pub updated: String,
    /// It is only worth something with comments: a thread.
    pub is_thread: bool,
}

/// A comment.
#[derive(Debug, Default)]
pub struct SourceComment {
    pub id: Option<String>,
    pub parent: Option<String>,
    /// The id of its post; none where it is the one that the file is about to end, or has begun last.
    pub post: Option<String>,
    /// The number of that post in the file.
    pub ordinal: usize,
    pub status: Status,
    /// As HTML.
    pub text: String,
    pub author: String,
    /// Candidates, the best one first.
    pub created: [String; 2],
}

/// Why a post is read by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A draft, a private one, one in the trash.
    Unpublished,
    Password,
    /// An attachment, a menu item, a page.
    OtherType,
    Deleted,
}

/// What the other program did with a comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    #[default]
    Approved,
    /// It waits for a moderator.
    Pending,
    Spam,
    /// It is in the trash, or was deleted.
    Deleted,
    /// A pingback or a trackback: a link that a program has left.
    Pingback,
    /// Another plugin's: an order note, a review.
    OtherType,
}

/// Reads the records of one kind of export, one after the other.
pub trait Export: Send {
    /// The next record; none at the end of the file.
    ///
    /// # Errors
    /// When the file is damaged.
    fn next(&mut self) -> Result<Option<Record>, FileError>;

    /// Bytes of the file that are read.
    fn position(&self) -> u64;

    /// What the ids of the export are unique within, where nobody has said it otherwise.
    fn site(&self) -> &str;
}

/// The texts of some of an element's children.
#[derive(Debug)]
pub struct Fields<const N: usize> {
    names: &'static [&'static str; N],
    values: [Option<String>; N],
    /// The field whose text is being read, and its depth.
    current: Option<usize>,
    /// The depth of the fields.
    depth: usize,
}

impl<const N: usize> Fields<N> {
    /// None yet, of an element at `depth`.
    pub fn of_element(names: &'static [&'static str; N], depth: usize) -> Self {
        Self {
            names,
            values: [const { None }; N],
            current: None,
            depth: depth + 1,
        }
    }

    /// Takes a piece, where it belongs to a field. The first of several fields of a name counts.
    pub fn take_piece(&mut self, piece: &Piece, depth: usize) {
        match piece {
            Piece::Open { name, .. } if depth == self.depth => {
                let index = self.names.iter().position(|known| known == name);
                self.current = index.filter(|index| self.values[*index].is_none());
                if let Some(index) = self.current {
                    self.values[index] = Some(String::new());
                }
            }
            Piece::Text(text) if depth == self.depth => {
                if let Some(index) = self.current
                    && let Some(value) = &mut self.values[index]
                {
                    let room = FIELD_BYTES_MAX.saturating_sub(value.len());
                    value.push_str(&text[..floor(text, room)]);
                }
            }
            Piece::Close if depth < self.depth => self.current = None,
            _ => {}
        }
    }

    /// Whether a field has begun.
    pub fn has(&self, name: &str) -> bool {
        let index = self.names.iter().position(|known| *known == name);
        index.is_some_and(|index| self.values[index].is_some())
    }

    /// The text of a field; empty where it is missing.
    pub fn take(&mut self, name: &str) -> String {
        let index = self.names.iter().position(|known| *known == name);
        let value = index.and_then(|index| self.values[index].as_mut());
        value.map(std::mem::take).unwrap_or_default()
    }

    /// The same without white space at its ends; none where nothing is left.
    pub fn word(&mut self, name: &str) -> Option<String> {
        let value = self.take(name);
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}
