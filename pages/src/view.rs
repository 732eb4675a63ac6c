//! The body: what the live page shows, as HTML that needs no script. The live page replaces it.
//!
//! Elements and classes are those of the live page (`web/src/live`), so that nothing moves when it takes over. maud
//! escapes all texts; [`text::fit`] replaces what no escaping mends.

use maud::{Markup, Render, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::graph::{Comment, Connection, Discussion, Moment, Post, Summary};
use crate::head::{UNTITLED, written};
use crate::text;

/// What the live page may start from: the answers to its own first questions, as JSON. It is left out where it has more
/// bytes than this, so that a page of long texts is not twice as large: then the live page asks.
pub const START_BYTES_MAX: usize = 64 * 1024;

/// The list of posts, or an older part of it.
pub fn list(posts: &Connection<Summary>, is_older: bool, start: Option<&str>) -> Markup {
    let content = html! {
        main id="main" class="side" aria-labelledby="posts-title" {
            (rows(posts, None, html! { h1 id="posts-title" { "Posts" } }))
            @if is_older {
                a class="more" href="/" { "Newest posts" }
            }
            @if let Some(cursor) = posts.next() {
                a class="more" rel="next" href=(format!("/?after={}", encoded(cursor))) { "Older posts" }
            }
        }
    };
    page(&content, start)
}

/// A post with its comments, or an older part of them. `None` where they cannot be had.
pub fn post(
    posts: &Connection<Summary>,
    post: &Post,
    discussion: Option<&Discussion>,
    is_older: bool,
    start: Option<&str>,
) -> Markup {
    let path = format!("/posts/{}", post.id);
    let content = html! {
        (beside(posts, Some(&post.id)))
        main id="main" {
            article class="post" {
                a class="back" href="/" { "← All posts" }
                h1 { (shown(&post.title)) }
                div class="meta" {
                    span class="name" { bdi { (text::fit(&post.author)) } }
                    (time(post.created_at))
                    @if post.updated_at != post.created_at { span { "edited" } }
                }
                (prose("content", &post.content))
                section class="comments" aria-labelledby="comments-title" {
                    div class="comments-head" {
                        h2 id="comments-title" { (comments_title(post.comment_count)) }
                    }
                    // Room for the form to write a comment, which needs the script.
                    div class="composer-room" {}
                    (comments(&path, discussion, is_older))
                }
            }
        }
    };
    page(&content, start)
}

/// An address that shows nothing.
pub fn not_found() -> Markup {
    let content = html! {
        main id="main" {
            article class="post" {
                div class="not-found" {
                    h1 { "Not found" }
                    p {
                        "There is nothing at this address. Perhaps it was deleted, or the address is not complete. "
                        a href="/" { "See all posts." }
                    }
                }
            }
        }
    };
    page(&content, None)
}

fn page(content: &Markup, start: Option<&str>) -> Markup {
    html! {
        div id="root" data-start=[start] {
            a class="skip" href="#main" { "Skip to the post" }
            header class="top" {
                a class="brand" href="/" {
                    img src="/favicon.svg" alt="" width="28" height="28";
                    span class="brand-name" { "Rejoinder" }
                }
                (tools())
                // Room for the word on the connection.
                span class="badge" {}
            }
            div class="columns" { (content) }
            footer class="foot" { (tools()) }
        }
        noscript {
            p class="noscript" {
                "Without JavaScript you can read everything. To write, and to see comments as they are written, allow it."
            }
        }
    }
}

fn tools() -> Markup {
    html! {
        nav aria-label="Tools" {
            a href="/graphql" { "GraphiQL" }
            a href="/stats.html" { "Statistics" }
        }
    }
}

/// The list beside a post, where there is room for it.
fn beside(posts: &Connection<Summary>, open: Option<&str>) -> Markup {
    html! {
        aside class="side beside" aria-label="Posts" {
            (rows(posts, open, html! { h2 { "Posts" } }))
        }
    }
}

fn rows(posts: &Connection<Summary>, open: Option<&str>, heading: Markup) -> Markup {
    html! {
        div class="side-head" { (heading) }
        @if posts.edges.is_empty() {
            p class="empty" { "Nothing here yet." }
        }
        ul class="posts" {
            @for post in posts.nodes() {
                @let current = (Some(post.id.as_str()) == open).then_some("page");
                li {
                    a class="row-title" href=(format!("/posts/{}", post.id)) aria-current=[current] {
                        (shown(&post.title))
                    }
                    p class="row-text" { (text::fit(&post.excerpt)) }
                    div class="meta" {
                        span class="name" { bdi { (text::fit(&post.author)) } }
                        (time(post.created_at))
                        span class="count" { (count(post.comment_count)) }
                    }
                }
            }
        }
    }
}

/// A text that somebody wrote, as it was typed: `Prose` in `web/src/live/prose`.
fn prose(class: &str, text: &str) -> Markup {
    let paragraphs = paragraphs(text);
    html! {
        @if let [paragraph] = paragraphs[..] {
            p class=(class) dir="auto" { (text::fit(paragraph)) }
        } @else {
            div class={ (class) " prose" } {
                @for paragraph in paragraphs { p dir="auto" { (text::fit(paragraph)) } }
            }
        }
    }
}

/// Split at blank lines: `paragraphsOf` in `web/src/live/prose/markup.ts`.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some(found) = rest[from..].find('\n') {
        let end = from + found;
        let line = rest[end + 1..].trim_start_matches([' ', '\t']);
        if line.starts_with('\n') {
            paragraphs.push(&rest[..end]);
            (rest, from) = (line.trim_start_matches(is_blank), 0);
        } else {
            from = end + 1;
        }
    }
    paragraphs.push(rest);
    paragraphs
}

