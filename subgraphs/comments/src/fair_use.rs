//! How much one writer may write: comments in a minute, equal texts, and links of new authors. All of it is off by
//! default, and then nothing is looked up.
//!
//! A person is counted for everything that they write; guests, whom nothing tells apart here, for one post together. Moderators
//! are not limited. `docs/decisions/fair-use-of-comments.md` says why it is as it is.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::{duration, duration_up_to};
use subgraph::Viewer;

use crate::store::{Idempotency, Noted, Writing, WritingLimits};
use crate::{Comment, Error, Store};

/// The most comments a minute that can be told from no limit.
pub const PER_MINUTE_MOST: u64 = 600;
/// The longest time in which equal texts are known.
const REPEAT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// How much one writer may write. Off by default.
#[derive(Clone, Debug, clap::Args)]
pub struct FairUseSettings {
    /// Refuse a person's comments with `TOO_MANY_COMMENTS` beyond so many in a minute, of all posts together, at most 600.
    /// Deleted comments count, too; moderators are not limited. `0` is no limit.
    #[arg(long, env = "COMMENT_LIMIT_PER_MINUTE", default_value_t = 0, value_parser = per_minute())]
    pub comment_limit_per_minute: u32,
    /// Refuse guests' comments on a post with `TOO_MANY_COMMENTS` beyond so many in a minute, at most 600. All guests of
    /// the post share it. `0` is no limit.
    #[arg(long, env = "COMMENT_LIMIT_GUESTS_PER_MINUTE", default_value_t = 0, value_parser = per_minute())]
    pub comment_limit_guests_per_minute: u32,
    /// Refuse a text with `TOO_MANY_COMMENTS` if the same person, or guests on the same post, wrote it within this time, at
    /// most 24 h. Letters' case and white space make no difference. `0s` allows repetitions.
    #[arg(long, env = "COMMENT_REPEAT_WITHIN", default_value = "0s", value_parser = duration_up_to(REPEAT_MOST))]
    pub comment_repeat_within: Duration,
    /// Call an author new until this long after the oldest of their comments that still stands; guests are always new. `0s`
    /// calls nobody new.
    #[arg(long, env = "COMMENT_NEW_AUTHOR_TIME", default_value = "0s", value_parser = duration)]
    pub comment_new_author_time: Duration,
    /// Refuse a text of a new author with more links than this, in new comments and in edits, with `BAD_USER_INPUT`.
    #[arg(long, env = "COMMENT_NEW_AUTHOR_LINKS_MAX", default_value_t = 0)]
    pub comment_new_author_links_max: usize,
}

fn per_minute() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(..=PER_MINUTE_MOST)
}

impl FairUseSettings {
    /// Whether comments are looked for by their author.
    pub fn looks_for_authors(&self) -> bool {
        !self.comment_new_author_time.is_zero()
    }

    /// Whether anything is kept of what writers wrote of late.
    pub fn counts_writers(&self) -> bool {
        [true, false]
            .into_iter()
            .any(|is_person| self.limits(is_person).is_some())
    }

    /// The limits of a person, or of a post's guests; none if there are none.
    fn limits(&self, is_person: bool) -> Option<WritingLimits> {
        let per_minute = match is_person {
            true => self.comment_limit_per_minute,
            false => self.comment_limit_guests_per_minute,
        };
        let repeat_within = self.comment_repeat_within;
        let is_none = per_minute == 0 && repeat_within.is_zero();
        (!is_none).then_some(WritingLimits {
            per_minute,
            repeat_within,
        })
    }
}

/// The limits, and the store that counts.
pub struct FairUse {
    settings: FairUseSettings,
    store: Store,
}

impl FairUse {
    /// Counts in this store.
    pub fn new(settings: FairUseSettings, store: Store) -> Self {
        Self { settings, store }
    }

    /// Takes note of a comment that is about to be written. One that is there already, by its idempotency key, is never
    /// refused.
    ///
    /// # Errors
    /// [`Error::TooManyComments`], [`Error::RepeatedComment`], [`Error::TooManyLinks`].
    pub async fn allow_comment(
        &self,
        viewer: &Viewer,
        comment: &Comment,
        idempotency: Option<&Idempotency>,
    ) -> Result<(), Error> {
        let refused = match self.allow_text(viewer, &comment.text).await {
            Ok(()) => self.note(viewer, comment, idempotency).await,
            refused => refused,
        };
        match (refused, idempotency) {
            (Err(error), Some(idempotency)) if error.is_about_fair_use() => {
                match self.store.is_written(idempotency).await? {
                    true => Ok(()),
                    false => Err(error),
                }
            }
            (refused, _) => refused,
        }
    }

    /// Checks the text of a comment or of an edit.
    ///
    /// # Errors
    /// [`Error::TooManyLinks`].
    pub async fn allow_text(&self, viewer: &Viewer, text: &str) -> Result<(), Error> {
        let max = self.settings.comment_new_author_links_max;
        if !self.settings.looks_for_authors() || is_moderator(viewer) || links(text) <= max {
            return Ok(());
        }
        let time = self.settings.comment_new_author_time;
        let is_new = match viewer.person() {
            Some(person) => !self.store.has_written_before(&person.id, time).await?,
            None => true,
        };
        match is_new {
            true => Err(Error::TooManyLinks { max }),
            false => Ok(()),
        }
    }

    async fn note(
        &self,
        viewer: &Viewer,
        comment: &Comment,
        idempotency: Option<&Idempotency>,
    ) -> Result<(), Error> {
        let limits = self.settings.limits(viewer.person().is_some());
        let Some(limits) = limits.filter(|_| !is_moderator(viewer)) else {
            return Ok(());
        };
        let writing = Writing::new(viewer, comment, idempotency);
        match self.store.note_writing(writing, limits).await? {
            Noted::Allowed => Ok(()),
            Noted::TooMany(wait) => Err(Error::TooManyComments(seconds(wait))),
            Noted::Repeated(wait) => Err(Error::RepeatedComment(seconds(wait))),
        }
    }
}

fn is_moderator(viewer: &Viewer) -> bool {
    viewer.person().is_some_and(|person| person.is_moderator)
}

/// Whole seconds, rounded up: who comes after them is served.
fn seconds(wait: Duration) -> u64 {
    let seconds = wait.as_millis().div_ceil(1_000);
    u64::try_from(seconds).unwrap_or(u64::MAX).max(1)
}

/// The links in a text: addresses with a scheme, and those that begin with `www.`.
fn links(text: &str) -> usize {
    let text = text.to_lowercase();
    let with_scheme = text.matches("://").count();
    let without = text.match_indices("www.").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || matches!(letter, '/' | '.' | '-'))
    });
    with_scheme + without.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_counted_with_and_without_a_scheme() {
        for (text, count) in [
            ("no link: a.b, 1/2, //", 0),
            ("see https://a.example/b?c=d and HTTP://www.b.example", 2),
            ("(www.a.example) WWW.b.example,www.c.example", 3),
            ("https://a.example/www.b awww.nothing", 1),
        ] {
            assert_eq!(links(text), count, "{text}");
        }
    }

    #[test]
    fn times_are_rounded_up() {
        for (ms, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(seconds(Duration::from_millis(ms)), expected);
        }
    }
}
