//! Settings of the service that renders the web pages' views.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::duration_from;

/// The page service, which renders what the pages in `WEB_DIR` would only show with JavaScript.
#[derive(Clone, Debug, clap::Args)]
pub struct PagesConfig {
    /// Forward requests for views of the pages in `WEB_DIR` to this service, `http://host:port`: requests that would be
    /// answered with `index.html`, also those of clients that accept HTML among other types. It gets no cookies and no
    /// credentials. When it fails, a view is answered with `index.html` and status 503. By default all views are
    /// `index.html`.
    #[arg(long, env = "PAGES_URL", value_name = "URL")]
    pub pages_url: Option<String>,
    /// Forward requests for these paths, too, such as feeds; `*` stands for one part: `/feed.atom,/posts/*/feed.atom`.
    /// When the service fails, they are answered with status 503.
    #[arg(
        long,
        env = "PAGES_PATHS",
        value_delimiter = ',',
        value_name = "PATH",
        requires = "pages_url"
    )]
    pub pages_paths: Vec<String>,
    /// Do not wait longer than this for the page service. After three such failures without an answer between them, it
    /// is not asked for views for 5 s.
    #[arg(long, env = "PAGES_TIMEOUT", default_value = "2s", value_parser = duration_from(Duration::from_millis(1)))]
    pub pages_timeout: Duration,
    /// Limit the bytes of an answer of the page service. A larger one counts as a failure. What clients have not taken
    /// yet has at most the bytes of half of `PAGES_IN_FLIGHT_MAX` such answers, of one client a sixteenth of that.
    #[arg(long, env = "PAGES_BYTES_MAX", default_value_t = 2 * 1024 * 1024)]
    pub pages_bytes_max: usize,
    /// Limit the answers of the page service that are waited for, also for clients that have left. One client has at
    /// most a sixteenth of them. Further requests count as failures of the service.
    #[arg(long, env = "PAGES_IN_FLIGHT_MAX", default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    pub pages_in_flight_max: usize,
}
