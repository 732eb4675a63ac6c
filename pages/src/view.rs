//! The body: what the live page shows, as HTML that needs no script. The live page replaces it.
//!
//! Elements and classes are those of the live page (`web/src/live`), so that nothing moves when it takes over. maud
//! escapes all texts; [`text::fit`] replaces what no escaping mends.

use std::collections::{HashMap, HashSet};

use maud::{Markup, Render, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::graph::{Comment, Connection, Discussion, Moment, Post, Summary};
use crate::head::{UNTITLED, written};
use crate::prose::prose;
use crate::text;

/// What the live page may start from: the answers to its own first questions, as JSON. Most of it stands in the page a
/// second time, as HTML, and takes hardly any room in its compressed form (`coding.rs`). It is left out where it has more
/// bytes than this, which needs a text of control characters: then the live page asks.
pub const START_BYTES_MAX: usize = 192 * 1024;

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
                @if post.is_cut() {
                    a class="more read-on" href={ (path) "?whole" } { "Read on" }
                }
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
            @for placed in threads(comments.nodes()) { (comment(&placed)) }
        }
        @if let Some(cursor) = comments.next() {
            a class="more" rel="next" href=(format!("{path}?after={}#comments-title", encoded(cursor))) {
                "Older comments"
            }
        }
    }
}

/// A comment where it is shown.
struct Placed<'c> {
    comment: &'c Comment,
    /// It stands below the comment that it replies to.
    is_below: bool,
}

/// Comments with their replies below them, the oldest reply first; a reply whose comment is not in the list stands at its
/// own place: `web/src/live/threads.ts`.
fn threads<'c>(comments: impl Iterator<Item = &'c Comment>) -> Vec<Placed<'c>> {
    let comments: Vec<&Comment> = comments.collect();
    let tops = comments
        .iter()
        .filter(|comment| comment.parent_id.is_none());
    let tops: HashSet<&str> = tops.map(|comment| comment.id.as_str()).collect();
    let mut replies: HashMap<&str, Vec<&Comment>> = HashMap::new();
    let mut rest = Vec::new();
    for comment in comments {
        match comment.parent_id.as_deref() {
            Some(parent) if tops.contains(parent) => {
                replies.entry(parent).or_default().push(comment)
            }
            _ => rest.push(comment),
        }
    }
    let mut placed = Vec::new();
    for comment in rest {
        placed.push(Placed {
            comment,
            is_below: false,
        });
        let mut below = replies.remove(comment.id.as_str()).unwrap_or_default();
        below.sort_by_key(|reply| reply.created_at);
        placed.extend(below.into_iter().map(|comment| Placed {
            comment,
            is_below: true,
        }));
    }
    placed
}

fn comment(&Placed { comment, is_below }: &Placed<'_>) -> Markup {
    let anchor = format!("comment-{}", comment.id);
    html! {
        li class="comment" id=(anchor) data-reply[is_below] {
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
                @if comment.parent_id.is_some() { (reply_to(comment, is_below)) }
                (prose("text", &comment.text))
                (foot(comment))
            }
        }
    }
}

/// What a reply answers: said aloud below its comment, and shown where it stands alone.
fn reply_to(reply: &Comment, is_below: bool) -> Markup {
    let (Some(parent), Some(id)) = (&reply.parent, &reply.parent_id) else {
        return html! { p class="reply-to" { "In reply to a comment that is gone" } };
    };
    let author = text::fit(&parent.author);
    html! {
        @if is_below {
            p class="unseen" { "In reply to " (author) }
        } @else {
            p class="reply-to" {
                "In reply to " a href=(format!("#comment-{id}")) { (author) }
            }
        }
    }
}

/// The reactions that somebody has chosen, in the live page's order, and the number of replies.
fn foot(comment: &Comment) -> Markup {
    let count_of = |reaction: &str| {
        let found = comment.reactions.iter().find(|it| it.reaction == reaction);
        found.map_or(0, |it| it.count)
    };
    let chosen = REACTIONS.map(|(reaction, sign, name)| (count_of(reaction), sign, name));
    html! {
        div class="comment-foot" {
            @if chosen.iter().any(|(count, _, _)| *count > 0) {
                @let label = format!("Reactions to the comment by {}", text::fit(&comment.author));
                div class="reactions" role="group" aria-label=(label) {
                    @for (count, sign, name) in chosen {
                        @if count > 0 {
                            span class="reaction" {
                                span aria-hidden="true" { (sign) }
                                span class="unseen" { (name) }
                                span class="reaction-count" { (grouped(count)) }
                            }
                        }
                    }
                }
            }
            @match comment.reply_count {
                0 => {},
                1 => span class="reply-count" { "1 reply" },
                count => span class="reply-count" { (grouped(count)) " replies" },
            }
        }
    }
}

/// `web/src/live/Reactions.tsx`.
const REACTIONS: [(&str, &str, &str); 5] = [
    ("LIKE", "👍", "Like"),
    ("LOVE", "❤️", "Love"),
    ("LAUGH", "😄", "Laugh"),
    ("SURPRISED", "😮", "Surprised"),
    ("SAD", "😢", "Sad"),
];

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
