//! One subscriber's way through a topic.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::BoxStream;

use crate::{Change, Cursor, TopicError};

/// The changes of one topic, in order, each with the cursor to resume after it. Ends after an
/// error, except [`TopicError::Undecodable`].
pub struct Subscription<T> {
    changes: BoxStream<'static, Result<(Cursor, Arc<Change<T>>), TopicError>>,
    start: Cursor,
}

impl<T> Subscription<T> {
    /// The place where the subscription began: resume after it when nothing was received yet.
    pub fn start(&self) -> &Cursor {
        &self.start
    }
}

impl<T> Stream for Subscription<T> {
    type Item = Result<(Cursor, Arc<Change<T>>), TopicError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.as_mut().poll_next(context)
    }
}
