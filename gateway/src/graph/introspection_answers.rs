//! The answers of introspection, by the text that asks for them, all together in a bounded place:
//! documents that ask the same share one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::{Weighter, unsync::Cache};

/// Answers that are kept at most.
const ANSWERS_MAX: usize = 64;

/// The value of each field of introspection as JSON, in the order in which the text asks for them.
pub type IntrospectionAnswer = Arc<[Bytes]>;

/// The answers of a graph's introspection, by the text that asks for them. A full cache drops those that are
/// asked for least.
pub struct IntrospectionAnswers {
    answers: Mutex<Cache<Box<str>, IntrospectionAnswer, Weights>>,
}

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
    /// As many as have `bytes_max` bytes together, at most 64. A larger one is not kept.
    pub fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max as u64;
        let weights = Weights {
            bytes_min: bytes_max.div_ceil(ANSWERS_MAX as u64).max(1),
        };
        Self {
            answers: Mutex::new(Cache::with_weighter(ANSWERS_MAX, bytes_max, weights)),
        }
    }

    /// The answer to this text, if it is kept.
    pub fn get(&self, text: &str) -> Option<IntrospectionAnswer> {
        self.lock().get(text).cloned()
    }

    /// Keeps an answer.
    pub fn insert(&self, text: &str, answer: &IntrospectionAnswer) {
        self.lock().insert(text.into(), Arc::clone(answer));
    }

    fn lock(&self) -> MutexGuard<'_, Cache<Box<str>, IntrospectionAnswer, Weights>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(text: &str, answer: &IntrospectionAnswer) -> usize {
    text.len() + answer.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> IntrospectionAnswer {
        Arc::from([Bytes::from(vec![b'x'; bytes])])
    }

    #[test]
    fn answers_are_bounded_by_their_bytes() {
        let answers = IntrospectionAnswers::new(1_000);
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
        let answers = IntrospectionAnswers::new(100_000);
        for index in 0..200 {
            answers.insert(&index.to_string(), &answer(0));
        }
        assert!((32..=ANSWERS_MAX).contains(&answers.lock().len()));
    }

    #[test]
    fn the_answer_in_use_stays() {
        let answers = IntrospectionAnswers::new(100_000);
        answers.insert("used", &answer(1));
        for index in 0..200 {
            assert!(answers.get("used").is_some(), "after {index} more");
            answers.insert(&index.to_string(), &answer(0));
        }
    }
}