/// White space as JavaScript has it.
fn is_blank(c: char) -> bool {
    c == '\u{FEFF}' || c != '\u{85}' && c.is_whitespace()
}

fn comments(path: &str, discussion: Option<&Discussion>, is_older: bool) -> Markup {
    let Some(Discussion { comments }) = discussion else {
        return html! { p class="empty" { "The comments cannot be shown right now." } };
    };
    html! {
        @if is_older {
            a class="more" href=(format!("{path}#comments-title")) { "Newest comments" }
        }
        @if comments.edges.is_empty() {
            p class="empty" { "No comments yet." }
        }
        ol class="comment-list" {
            @for each in comments.nodes() { (comment(each)) }
        }
        @if let Some(cursor) = comments.next() {
            a class="more" rel="next" href=(format!("{path}?after={}#comments-title", encoded(cursor))) {
                "Older comments"
            }
        }
    }
}

fn comment(comment: &Comment) -> Markup {
    let anchor = format!("comment-{}", comment.id);
    html! {
        li class="comment" id=(anchor) {
            (avatar(&comment.author))
            div class="comment-body" {
                div class="meta" {
                    span class="name" { bdi { (text::fit(&comment.author)) } }
                    (time(comment.created_at))
                    @if comment.edited { span { "edited" } }
                    span class="actions" {
                        a class="text" href=(format!("#{anchor}")) {
                            "Link"
                            span class="unseen" { " to the comment by " (text::fit(&comment.author)) }
                        }
                    }
                }
                (prose("text", &comment.text))
            }
        }
    }
}

fn avatar(name: &str) -> Markup {
    let colour = Colour::of(name);
    let initial = name.chars().next().map(char::to_uppercase);
    let initial: String = initial.into_iter().flatten().collect();
    html! {
        span class="avatar" aria-hidden="true" data-deep[colour.is_deep] style=(format!("--hue: {}", colour.hue)) {
            (text::fit(&initial))
        }
    }
}

/// One of 48 colours, always the same for a name: `colourOf` in `web/src/live/CommentItem.tsx`.
struct Colour {
    hue: u32,
    is_deep: bool,
}

impl Colour {
    /// FNV-1a, then the last step of MurmurHash3.
    fn of(name: &str) -> Self {
        let mut hash = name.chars().fold(0x811c_9dc5_u32, |hash, c| {
            (hash ^ u32::from(c)).wrapping_mul(0x0100_0193)
        });
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        let index = (hash ^ (hash >> 16)) % 48;
        Self {
            hue: (index >> 1) * 15,
            is_deep: index % 2 == 1,
        }
    }
}

/// A title. One that shows nothing would leave a link that nobody can press.
fn shown(title: &str) -> Markup {
    match title.trim().is_empty() {
        true => UNTITLED.render(),
        false => text::fit(title).render(),
    }
}

/// The day, and the exact time on hover. The live page turns it into words such as "5 minutes ago", which are about as
/// long.
fn time(moment: Moment) -> Markup {
    let Some(date) = moment.0 else {
        return html! {};
    };
    let exact = date.format("%-d %B %Y, %H:%M:%S UTC").to_string();
    html! {
        time datetime=[written(moment)] title=(exact) { (date.format("%-d %b %Y").to_string()) }
    }
}

fn comments_title(number: u64) -> String {
    match number {
        0 => "Comments".to_owned(),
        number => count(number),
    }
}

fn count(number: u64) -> String {
    match number {
        1 => "1 comment".to_owned(),
        number => format!("{} comments", grouped(number)),
    }
}

/// `1,234,567`, as the live page writes it in English.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn encoded(cursor: &str) -> String {
    utf8_percent_encode(cursor, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_colour_that_the_live_page_gives_it() {
        // From `colourOf` in a browser.
        for (name, hue, is_deep) in COLOURS {
            let colour = Colour::of(name);
            assert_eq!((colour.hue, colour.is_deep), (hue, is_deep), "{name}");
        }
    }

    const COLOURS: [(&str, u32, bool); 3] =
        [("Ada", 165, false), ("Ünal", 90, true), ("😀", 315, false)];

    #[test]
    fn paragraphs_are_those_of_the_live_page() {
        // From `paragraphsOf` in a browser.
        for (text, expected) in [
            ("", &[""][..]),
            ("one\ntwo", &["one\ntwo"]),
            ("one\n\ntwo", &["one", "two"]),
            ("one\n \t\n\n \u{A0}\u{FEFF}two\n", &["one", "two\n"]),
            ("one\n\u{A0}\ntwo", &["one\n\u{A0}\ntwo"]),
            ("one\r\n\r\ntwo", &["one\r\n\r\ntwo"]),
            ("\n\none\n\n", &["", "one", ""]),
            ("\n\n\n", &["", ""]),
            ("one\n\u{85}\n\n\u{85}", &["one\n\u{85}", "\u{85}"]),
        ] {
            assert_eq!(paragraphs(text), expected, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
