//! Which requests one connection runs, counted by a service around its own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use socket_outlet::OutletPlace;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::taking::Pieces;
use crate::server::Responder;
use crate::shared_socket::SharedSocket;

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The number, among all requests of the process, of the last one that ended.
    last: AtomicU64,
    /// Whether a part of an answer waits to be written.
    is_unsent: AtomicBool,
    is_stalled: AtomicBool,
    is_closed: AtomicBool,
    task: Mutex<ConnectionTask>,
}

/// The task that a connection runs in.
#[derive(Debug, Default)]
enum ConnectionTask {
    #[default]
    NotYetKnown,
    Known(AbortHandle),
    /// It has served the connection's last request: another protocol's from there on. A handle would keep the memory of
    /// the task.
    Done,
}

/// Numbers the requests of the process: cheaper than the time, and as good for finding the oldest.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

impl Activity {
    /// Notes a request. It runs until the result is dropped.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Running {
            activity: Arc::clone(self),
            is_kept: false,
        }
    }

    /// Names the task that the connection runs in: to end it is to close the connection.
    pub fn runs_in(&self, task: AbortHandle) {
        let mut known = self.task();
        // Under the lock: either this sees that it is closed, or the one who closes it sees the task.
        if self.is_closed() {
            task.abort();
        }
        if matches!(*known, ConnectionTask::NotYetKnown) {
            *known = ConnectionTask::Known(task);
        }
    }

    /// Notes that the connection becomes another protocol's: it is not closed by [`close`](Self::close) any more.
    fn leave_to_another_protocol(&self) {
        *self.task() = ConnectionTask::Done;
    }

    fn task(&self) -> MutexGuard<'_, ConnectionTask> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection, unless it has become another protocol's.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        if let ConnectionTask::Known(task) = &*self.task() {
            task.abort();
        }
    }

    /// Whether [`close`](Self::close) was called.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Closes the connection, because its client takes nothing of a response.
    pub(super) fn stall(&self) {
        self.note_stalled();
        self.close();
    }

    /// Notes that the client takes too little of what is written to it. The connection ends.
    pub fn note_stalled(&self) {
        self.is_stalled.store(true, Ordering::Relaxed);
    }

    /// Whether its client took too little.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    /// Whether no request has come yet.
    pub fn is_silent(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0
    }

    /// Whether it waits for its next request, all answers written.
    pub fn is_idle(&self) -> bool {
        let ended = self.ended.load(Ordering::Acquire);
        self.begun.load(Ordering::Relaxed) == ended && !self.is_unsent.load(Ordering::Relaxed)
    }

    /// Notes whether the socket has room for what is to be written. An answer's body ends when its last
    /// bytes are on their way to the socket, long before a slow client has them.
    pub fn set_unsent(&self, is_unsent: bool) {
        self.is_unsent.store(is_unsent, Ordering::Relaxed);
    }

    /// When its last request ended: larger is later.
    pub fn last_request(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Running {
    activity: Arc<Activity>,
    is_kept: bool,
}

impl Running {
    /// Never ends it: the connection is another protocol's from now on.
    fn keep(mut self) {
        self.is_kept = true;
        self.activity.leave_to_another_protocol();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        self.activity.last.store(number, Ordering::Relaxed);
        self.activity.ended.fetch_add(1, Ordering::Release);
    }
}

/// A service that notes the requests of one connection.
pub(crate) struct Tracked {
    responder: Responder,
    activity: Arc<Activity>,
    take_limit: Duration,
    direct: Option<(Arc<SharedSocket>, OutletPlace)>,
    leaving: CancellationToken,
}

impl Tracked {
    /// A client that takes nothing of an answer over HTTP/2 for `take_limit`, up to twice as long, loses its
    /// connection. Over HTTP/1.1, requests to become another protocol's and those for server-sent events get the
    /// connection's [`Outlet`](socket_outlet::Outlet), for messages around its task, if it has one. Once `leaving` is
    /// cancelled, answers over HTTP/1 say that the connection closes after them: so nobody sends a request just as the
    /// service stops.
    pub fn new(
        responder: Responder,
        activity: Arc<Activity>,
        take_limit: Duration,
        direct: Option<(Arc<SharedSocket>, OutletPlace)>,
        leaving: CancellationToken,
    ) -> Self {
        Self {
            responder,
            activity,
            take_limit,
            direct,
            leaving,
        }
    }
}

impl Service<Request<Incoming>> for Tracked {
    type Response = http::Response<TrackedBody>;
    type Error = Infallible;
    type Future = TrackedAnswer;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some((socket, outlet)) = &self.direct
            && request.version() == Version::HTTP_11
            && may_use_outlet(request.headers())
        {
            let outlet = outlet.get_or_new(|| socket.try_write());
            request.extensions_mut().insert(outlet);
        }
        TrackedAnswer {
            take_limit: (request.version() == Version::HTTP_2).then_some(self.take_limit),
            running: Some(self.activity.begin()),
            answer: (self.responder)(request),
            leaving: self.leaving.clone(),
        }
    }
}

