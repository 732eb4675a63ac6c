//! WordPress eXtended RSS (WXR), versions 1.0 to 1.2: `wp-admin/includes/export.php` of WordPress writes it.
//!
//! A `<channel>` has the authors and, for each post, an `<item>` with its comments. Prefixes are as WordPress writes
//! them (`wp:`, `dc:`, `content:`).

use rustc_hash::FxHashMap;

use crate::error::{Fault, FileError};
use crate::record::{Export, Fields, Record, SourceComment, SourcePost, Status, Unread, floor};
use crate::xml::{Piece, Xml};

const ITEM_FIELDS: [&str; 13] = [
    "title",
    "link",
    "pubDate",
    "dc:creator",
    "guid",
    "content:encoded",
    "wp:post_id",
    "wp:post_date",
    "wp:post_date_gmt",
    "wp:post_modified_gmt",
    "wp:status",
    "wp:post_type",
    "wp:post_password",
];
const COMMENT_FIELDS: [&str; 8] = [
    "wp:comment_id",
    "wp:comment_author",
    "wp:comment_date",
    "wp:comment_date_gmt",
    "wp:comment_content",
    "wp:comment_approved",
    "wp:comment_type",
    "wp:comment_parent",
];
const AUTHOR_FIELDS: [&str; 2] = ["wp:author_login", "wp:author_display_name"];
const CHANNEL_FIELDS: [&str; 4] = [
    "wp:wxr_version",
    "wp:base_blog_url",
    "wp:base_site_url",
    "link",
];
/// What has to be known of a post before it may come before its comments.
const BEFORE_COMMENTS: [&str; 5] = [
    "title",
    "content:encoded",
    "wp:post_id",
    "wp:status",
    "wp:post_type",
];
const VERSIONS: [&str; 3] = ["1.0", "1.1", "1.2"];
/// Authors of posts whose names are remembered. Beyond them, posts have the login names.
const AUTHORS_MAX: usize = 100_000;
const AUTHOR_BYTES_MAX: usize = 400;

/// Depths of elements.
const CHANNEL: usize = 2;
const ITEM: usize = 3;
const COMMENT: usize = 4;

/// What is read of an export.
#[derive(Clone, Debug)]
pub struct WordPressSettings {
    /// Types of items that are posts.
    pub post_types: Vec<String>,
    /// Return a post before its comments where enough of it is known by then, as in exports by WordPress itself.
    /// Without it, a post comes after its comments, and whatever stands in its item is known.
    pub posts_first: bool,
}

/// A WordPress export, after the beginning of its `<rss>`.
pub struct WordPress {
    xml: Xml,
    settings: WordPressSettings,
    channel: Fields<4>,
    /// The address of the blog, once there is an item.
    site: String,
    author: Option<Fields<2>>,
    item: Option<Fields<13>>,
    comment: Option<Fields<8>>,
    /// Names by login names.
    authors: FxHashMap<String, String>,
    /// Items that have begun.
    items: usize,
    /// Whether the post of the item was returned.
    is_returned: bool,
}

impl WordPress {
    pub fn new(xml: Xml, settings: WordPressSettings) -> Self {
        Self {
            xml,
            settings,
            channel: Fields::of_element(&CHANNEL_FIELDS, CHANNEL),
            site: String::new(),
            author: None,
            item: None,
            comment: None,
            authors: FxHashMap::default(),
            items: 0,
            is_returned: false,
        }
    }

    /// An element has begun. Returns whether the comments of a post begin with it that can be returned.
    fn open(&mut self, name: &str) -> Result<bool, FileError> {
        match (self.xml.depth(), name) {
            (ITEM, "item") => {
                if self.items == 0 {
                    self.check_channel()?;
                }
                self.items += 1;
                self.is_returned = false;
                self.item = Some(Fields::of_element(&ITEM_FIELDS, ITEM));
            }
            (ITEM, "wp:author") => self.author = Some(Fields::of_element(&AUTHOR_FIELDS, ITEM)),
            (COMMENT, "wp:comment") => {
                let Some(item) = &self.item else {
                    return Ok(false);
                };
                self.comment = Some(Fields::of_element(&COMMENT_FIELDS, COMMENT));
                let is_known = BEFORE_COMMENTS.iter().all(|field| item.has(field));
                return Ok(self.settings.posts_first && is_known && !self.is_returned);
            }
            _ => {}
        }
        Ok(false)
    }

    /// An element has ended. Returns the record that it completes.
    fn close(&mut self) -> Option<Record> {
        // The depth of what the element was in.
        match self.xml.depth() {
            ITEM => {
                let comment = self.comment.take()?;
                Some(Record::Comment(self.comment(comment)))
            }
            CHANNEL => {
                if let Some(author) = self.author.take() {
                    self.remember(author);
                }
                let mut item = self.item.take()?;
                (!self.is_returned).then(|| Record::Post(self.post(&mut item)))
            }
            _ => None,
        }
    }

