//! How much one writer may write: comments in a minute, equal texts, and links of new authors. All of it is off by
//! default, and then nothing is looked up.
//!
//! A person is counted for everything that they write; guests, whom nothing tells apart here, for one post together.
//! Moderators are not limited. `docs/decisions/fair-use-of-comments.md` says why it is as it is.

use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use service::{duration, duration_up_to};
use subgraph::{Viewer, Written};

use crate::store::{Idempotency, Writing, WritingLimits};
use crate::{Comment, CommentId, Error, Store};

/// The most comments a minute that can be told from no limit.
pub const PER_MINUTE_MOST: u64 = 600;
/// The longest time in which equal texts are known.
const REPEAT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// How much one writer may write. Off by default.
#[derive(Clone, Debug, clap::Args)]
pub struct FairUseSettings {
    /// Refuse a person's comments with `TOO_MANY_COMMENTS` beyond so many in a minute, of all posts together, at most
    /// 600. Deleted comments count, too; moderators are not limited. `0` is no limit.
    #[arg(long, env = "COMMENT_LIMIT_PER_MINUTE", default_value_t = 0, value_parser = per_minute())]
    pub comment_limit_per_minute: u32,
    /// Refuse guests' comments on a post with `TOO_MANY_COMMENTS` beyond so many in a minute, at most 600. All guests
    /// of the post share it. `0` is no limit.
    #[arg(long, env = "COMMENT_LIMIT_GUESTS_PER_MINUTE", default_value_t = 0, value_parser = per_minute())]
    pub comment_limit_guests_per_minute: u32,
    /// Refuse a text with `TOO_MANY_COMMENTS` if the same person, or guests on the same post, wrote it within this
    /// time, at most 24 h. Letters' case and white space make no difference. `0s` allows repetitions.
    #[arg(long, env = "COMMENT_REPEAT_WITHIN", default_value = "0s", value_parser = duration_up_to(REPEAT_MOST))]
    pub comment_repeat_within: Duration,
    /// Call an author new until this long after the oldest of their comments that still stands; guests are always new.
    /// `0s` calls nobody new.
    #[arg(long, env = "COMMENT_NEW_AUTHOR_TIME", default_value = "0s", value_parser = duration)]
    pub comment_new_author_time: Duration,
    /// Refuse a text of a new author with more links than this, in new comments and in edits, with `BAD_USER_INPUT`. A
    /// guest's name counts as text.
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

    /// Adds a comment if its writer may write it, and counts it. If not, and the comment of its idempotency key is
    /// there already, returns that one. So no retry is refused whose first request was written.
    ///
    /// # Errors
    /// [`Error::TooManyComments`], [`Error::RepeatedComment`], [`Error::TooManyLinks`], and those of
    /// [`Store::insert_comment`].
    pub async fn insert(
        &self,
        viewer: &Viewer,
        comment: Comment,
        idempotency: Option<Idempotency>,
    ) -> Result<Written<Comment>, Error> {
        let key = idempotency.clone();
        let guests_name = viewer.person().is_none().then_some(comment.author.as_str());
        let texts = [comment.text.as_str(), guests_name.unwrap_or_default()];
        let written = match self.require_few_links(viewer, texts).await {
            Ok(()) => {
                let writing = self.writing(viewer, &comment, idempotency.as_ref());
                let insert = self.store.insert_comment(comment, idempotency, writing);
                insert.await
            }
            Err(refusal) => Err(refusal),
        };
        match (written, key) {
            // From here on nothing is written: whatever is deleted meanwhile, a refused text never gets in.
            (Err(refusal), Some(key)) if refusal.is_about_fair_use() => {
                self.store.comment_of_key(key).await?.ok_or(refusal)
            }
            (written, _) => written,
        }
    }

    /// Checks the new text of a comment. Who may not edit the comment at all learns that instead.
    ///
    /// # Errors
    /// [`Error::TooManyLinks`], and for those who may not edit it, what an edit would fail with.
    pub async fn allow_edit(
        &self,
        viewer: &Viewer,
        id: CommentId,
        text: &str,
    ) -> Result<(), Error> {
        let allowed = self.require_few_links(viewer, [text]).await;
        if let Err(Error::TooManyLinks { .. }) = &allowed {
            self.store.require_editable(id, viewer.clone()).await?;
        }
        allowed
    }

    async fn require_few_links<const N: usize>(
        &self,
        viewer: &Viewer,
        texts: [&str; N],
    ) -> Result<(), Error> {
        let max = self.settings.comment_new_author_links_max;
        if !self.settings.looks_for_authors()
            || viewer.is_moderator()
            || texts.map(links).iter().sum::<usize>() <= max
        {
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

    /// What counts for the limits of the comment's writer; none without limits.
    fn writing(
        &self,
        viewer: &Viewer,
        comment: &Comment,
        idempotency: Option<&Idempotency>,
    ) -> Option<Writing> {
        let limits = self.settings.limits(viewer.person().is_some());
        let limits = limits.filter(|_| !viewer.is_moderator())?;
        Some(Writing::new(viewer, comment, idempotency, limits))
    }
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
}
