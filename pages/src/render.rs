//! From an address to a rendered page.

use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::address::Page;
use crate::config::Config;
use crate::failure::Failure;
use crate::feed;
use crate::graph::{Answer, Comments, Discussion, Graph, Share, Start, Unanswered};
use crate::head;
use crate::origin::Origin;
use crate::rendered::Rendered;
use crate::sitemap;
use crate::template::TemplateFile;
use crate::view::{self, START_BYTES_MAX};

const KIB: u32 = 1024;
/// What a page shows at once: no list of posts that people write to be read has more. The same numbers are in
/// `web/src/live/graph/pageSizes.ts`.
const ALL: Share = Share {
    list: 12 * KIB,
    text: None,
    comments: 16 * KIB,
};
/// What a page shows instead as long as it weighs too much. The last one never does, whatever the texts are: a character
/// of a text has up to 3.5 compressed bytes in a page, a byte of one up to 1.5, and one comment is there in any case.
const LESS: [Share; 3] = [
    Share {
        list: 4 * KIB,
        text: None,
        comments: 4 * KIB,
    },
    Share {
        list: 4 * KIB,
        text: Some(24 * KIB),
        comments: 4 * KIB,
    },
    Share {
        list: 4 * KIB,
        text: Some(6 * KIB),
        comments: 4 * KIB,
    },
];
/// A page that weighs no more lets a first visit stay below 170 kB, with all that the live page loads: most of that is the
/// same for all pages, and beside the list there is the newest post.
const POST_BYTES_MAX: usize = 47_000;
const LIST_BYTES_MAX: usize = 17_000;

/// Renders pages from the graph.
pub struct Renderer {
    graph: Graph,
    template: TemplateFile,
    bytes_max: usize,
}

/// The answers that the live page starts from (`web/src/live/graph/started.ts`).
#[derive(Serialize)]
struct Handed<'a> {
    /// The cursor in the address: where the list of posts begins, or that of the post's comments.
    after: Option<&'a str>,
    start: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    comments: Option<&'a RawValue>,
}

