//! What an import has done so far: counted by its threads, read by its progress.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why something of an export is not imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Skip {
    /// An import has written it before, also where it was deleted since.
    Imported,
    Duplicate,
    NoId,
    Unpublished,
    Password,
    OtherType,
    DeletedPost,
    NoComments,
    Spam,
    DeletedComment,
    Pending,
    Pingback,
    OtherCommentType,
    Blank,
    PostNotImported,
    PostGone,
}

/// All of them, with the words for the summary.
pub const SKIPS: [(Skip, &str); 16] = [
    (Skip::Imported, "imported before"),
    (Skip::Duplicate, "twice in the file"),
    (Skip::NoId, "without an id"),
    (Skip::Unpublished, "posts that are not published"),
    (Skip::Password, "posts with a password"),
    (Skip::OtherType, "posts of another type"),
    (Skip::DeletedPost, "deleted threads"),
    (Skip::NoComments, "threads without comments"),
    (Skip::Spam, "spam"),
    (Skip::DeletedComment, "deleted comments"),
    (Skip::Pending, "comments not approved"),
    (Skip::Pingback, "pingbacks"),
    (Skip::OtherCommentType, "comments of another type"),
    (Skip::Blank, "comments without words"),
    (Skip::PostNotImported, "comments of posts that are skipped"),
    (Skip::PostGone, "comments of posts that were deleted since"),
];

/// Counts of one run.
#[derive(Debug, Default)]
pub struct Tally {
    /// The size of the file.
    pub bytes_total: AtomicU64,
    pub bytes_read: AtomicU64,
    /// Whether the file is read for the second time.
    pub is_importing: AtomicBool,
    pub posts: AtomicU64,
    /// All that are visible, replies too.
    pub comments: AtomicU64,
    pub replies: AtomicU64,
    pub held: AtomicU64,
    /// Texts that were cut.
    pub cut: AtomicU64,
    /// Posts and comments whose date is missing or in the future.
    pub undated: AtomicU64,
    skipped: [AtomicU64; SKIPS.len()],
}

impl Tally {
    pub fn skip(&self, reason: Skip) {
        add(&self.skipped[reason as usize], 1);
    }

    pub fn skipped(&self, reason: Skip) -> u64 {
        get(&self.skipped[reason as usize])
    }

    fn all_skipped(&self) -> u64 {
        self.skipped.iter().map(get).sum()
    }

    /// One line, for the progress.
    pub fn line(&self) -> String {
        format!(
            "{} of {} bytes, {} posts, {} comments, {} held, {} skipped{}",
            get(&self.bytes_read),
            get(&self.bytes_total),
            get(&self.posts),
            get(&self.comments),
            get(&self.held),
            self.all_skipped(),
            match self.reasons().join(", ") {
                reasons if reasons.is_empty() => reasons,
                reasons => format!(" ({reasons})"),
            }
        )
    }

    fn reasons(&self) -> Vec<String> {
        let reasons = SKIPS.iter().filter_map(|(skip, words)| {
            let count = self.skipped(*skip);
            (count > 0).then(|| format!("{count} {words}"))
        });
        reasons.collect()
    }
}

/// The summary, of some lines.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (comments, replies) = (get(&self.comments), get(&self.replies));
        write!(f, "posts: {}", get(&self.posts))?;
        write!(f, "\ncomments: {comments}, of which {replies} replies")?;
        write!(f, "\nheld for a moderator: {}", get(&self.held))?;
        write!(f, "\nskipped: {}", self.all_skipped())?;
        for reason in self.reasons() {
            write!(f, "\n  {reason}")?;
        }
        for (count, words) in [
            (&self.cut, "texts that were too long, and were cut"),
            (&self.undated, "without a date, or with one in the future"),
        ] {
            let count = get(count);
            if count > 0 {
                f.write_char('\n')?;
                write!(f, "{words}: {count}")?;
            }
        }
        Ok(())
    }
}

pub fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_words() {
        for (index, (skip, _)) in SKIPS.iter().enumerate() {
            assert_eq!(*skip as usize, index);
        }
    }

    #[test]
    fn a_summary_names_what_was_skipped() {
        let tally = Tally::default();
        add(&tally.comments, 2);
        tally.skip(Skip::Spam);
        let summary = tally.to_string();
        assert!(summary.contains("comments: 2"), "{summary}");
        assert!(summary.ends_with("skipped: 1\n  1 spam"), "{summary}");
        assert!(tally.line().ends_with("1 skipped (1 spam)"));
    }
}
