//! A time limit for HTTP/2 responses that their client does not read.
//!
//! One stream can stall while its connection moves. The limit on the connection's writes does not see that,
//! so without this limit a client that opens no window would keep its responses in memory for any time. A
//! stream of events has no known length: the transport that writes it has a limit of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame};
use tokio::task::AbortHandle;

use super::Activity;

/// Bytes that are handed out at a time: the next ones are asked for when the client's window had room for a part of
/// these. A frame of HTTP/2 has no more by default.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// An answer of known length, handed out in pieces. Its connection is closed when none is taken for too long.
pub(super) struct Pieces {
    rest: Bytes,
    was_asked: Arc<AtomicBool>,
    watch: AbortHandle,
}

impl Pieces {
    /// Of a body of known length; none of another, or where nothing is to be written.
    pub(super) fn of(body: &Body, limit: Duration, activity: &Arc<Activity>) -> Option<Self> {
        if body.is_end_stream() || body.size_hint().exact().is_none() {
            return None;
        }
        let was_asked = Arc::new(AtomicBool::new(true));
        let (asked, activity) = (Arc::clone(&was_asked), Arc::clone(activity));
        let watch = tokio::spawn(async move {
            while asked.swap(false, Ordering::Relaxed) {
                tokio::time::sleep(limit).await;
            }
            activity.stall();
        });
        Some(Self {
            rest: Bytes::new(),
            was_asked,
            watch: watch.abort_handle(),
        })
    }

    /// Bytes that have left the body, and are still here.
    pub(super) fn left(&self) -> u64 {
        self.rest.len() as u64
    }

    /// The next piece. The last byte is one of its own: it waits until the client's window had room for all
    /// others, so that a client which takes nothing of a small answer is found, too.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Body,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.was_asked.store(true, Ordering::Relaxed);
        if self.rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let all_but_one = self.rest.len().saturating_sub(1).max(1);
        let length = all_but_one.min(PIECE_BYTES_MAX).min(self.rest.len());
        let piece = self.rest.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn next(pieces: &mut Pieces, body: &mut Body) -> Option<usize> {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(frame) = pieces.poll_frame(body, &mut context) else {
            panic!("the body is there");
        };
        frame.map(|frame| frame.expect("no error").into_data().expect("data").len())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_in_pieces_is_left_alone() {
        let activity = Arc::<Activity>::default();
        let mut body = Body::from(vec![0; 2 * PIECE_BYTES_MAX + 1]);
        let mut pieces = Pieces::of(&body, LIMIT, &activity).expect("a known length");
        for expected in [Some(PIECE_BYTES_MAX), Some(PIECE_BYTES_MAX), Some(1)] {
            tokio::time::sleep(LIMIT / 2).await;
            assert_eq!(next(&mut pieces, &mut body), expected);
        }
        assert_eq!(next(&mut pieces, &mut body), None);
        drop(pieces);
        tokio::time::sleep(10 * LIMIT).await;
        assert!(!activity.is_stalled());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_which_nothing_is_taken_closes_its_connection() {
        for (length, taken) in [(1, 0), (78, 0), (78, 1), (PIECE_BYTES_MAX + 1, 1)] {
            let activity = Arc::<Activity>::default();
            let mut body = Body::from(vec![0; length]);
            let mut pieces = Pieces::of(&body, LIMIT, &activity).expect("a known length");
            for _ in 0..taken {
                next(&mut pieces, &mut body).expect("a piece");
            }
            assert!(pieces.left() > 0 || !body.is_end_stream());
            assert!(!activity.is_stalled());
            tokio::time::sleep(3 * LIMIT).await;
            assert!(activity.is_stalled(), "{length} {taken}");
        }
    }
}