impl Renderer {
    /// # Errors
    /// If the graph's address is malformed.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        use anyhow::Context;
        Ok(Self {
            graph: Graph::new(&config.graphql_url).context("GRAPHQL_URL")?,
            template: TemplateFile::in_folder(&config.web_dir),
            bytes_max: config.pages_bytes_max,
        })
    }

    /// Whether `index.html` can be used.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_template(&self) -> Result<(), String> {
        let read = self.template.read().await;
        read.map(drop).map_err(|failure| failure.to_string())
    }

    /// # Errors
    /// If the graph does not answer, `index.html` cannot be used, or the page is too large.
    pub async fn render(&self, page: &Page, origin: &Origin) -> Result<Rendered, Failure> {
        let rendered = match page {
            Page::List { after } => self.posts(origin, after.as_deref()).await,
            Page::Post {
                id,
                after,
                is_whole,
            } => self.post(origin, id, after.as_deref(), *is_whole).await,
            Page::Plain => {
                let plain = self.template.read().await?;
                Ok(Rendered::html(StatusCode::OK, plain.plain()).await?)
            }
            Page::Nowhere => Ok(self.nowhere(origin).await?),
            Page::PostsFeed => self.posts_feed(origin).await,
            Page::CommentsFeed { id } => self.comments_feed(origin, id).await,
            Page::Robots => Ok(Rendered::text(sitemap::robots(origin)).await?),
            Page::Sitemap => self.sitemap(origin).await,
        };
        match rendered {
            // A cursor that is none, as of an address that was cut.
            Err(Unanswered::BadInput) => self.nowhere(origin).await,
            Err(Unanswered::Failed(failure)) => Err(failure),
            // The gateway would not pass it on.
            Ok(rendered) if rendered.body().len() > self.bytes_max => {
                Err(Failure::TooLarge(self.bytes_max))
            }
            Ok(rendered) => Ok(rendered),
        }
    }

    async fn posts(&self, origin: &Origin, after: Option<&str>) -> Result<Rendered, Unanswered> {
        let mut rendered = self.posts_with(ALL, origin, after).await?;
        if rendered.compressed_bytes() > LIST_BYTES_MAX {
            rendered = self.posts_with(LESS[0], origin, after).await?;
        }
        Ok(rendered)
    }

    async fn posts_with(
        &self,
        share: Share,
        origin: &Origin,
        after: Option<&str>,
    ) -> Result<Rendered, Unanswered> {
        let template = self.template.read().await?;
        let start = self.graph.start(None, after, share).await?;
        let handed = handed(after, &start.json, None);
        let body = view::list(&start.data.posts, after.is_some(), handed.as_deref());
        let html = template.with(head::list(origin, after.is_some()), body);
        Ok(Rendered::html(StatusCode::OK, html).await?)
    }

    /// A post with as much as weighs little enough; with all of its text, if somebody reads on.
    async fn post(
        &self,
        origin: &Origin,
        id: &str,
        after: Option<&str>,
        is_whole: bool,
    ) -> Result<Rendered, Unanswered> {
        let mut rendered = self.post_with(ALL, origin, id, after).await?;
        for less in LESS {
            if is_whole || rendered.compressed_bytes() <= POST_BYTES_MAX {
                break;
            }
            rendered = self.post_with(less, origin, id, after).await?;
        }
        Ok(rendered)
    }

    async fn post_with(
        &self,
        share: Share,
        origin: &Origin,
        id: &str,
        after: Option<&str>,
    ) -> Result<Rendered, Unanswered> {
        let template = self.template.read().await?;
        let (start, comments) = tokio::join!(
            self.graph.start(Some(id), None, share),
            self.graph.start_comments(id, after, share)
        );
        let start = start?;
        let Some(post) = &start.data.chosen else {
            return Ok(self.nowhere(origin).await?);
        };
        // A post is worth reading without its comments, too; but not where the cursor is wrong.
        let comments = match comments {
            Err(Unanswered::BadInput) => return Err(Unanswered::BadInput),
            comments => comments.ok(),
        };
        let handed = comments
            .as_ref()
            .and_then(|comments| handed(after, &start.json, Some(&comments.json)));
        let head = head::post(origin, post, after.is_some());
        let is_older = after.is_some();
        // Long texts take their time to draw: not where all other requests wait for it.
        let drawing = tokio::task::spawn_blocking(move || {
            let Start { posts, chosen } = start.data;
            let discussion = comments.as_ref().and_then(discussion);
            chosen.map(|post| view::post(&posts, &post, discussion, is_older, handed.as_deref()))
        });
        let body = drawing.await.ok().flatten().ok_or(Failure::Defect)?;
        let html = template.with(head, body);
        Ok(Rendered::html(StatusCode::OK, html).await?)
    }

    async fn nowhere(&self, origin: &Origin) -> Result<Rendered, Failure> {
        let template = self.template.read().await?;
        let html = template.with(head::not_found(origin), view::not_found());
        Rendered::html(StatusCode::NOT_FOUND, html).await
    }

    async fn posts_feed(&self, origin: &Origin) -> Result<Rendered, Unanswered> {
        let posts = self.graph.posts_feed().await?.posts;
        Ok(Rendered::atom(feed::posts(origin, &posts)?).await?)
    }

    async fn comments_feed(&self, origin: &Origin, id: &str) -> Result<Rendered, Unanswered> {
        let Some(post) = self.graph.comments_feed(id).await?.post else {
            return Ok(self.nowhere(origin).await?);
        };
        Ok(Rendered::atom(feed::comments(origin, &post)?).await?)
    }

    async fn sitemap(&self, origin: &Origin) -> Result<Rendered, Unanswered> {
        let mut posts = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let part = self.graph.versions(after.as_deref()).await?.posts;
            let next = part.next().map(str::to_owned);
            posts.extend(part.edges.into_iter().map(|edge| edge.node));
            // A cursor that leads nowhere would lead there for ever.
            if next.is_none() || next == after || posts.len() >= sitemap::POSTS_MAX {
                break;
            }
            after = next;
        }
        Ok(Rendered::sitemap(sitemap::sitemap(origin, &posts)?).await?)
    }
}

fn discussion(comments: &Answer<Comments>) -> Option<&Discussion> {
    comments.data.chosen.as_ref()
}

/// As JSON, if it is not too large.
fn handed(after: Option<&str>, start: &RawValue, comments: Option<&RawValue>) -> Option<String> {
    let bytes = start.get().len() + comments.map_or(0, |it| it.get().len());
    if bytes > START_BYTES_MAX {
        return None;
    }
    serde_json::to_string(&Handed {
        after,
        start,
        comments,
    })
    .ok()
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
