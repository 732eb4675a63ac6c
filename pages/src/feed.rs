//! Atom feeds (RFC 4287): the newest posts, and the newest comments on a post.
//!
//! The ids of entries come from the graph's ids alone, so they stay the same wherever the feed is served. That of the
//! posts' feed is its address, because another site has such a feed, too.

use std::io;

use chrono::SecondsFormat;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use uuid::Uuid;

use crate::failure::Failure;
use crate::graph::{Comment, Connection, Moment, PostWithComments, Summary};
use crate::head::{SITE, title_of};
use crate::origin::Origin;
use crate::text;

const ATOM: &str = "http://www.w3.org/2005/Atom";
const POSTS_FEED: &str = "/feed.atom";
const AUTHOR_CHARS_MAX: usize = 120;
const NOBODY: &str = "Anonymous";

type Xml = Writer<Vec<u8>>;

/// What an id names. Its number is part of the id in feeds: it never changes.
#[derive(Clone, Copy)]
enum Kind {
    Post = 1,
    Comment = 2,
    /// The comments on a post.
    Discussion = 3,
}

struct Feed<'a> {
    id: String,
    title: &'a str,
    /// Paths of the page and of the feed itself.
    page: &'a str,
    own: &'a str,
    updated: Moment,
}

struct Entry<'a> {
    id: String,
    title: &'a str,
    author: &'a str,
    path: &'a str,
    published: Moment,
    updated: Moment,
    text: Text<'a>,
}

enum Text<'a> {
    Summary(&'a str),
    Content(&'a str),
}

/// The feed of the newest posts.
///
/// # Errors
/// Never, as it is written to memory.
pub fn posts(origin: &Origin, posts: &Connection<Summary>) -> Result<String, Failure> {
    let updated = newest(posts.nodes().map(|post| post.updated_at));
    let feed = Feed {
        id: origin.with(POSTS_FEED),
        title: SITE,
        page: "/",
        own: POSTS_FEED,
        updated,
    };
    let written = write_feed(origin, &feed, |xml| {
        for post in posts.nodes() {
            let entry = Entry {
                id: id(Kind::Post, &post.id),
                title: &title_of(&post.title),
                author: &post.author,
                path: &format!("/posts/{}", post.id),
                published: post.created_at,
                updated: post.updated_at,
                text: Text::Summary(&post.excerpt),
            };
            write_entry(xml, origin, &entry)?;
        }
        Ok(())
    });
    finished(written)
}

/// The feed of the newest comments on a post.
///
/// # Errors
/// Never, as it is written to memory.
pub fn comments(origin: &Origin, post: &PostWithComments) -> Result<String, Failure> {
    let dates = post.comments.nodes().map(|comment| comment.updated_at);
    let updated = newest(dates.chain([post.updated_at]));
    let page = format!("/posts/{}", post.id);
    let title = title_of(&post.title);
    let feed = Feed {
        id: id(Kind::Discussion, &post.id),
        title: &format!("Comments on {title}"),
        page: &page,
        own: &format!("{page}/feed.atom"),
        updated,
    };
    let written = write_feed(origin, &feed, |xml| {
        for comment in post.comments.nodes() {
            write_comment(xml, origin, &page, &title, comment)?;
        }
        Ok(())
    });
    finished(written)
}

fn write_comment(
    xml: &mut Xml,
    origin: &Origin,
    page: &str,
    title: &str,
    comment: &Comment,
) -> io::Result<()> {
    let author = author(&comment.author);
    let entry = Entry {
        id: id(Kind::Comment, &comment.id),
        title: &format!("{author} on {title}"),
        author: &author,
        path: &format!("{page}#comment-{}", comment.id),
        published: comment.created_at,
        updated: comment.updated_at,
        text: Text::Content(&comment.text),
    };
    write_entry(xml, origin, &entry)
}

fn write_feed(
    origin: &Origin,
    feed: &Feed<'_>,
    entries: impl FnOnce(&mut Xml) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut xml = Writer::new(Vec::new());
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("utf-8"), None)))?;
    xml.create_element("feed")
        .with_attribute(("xmlns", ATOM))
        .write_inner_content(|xml| {
            write_text(xml, "id", &feed.id)?;
            write_text(xml, "title", feed.title)?;
            write_text(xml, "updated", &date(feed.updated))?;
            write_link(xml, "self", &origin.with(feed.own))?;
            write_link(xml, "alternate", &origin.with(feed.page))?;
            entries(xml)
        })?;
    Ok(xml.into_inner())
}

fn write_entry(xml: &mut Xml, origin: &Origin, entry: &Entry<'_>) -> io::Result<()> {
    xml.create_element("entry").write_inner_content(|xml| {
        write_text(xml, "id", &entry.id)?;
        write_text(xml, "title", entry.title)?;
        write_text(xml, "published", &date(entry.published))?;
        write_text(xml, "updated", &date(entry.updated))?;
        write_link(xml, "alternate", &origin.with(entry.path))?;
        xml.create_element("author")
            .write_inner_content(|xml| write_text(xml, "name", &author(entry.author)))?;
        match entry.text {
            Text::Summary(text) => write_text(xml, "summary", text),
            Text::Content(text) => write_text(xml, "content", text),
        }
    })?;
    Ok(())
}

/// A text of people or of ours. Without `type` it is plain text.
fn write_text(xml: &mut Xml, element: &str, content: &str) -> io::Result<()> {
    xml.create_element(element)
        .write_text_content(BytesText::new(&text::fit(content)))?;
    Ok(())
}

fn write_link(xml: &mut Xml, relation: &str, address: &str) -> io::Result<()> {
    xml.create_element("link")
        .with_attribute(("rel", relation))
        .with_attribute(("href", address))
        .write_empty()?;
    Ok(())
}

fn finished(written: io::Result<Vec<u8>>) -> Result<String, Failure> {
    let xml = written.map_err(|_| Failure::Defect)?;
    String::from_utf8(xml).map_err(|_| Failure::Defect)
}

fn author(name: &str) -> String {
    text::line(name, AUTHOR_CHARS_MAX, NOBODY)
}

fn newest(dates: impl Iterator<Item = Moment>) -> Moment {
    dates.max().unwrap_or_default()
}

/// Atom demands a date: one that RFC 3339 cannot write is the first of Unix.
fn date(moment: Moment) -> String {
    let date = moment.0.unwrap_or_default();
    date.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A UUID of version 8 (RFC 9562): the twelve bytes of an id of MongoDB, which no other document has, and what it names.
fn id(kind: Kind, id: &str) -> String {
    let mut bytes = [0; 16];
    for (at, byte) in bytes[4..].iter_mut().enumerate() {
        let digits = id.get(2 * at..2 * at + 2).unwrap_or("00");
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    // The version and the variant take six bits of the bytes 6 and 8: what stood there goes to the front.
    bytes[0] = kind as u8;
    bytes[1] = bytes[6];
    bytes[2] = bytes[8];
    uuid::Builder::from_custom_bytes(bytes)
        .into_uuid()
        .urn()
        .encode_lower(&mut Uuid::encode_buffer())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ() {
        let one = id(Kind::Post, "0123456789abcdef01234567");
        assert_eq!(one, "urn:uuid:01458900-0123-8567-89ab-cdef01234567");
        assert_ne!(one, id(Kind::Comment, "0123456789abcdef01234567"));
        // They differ in the bits that the version and the variant cover.
        assert_ne!(one, id(Kind::Post, "0123f56789abcdef01234567"));
        assert_ne!(one, id(Kind::Post, "01234567c9abcdef01234567"));
    }
}
