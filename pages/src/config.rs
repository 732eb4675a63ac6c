//! The settings of the page service, from flags or the environment.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::{duration, duration_from};

/// Renders the live page of Rejoinder as HTML, feeds and a sitemap, from its graph.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "pages", version)]
pub struct Config {
    /// Settings that all services have: address, port, logs, shutdown.
    #[command(flatten)]
    pub service: service::Settings,
    /// Ask this GraphQL endpoint for posts and comments. It has to be `http`: the gateway is a neighbour.
    #[arg(
        long,
        env = "GRAPHQL_URL",
        default_value = "http://127.0.0.1:4000/graphql"
    )]
    pub graphql_url: String,
    /// Put what is rendered into the `index.html` of this folder, the built web pages.
    #[arg(long, env = "WEB_DIR")]
    pub web_dir: PathBuf,
    /// Begin absolute links (canonical links, link previews, feeds, the sitemap) with this origin:
    /// `https://example.org`. By default it is `http` and the host that the request names, which is right on one's own
    /// machine only; then no page has a canonical link, and `robots.txt` does not name the sitemap.
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Give up a page that is not rendered after this time, with the questions to the graph. It should be below the
    /// gateway's `PAGES_TIMEOUT`, so that the reason comes in time.
    #[arg(long, env = "RENDER_TIMEOUT", default_value = "1500ms", value_parser = duration_from(Duration::from_millis(1)))]
    pub render_timeout: Duration,
    /// Limit the pages that are rendered from the graph at the same time, and so the requests to it. Further ones are
    /// answered with status 503 at once.
    #[arg(long, env = "RENDERS_MAX", default_value_t = 16, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub renders_max: usize,
    /// Answer with a rendered page for this long before it is rendered again; `0s` renders for each request. A reader
    /// with JavaScript sees newer comments at once in any case.
    #[arg(long, env = "RENDERED_TIME", default_value = "2s", value_parser = duration)]
    pub rendered_time: Duration,
    /// Limit the bytes of rendered pages that are kept, compressed and not. The oldest leave first.
    #[arg(long, env = "RENDERED_BYTES_MAX", default_value_t = 32 * 1024 * 1024)]
    pub rendered_bytes_max: usize,
    /// Limit the bytes of a page. The largest that the graph's own limits allow has about 1.5 MiB. It has to
    /// be the same in the gateway, which passes on nothing larger.
    #[arg(long, env = "PAGES_BYTES_MAX", default_value_t = 2 * 1024 * 1024)]
    pub pages_bytes_max: usize,
}