    /// Before the first item: is this an export?
    fn check_channel(&mut self) -> Result<(), FileError> {
        let Some(version) = self.channel.word("wp:wxr_version") else {
            return Err(self.xml.fail(Fault::NoWxr));
        };
        if !VERSIONS.contains(&version.as_str()) {
            let version = version.chars().take(20).collect();
            return Err(self.xml.fail(Fault::Version(version)));
        }
        let fields = ["wp:base_blog_url", "wp:base_site_url", "link"];
        let mut sites = fields.iter().filter_map(|field| self.channel.word(field));
        self.site = sites.next().unwrap_or_default();
        Ok(())
    }

    fn remember(&mut self, mut author: Fields<2>) {
        let login = author.word("wp:author_login");
        let name = author.word("wp:author_display_name");
        let (Some(login), Some(mut name)) = (login, name) else {
            return;
        };
        name.truncate(floor(&name, AUTHOR_BYTES_MAX));
        if self.authors.len() < AUTHORS_MAX && login.len() <= AUTHOR_BYTES_MAX {
            self.authors.insert(login, name);
        }
    }

    fn post(&self, item: &mut Fields<13>) -> SourcePost {
        let status = item.word("wp:status");
        let post_type = item.word("wp:post_type");
        let post_type = post_type.as_deref().unwrap_or("post");
        let is_post = self.settings.post_types.iter().any(|it| it == post_type);
        let unread = if !is_post {
            Some(Unread::OtherType)
        } else if status.is_some_and(|status| status != "publish") {
            Some(Unread::Unpublished)
        } else if item.word("wp:post_password").is_some() {
            Some(Unread::Password)
        } else {
            None
        };
        let author = item.take("dc:creator");
        let name = self.authors.get(author.trim());
        SourcePost {
            ordinal: self.items.saturating_sub(1),
            id: item.word("wp:post_id").or_else(|| item.word("guid")),
            unread,
            title: item.take("title"),
            content: item.take("content:encoded"),
            link: item.word("link").unwrap_or_default(),
            author: name.cloned().unwrap_or(author),
            created: [
                item.take("wp:post_date_gmt"),
                item.take("wp:post_date"),
                item.take("pubDate"),
            ],
            updated: item.take("wp:post_modified_gmt"),
            is_thread: false,
        }
    }

    fn comment(&self, mut fields: Fields<8>) -> SourceComment {
        let kind = fields.word("wp:comment_type").unwrap_or_default();
        let approved = fields.word("wp:comment_approved");
        let status = match (kind.as_str(), approved.as_deref()) {
            (_, Some("spam")) => Status::Spam,
            (_, Some("trash" | "post-trashed")) => Status::Deleted,
            ("pingback" | "trackback", _) => Status::Pingback,
            ("" | "comment", None | Some("1" | "approve" | "approved")) => Status::Approved,
            // Also what nobody knows.
            ("" | "comment", Some(_)) => Status::Pending,
            _ => Status::OtherType,
        };
        let parent = fields.word("wp:comment_parent");
        SourceComment {
            id: fields.word("wp:comment_id"),
            parent: parent.filter(|parent| parent != "0"),
            post: None,
            ordinal: self.items.saturating_sub(1),
            status,
            text: fields.take("wp:comment_content"),
            author: fields.take("wp:comment_author"),
            created: [
                fields.take("wp:comment_date_gmt"),
                fields.take("wp:comment_date"),
            ],
        }
    }
}

impl Export for WordPress {
    fn next(&mut self) -> Result<Option<Record>, FileError> {
        loop {
            let piece = self.xml.read()?;
            let depth = self.xml.depth();
            let returns_post = match &piece {
                Piece::Open { name, .. } => self.open(name)?,
                Piece::End if self.items == 0 => {
                    self.check_channel()?;
                    return Ok(None);
                }
                Piece::End => return Ok(None),
                Piece::Text(_) | Piece::Close => false,
            };
            // Each takes what is at its depth.
            self.channel.take_piece(&piece, depth);
            if let Some(author) = &mut self.author {
                author.take_piece(&piece, depth);
            }
            if let Some(item) = &mut self.item {
                item.take_piece(&piece, depth);
            }
            if let Some(comment) = &mut self.comment {
                comment.take_piece(&piece, depth);
            }
            if returns_post && let Some(mut item) = self.item.take() {
                let post = self.post(&mut item);
                self.item = Some(item);
                self.is_returned = true;
                return Ok(Some(Record::Post(post)));
            }
            if piece == Piece::Close
                && let Some(record) = self.close()
            {
                return Ok(Some(record));
            }
        }
    }

    fn position(&self) -> u64 {
        self.xml.position()
    }

    fn site(&self) -> &str {
        &self.site
    }
}
