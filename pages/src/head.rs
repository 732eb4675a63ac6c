//! What search engines and link previews read: title, description, canonical link, Open Graph and Twitter tags, feeds.

use chrono::SecondsFormat;
use maud::{Markup, html};

use crate::graph::{Moment, Post};
use crate::origin::Origin;
use crate::text;

/// The site's name, also in `index.html`.
pub(crate) const SITE: &str = "Rejoinder";
const DESCRIPTION: &str = "Posts, and comments that arrive as they are written.";
/// Search engines and previews show no more of a title or a description.
const TITLE_CHARS_MAX: usize = 120;
const DESCRIPTION_CHARS_MAX: usize = 200;
/// In the folder of the pages.
const IMAGE: &str = "/icon-512.png";
/// What stands where a text shows nothing in one line.
pub(crate) const UNTITLED: &str = "Untitled";

/// A title in one line.
pub(crate) fn title_of(title: &str) -> String {
    text::line(title, TITLE_CHARS_MAX, UNTITLED)
}

/// The list of posts. An older part of it changes with each new post: search engines follow its links alone.
pub(crate) fn list(origin: &Origin, is_older: bool) -> Markup {
    let title = match is_older {
        true => format!("Older posts · {SITE}"),
        false => SITE.to_owned(),
    };
    html! {
        (named(&title, DESCRIPTION))
        @if is_older {
            (not_indexed())
        } @else {
            (linked(origin, "/"))
            (preview(SITE, DESCRIPTION, "website", origin, "/"))
        }
        (feed(origin, "/feed.atom", "Posts"))
    }
}

/// A post, or an older part of its comments.
pub(crate) fn post(origin: &Origin, post: &Post, is_older: bool) -> Markup {
    let title = title_of(&post.title);
    let description = text::line(&post.excerpt, DESCRIPTION_CHARS_MAX, DESCRIPTION);
    let path = format!("/posts/{}", post.id);
    html! {
        (named(&format!("{title} · {SITE}"), &description))
        @if is_older {
            (not_indexed())
        } @else {
            (linked(origin, &path))
            (preview(&title, &description, "article", origin, &path))
            @for (property, date) in [
                ("article:published_time", post.created_at),
                ("article:modified_time", post.updated_at),
            ] {
                @if let Some(date) = written(date) {
                    meta property=(property) content=(date);
                }
            }
        }
        (feed(origin, "/feed.atom", "Posts"))
        (feed(origin, &format!("{path}/feed.atom"), &format!("Comments on {title}")))
    }
}

pub(crate) fn not_found(origin: &Origin) -> Markup {
    html! {
        (named(&format!("Not found · {SITE}"), DESCRIPTION))
        (not_indexed())
        (feed(origin, "/feed.atom", "Posts"))
    }
}

/// A date as RFC 3339 has it.
pub(crate) fn written(date: Moment) -> Option<String> {
    Some(date.0?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn named(title: &str, description: &str) -> Markup {
    html! {
        title { (title) }
        meta name="description" content=(description);
    }
}

fn not_indexed() -> Markup {
    html! { meta name="robots" content="noindex"; }
}

fn linked(origin: &Origin, path: &str) -> Markup {
    html! {
        @if let Some(address) = origin.canonical(path) {
            link rel="canonical" href=(address);
        }
    }
}

fn feed(origin: &Origin, path: &str, title: &str) -> Markup {
    html! { link rel="alternate" type="application/atom+xml" title=(title) href=(origin.with(path)); }
}

fn preview(title: &str, description: &str, kind: &str, origin: &Origin, path: &str) -> Markup {
    html! {
        @for (property, content) in [
            ("og:site_name", SITE),
            ("og:type", kind),
            ("og:title", title),
            ("og:description", description),
            ("og:image", &origin.with(IMAGE)),
        ] {
            meta property=(property) content=(content);
        }
        @if let Some(address) = origin.canonical(path) {
            meta property="og:url" content=(address);
        }
        @for (name, content) in [
            ("twitter:card", "summary"),
            ("twitter:title", title),
            ("twitter:description", description),
        ] {
            meta name=(name) content=(content);
        }
    }
}
