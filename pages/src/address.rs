//! Which page an address asks for. The live page's `web/src/live/route.ts` reads the same addresses.

use http::Uri;
use percent_encoding::percent_decode_str;

/// A longer cursor is not one of the graph's.
const CURSOR_BYTES_MAX: usize = 512;
const ID_DIGITS: usize = 24;

/// What can be rendered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Page {
    /// The newest posts, or those after a cursor.
    List {
        after: Option<String>,
    },
    /// A post with its newest comments, or those after a cursor.
    Post {
        id: String,
        after: Option<String>,
        /// All of its text, whatever it weighs: somebody reads on.
        is_whole: bool,
    },
    /// `index.html` as it is: views that only a reader with JavaScript can use.
    Plain,
    /// Nothing has this address.
    Nowhere,
    /// The newest posts as a feed.
    PostsFeed,
    /// The newest comments on a post as a feed.
    CommentsFeed {
        id: String,
    },
    Robots,
    Sitemap,
}

impl Page {
    /// Whether it is rendered from answers of the graph.
    pub fn is_of_graph(&self) -> bool {
        !matches!(self, Self::Plain | Self::Nowhere | Self::Robots)
    }
}

/// The answer to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Page(Page),
    /// It has another address now: a path of this host.
    Moved(String),
}

/// Reads an address.
pub fn asked(uri: &Uri) -> Asked {
    let query = uri.query().unwrap_or_default();
    let page = match uri.path() {
        "/" => return list(query),
        "/new" | "/moderation" => Page::Plain,
        "/feed.atom" => Page::PostsFeed,
        "/robots.txt" => Page::Robots,
        "/sitemap.xml" => Page::Sitemap,
        path => match path.strip_prefix("/posts/").map(below_posts) {
            Some(Some((id, true))) => Page::CommentsFeed { id },
            Some(Some((id, false))) => part(query, |after| Page::Post {
                id,
                after,
                is_whole: parameter(query, "whole").is_some(),
            }),
            _ => Page::Nowhere,
        },
    };
    Asked::Page(page)
}

/// The addresses of before, `/?post=ID` and `/?new`, still lead where they did.
fn list(query: &str) -> Asked {
    if let Some(post) = parameter(query, "post") {
        return match id(&post) {
            Some(id) => Asked::Moved(format!("/posts/{id}")),
            None => Asked::Page(Page::Nowhere),
        };
    }
    Asked::Page(match parameter(query, "new") {
        Some(_) => Page::Plain,
        None => part(query, |after| Page::List { after }),
    })
}

/// The page that begins with the cursor `after`, if there is one.
fn part(query: &str, page: impl FnOnce(Option<String>) -> Page) -> Page {
    match parameter(query, "after") {
        Some(cursor) if cursor.is_empty() || cursor.len() > CURSOR_BYTES_MAX => Page::Nowhere,
        after => page(after),
    }
}

/// `ID`, `ID/` or `ID/feed.atom`: the id, and whether it is the feed.
fn below_posts(rest: &str) -> Option<(String, bool)> {
    let (post, more) = rest.split_once('/').unwrap_or((rest, ""));
    let is_feed = match more {
        "" => false,
        "feed.atom" => true,
        _ => return None,
    };
    Some((id(post)?, is_feed))
}

/// An id as the graph writes it.
fn id(text: &str) -> Option<String> {
    let is_id = text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_ascii_lowercase())
}

/// The first parameter of this name, both decoded as a browser does; what is not UTF-8 is empty.
fn parameter(query: &str, name: &str) -> Option<String> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().unwrap_or_default();
        text.into_owned()
    };
    let mut pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name, value),
        None => (pair, ""),
    });
    let (_, value) = pairs.find(|(found, _)| decoded(found) == name)?;
    Some(decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef01234567";

    fn read(uri: &str) -> Asked {
        asked(&uri.parse().expect(uri))
    }

    fn post(after: Option<&str>) -> Page {
        let after = after.map(str::to_owned);
        Page::Post {
            id: ID.to_owned(),
            after,
            is_whole: false,
        }
    }

    #[test]
    fn each_view_has_its_address() {
        for (uri, page) in [
            ("/", Page::List { after: None }),
            ("/?utm_source=x", Page::List { after: None }),
            (
                "/?after=a%2Bb",
                Page::List {
                    after: Some("a+b".to_owned()),
                },
            ),
            (
                "/?%61fter=a+b&after=c",
                Page::List {
                    after: Some("a b".to_owned()),
                },
            ),
            ("/posts/0123456789abcdef01234567", post(None)),
            ("/posts/0123456789ABCDEF01234567", post(None)),
            ("/posts/0123456789abcdef01234567/", post(None)),
            ("/posts/0123456789abcdef01234567?after=c", post(Some("c"))),
            (
                "/posts/0123456789abcdef01234567?whole",
                Page::Post {
                    id: ID.to_owned(),
                    after: None,
                    is_whole: true,
                },
            ),
            (
                "/posts/0123456789abcdef01234567/feed.atom",
                Page::CommentsFeed { id: ID.to_owned() },
            ),
            ("/new", Page::Plain),
            ("/moderation", Page::Plain),
            ("/?new", Page::Plain),
            ("/feed.atom", Page::PostsFeed),
            ("/feed.atom?after=", Page::PostsFeed),
            ("/robots.txt", Page::Robots),
            ("/sitemap.xml", Page::Sitemap),
        ] {
            assert_eq!(read(uri), Asked::Page(page), "{uri}");
        }
        let former = format!("/?post={}", ID.to_uppercase());
        assert_eq!(read(&former), Asked::Moved(format!("/posts/{ID}")));
    }

    #[test]
    fn other_addresses_are_nowhere() {
        let long = format!("/?after={}", "a".repeat(CURSOR_BYTES_MAX + 1));
        for uri in [
            "/posts",
            "/posts/",
            "/posts/abc",
            "/posts/0123456789abcdef0123456g",
            "/posts/0123456789abcdef01234567/edit",
            "/posts/0123456789abcdef01234567/feed.atom/x",
            "/posts/%30123456789abcdef01234567",
            "/about",
            "/?post=abc",
            "/?after=",
            "/?after=%ff",
            &long,
        ] {
            assert_eq!(read(uri), Asked::Page(Page::Nowhere), "{uri}");
        }
    }
}
