//! What operators see of the pages in memory.

use service::Metrics;
use service::prometheus_client::metrics::counter::Counter;
use service::prometheus_client::metrics::family::Family;
use service::prometheus_client::metrics::gauge::Gauge;

/// The metrics of the newest comments.
#[derive(Clone, Debug, Default)]
pub struct PageMetrics {
    reads: Family<[(&'static str, &'static str); 1], Counter>,
    pub pages: Gauge,
    pub bytes: Gauge,
    pub evicted: Counter,
    pub doubtful: Counter,
}

/// Where a reader got a page from.
#[derive(Clone, Copy, Debug)]
pub enum ReadFrom {
    Memory,
    /// From the database, to be kept.
    Load,
    /// From the database, because memory could not be used.
    Database,
}

impl ReadFrom {
    const ALL: [Self; 3] = [Self::Memory, Self::Load, Self::Database];

    fn label(self) -> [(&'static str, &'static str); 1] {
        let from = match self {
            Self::Memory => "memory",
            Self::Load => "load",
            Self::Database => "database",
        };
        [("from", from)]
    }
}

impl PageMetrics {
    /// Registers them.
    pub fn register(metrics: &Metrics) -> Self {
        let made = Self::default();
        // All are there from the start: a rate over a counter needs its zero.
        for from in ReadFrom::ALL {
            drop(made.reads.get_or_create(&from.label()));
        }
        metrics.register(
            "comments_newest_reads",
            "Pages of posts' newest comments that were read: from memory, by a load into memory, or from the database alone",
            made.reads.clone(),
        );
        metrics.register(
            "comments_newest_pages",
            "Posts whose newest comments are in memory",
            made.pages.clone(),
        );
        metrics.register(
            "comments_newest_bytes",
            "Bytes of memory that the newest comments of posts hold",
            made.bytes.clone(),
        );
        metrics.register(
            "comments_newest_evicted",
            "Posts whose newest comments gave way to others, or became too large",
            made.evicted.clone(),
        );
        metrics.register(
            "comments_newest_doubtful",
            "Times that a post's newest comments were dropped because a change did not fit them, or was not known in full",
            made.doubtful.clone(),
        );
        made
    }

    pub fn read(&self, from: ReadFrom) {
        self.reads.get_or_create(&from.label()).inc();
    }
}
