//! The answers of introspection, by the text that asks for them, all together in a bounded place:
//! documents that ask the same share one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

/// Answers that are kept at the most: they are looked through one by one.
const ANSWERS_MAX: usize = 64;

/// The value of each field of introspection as JSON, in the order in which the text asks for them.
pub type Answer = Arc<[Bytes]>;

/// The answers of a graph's introspection, by the text that asks for them. The one that was asked for the
/// longest time ago makes room.
pub struct IntrospectionAnswers {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    /// The one asked for last is the last.
    answers: VecDeque<(Box<str>, Answer)>,
}

impl IntrospectionAnswers {
    /// As many as have `bytes_max` bytes together, at most 64.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// The answer to this text, if it is kept.
    pub fn get(&self, text: &str) -> Option<Answer> {
        let mut kept = self.lock();
        let place = kept.answers.iter().position(|(it, _)| **it == *text)?;
        let found = kept.answers.remove(place)?;
        let answer = Arc::clone(&found.1);
        kept.answers.push_back(found);
        Some(answer)
    }

    /// Keeps an answer, if it is not too large by itself.
    pub fn insert(&self, text: &str, answer: &Answer) {
        let bytes = bytes_of(text, answer);
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        if kept.answers.iter().any(|(it, _)| **it == *text) {
            return;
        }
        while kept.bytes + bytes > self.bytes_max || kept.answers.len() >= ANSWERS_MAX {
            let Some((text, answer)) = kept.answers.pop_front() else {
                break;
            };
            kept.bytes -= bytes_of(&text, &answer);
        }
        kept.bytes += bytes;
        kept.answers.push_back((text.into(), Arc::clone(answer)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn bytes_of(text: &str, answer: &Answer) -> usize {
    text.len() + answer.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Answer {
        Arc::from([Bytes::from(vec![b'x'; bytes])])
    }

    #[test]
    fn answers_make_room_for_each_other() {
        let answers = IntrospectionAnswers::new(250);
        answers.insert("a", &answer(99));
        answers.insert("b", &answer(99));
        assert!(answers.get("a").is_some());
        answers.insert("c", &answer(99));
        assert!(answers.get("a").is_some() && answers.get("c").is_some());
        assert!(answers.get("b").is_none());
        answers.insert("large", &answer(250));
        assert!(answers.get("large").is_none() && answers.get("a").is_some());
        let answers = IntrospectionAnswers::new(100_000);
        for index in 0..200 {
            answers.insert(&index.to_string(), &answer(0));
        }
        let kept = answers.lock();
        assert_eq!(kept.answers.len(), ANSWERS_MAX);
        let bytes: usize = kept
            .answers
            .iter()
            .map(|(text, it)| bytes_of(text, it))
            .sum();
        assert_eq!(kept.bytes, bytes);
    }
}