fn may_use_outlet(headers: &HeaderMap) -> bool {
    // Server-sent events, and the parameter of multipart subscriptions.
    const STREAMS: [&[u8]; 2] = [b"text/event-stream", b"subscriptionSpec"];
    let accepts_streams = |accept: &HeaderValue| {
        STREAMS.iter().any(|stream| {
            let mut parts = accept.as_bytes().windows(stream.len());
            parts.any(|part| part.eq_ignore_ascii_case(stream))
        })
    };
    headers.contains_key(header::UPGRADE)
        || headers.get_all(header::ACCEPT).iter().any(accepts_streams)
}

/// An answer to come.
pub(crate) struct TrackedAnswer {
    running: Option<Running>,
    take_limit: Option<Duration>,
    answer: BoxFuture<'static, Result<Response, Infallible>>,
    leaving: CancellationToken,
}

impl Future for TrackedAnswer {
    type Output = Result<http::Response<TrackedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(mut response) = ready!(self.answer.as_mut().poll(context));
        let mut running = self.running.take();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(running) = running.take()
        {
            running.keep();
        }
        let take_limit = self.take_limit;
        // HTTP/2 has no such header: its connections are told when the service stops, and lose nothing.
        if self.leaving.is_cancelled() && take_limit.is_none() {
            let connection = response.headers_mut().entry(header::CONNECTION);
            connection.or_insert(HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| {
            let pieces = running.as_ref().zip(take_limit);
            let pieces =
                pieces.and_then(|(running, limit)| Pieces::of(&body, limit, &running.activity));
            TrackedBody {
                body,
                pieces,
                is_alone: take_limit.is_none(),
                running,
            }
        })))
    }
}

/// An answer's body. The request runs until it is handed on to be written.
pub(crate) struct TrackedBody {
    body: Body,
    /// Only over HTTP/2, where one stream can stand still while its connection moves.
    pieces: Option<Pieces>,
    /// Whether its connection has no other answers, and writes all of this one before it goes on.
    is_alone: bool,
    running: Option<Running>,
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        // The request ends before the write of its last bytes has begun.
        if let Some(running) = self.running.as_ref().filter(|_| self.is_alone) {
            running.activity.set_unsent(true);
        }
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, pieces, .. } = &mut *self;
        match pieces {
            Some(pieces) => pieces.poll_frame(body, context),
            None => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.pieces {
            Some(pieces) => pieces.left() == 0 && self.body.is_end_stream(),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let of_body = self.body.size_hint();
        match (&self.pieces, of_body.exact()) {
            (Some(pieces), Some(length)) => SizeHint::with_exact(length + pieces.left()),
            _ => of_body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_another_protocol_is_never_idle_and_leaves_nothing() {
        let activity = Arc::<Activity>::default();
        activity.begin().keep();
        assert!(!activity.is_idle());
        assert_eq!(Arc::strong_count(&activity), 1);
    }

    #[test]
    fn a_connection_is_idle_once_its_answer_is_written() {
        for is_alone in [true, false] {
            let activity = Arc::<Activity>::default();
            let body = TrackedBody {
                body: Body::empty(),
                pieces: None,
                is_alone,
                running: Some(activity.begin()),
            };
            assert!(!activity.is_idle());
            drop(body);
            assert_eq!(activity.is_idle(), !is_alone);
            activity.set_unsent(false);
            assert!(activity.is_idle());
        }
    }
}
