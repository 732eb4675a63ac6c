//! The answers of introspection, by the text that asks for them, all together in a bounded place:
//! documents that ask the same share one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::{Weighter, unsync::Cache};

use crate::metrics::PrepareMetrics;

/// The value of each field of introspection as JSON, in the order in which the text asks for them.
pub type IntrospectionAnswer = Arc<[Bytes]>;

/// The answers of a graph's introspection, by the text that asks for them. A full cache drops those that are
/// asked for least.
pub struct IntrospectionAnswers {
    answers: Mutex<Answers>,
    /// Shows how many there are and what they count for.
    metrics: PrepareMetrics,
}

type Answers = Cache<Box<str>, IntrospectionAnswer, Weights>;

/// Answers share a number of bytes. Each counts for at least `bytes_min`, so that their number is bounded, too.
#[derive(Clone)]
struct Weights {
    bytes_min: u64,
}

impl Weighter<Box<str>, IntrospectionAnswer> for Weights {
    fn weight(&self, text: &Box<str>, answer: &IntrospectionAnswer) -> u64 {
        (bytes_of(text, answer) as u64).max(self.bytes_min)
    }
}

impl IntrospectionAnswers {
    /// As many as have `bytes_max` bytes together, at most `answers_max`. A larger one is not kept.
    pub fn new(answers_max: usize, bytes_max: usize, metrics: PrepareMetrics) -> Self {
        let bytes_max = bytes_max as u64;
        let weights = Weights {
            bytes_min: bytes_max.div_ceil(answers_max.max(1) as u64).max(1),
        };
        Self {
            answers: Mutex::new(Cache::with_weighter(answers_max, bytes_max, weights)),
            metrics,
        }
    }

    /// The answer to this text, if it is kept.
    pub fn get(&self, text: &str) -> Option<IntrospectionAnswer> {
        self.lock().get(text).cloned()
    }

    /// Keeps the answer to this text; others may be dropped for it, since the bytes of all are limited.
    pub fn insert(&self, text: &str, answer: &IntrospectionAnswer) {
        let mut answers = self.lock();
        let before = shown(&answers);
        answers.insert(text.into(), Arc::clone(answer));
        self.show(before, shown(&answers));
    }

    /// Several graphs may share the gauges.
    fn show(&self, before: (i64, i64), after: (i64, i64)) {
        self.metrics.introspections.inc_by(after.0 - before.0);
        self.metrics.introspections_bytes.inc_by(after.1 - before.1);
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for IntrospectionAnswers {
    fn drop(&mut self) {
        let before = shown(&self.lock());
        self.show(before, (0, 0));
    }
}

/// The number of answers, and the bytes that they count for.
fn shown(answers: &Answers) -> (i64, i64) {
    (answers.len() as i64, answers.weight() as i64)
}

fn bytes_of(text: &str, answer: &IntrospectionAnswer) -> usize {
    text.len() + answer.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(bytes_max: usize) -> IntrospectionAnswers {
        IntrospectionAnswers::new(64, bytes_max, PrepareMetrics::default())
    }

    fn answer(bytes: usize) -> IntrospectionAnswer {
        Arc::from([Bytes::from(vec![b'x'; bytes])])
    }

    #[test]
    fn answers_are_bounded_by_their_bytes() {
        let answers = answers(1_000);
        for index in 100..200 {
            answers.insert(&index.to_string(), &answer(97));
            assert!(answers.lock().weight() <= 1_000);
        }
        assert!(answers.lock().len() > 5);
        answers.insert("large", &answer(1_000));
        assert!(answers.get("large").is_none());
    }

    #[test]
    fn answers_are_bounded_by_their_number() {
        let answers = answers(100_000);
        for index in 0..200 {
            answers.insert(&index.to_string(), &answer(0));
        }
        let count = answers.lock().len();
        assert!((32..=64).contains(&count));
        let metrics = answers.metrics.clone();
        assert_eq!(metrics.introspections.get(), count as i64);
        assert!((50_000..=100_000).contains(&metrics.introspections_bytes.get()));
        drop(answers);
        let shown = (&metrics.introspections, &metrics.introspections_bytes);
        assert_eq!((shown.0.get(), shown.1.get()), (0, 0));
    }

    #[test]
    fn the_answer_in_use_stays() {
        let answers = answers(100_000);
        answers.insert("used", &answer(1));
        for index in 0..200 {
            assert!(answers.get("used").is_some(), "after {index} more");
            answers.insert(&index.to_string(), &answer(0));
        }
    }
}
