//! What one connection does, and the service around that notes it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tower::Service;

/// The requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The number, among all requests of the process, of the last one that ended.
    last: AtomicU64,
}

/// Numbers the requests of the process: cheaper than the time, and as good for finding the oldest.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

impl Activity {
    /// Notes a request. It runs until the result is dropped.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(self))
    }

    /// Whether no request has come yet.
    pub fn is_silent(&self) -> bool {
        self.begun.load(Ordering::Relaxed) == 0
    }

    /// Whether it waits for its next request.
    pub fn is_idle(&self) -> bool {
        let ended = self.ended.load(Ordering::Acquire);
        self.begun.load(Ordering::Relaxed) == ended
    }

    /// When its last request ended: larger is later.
    pub fn last_request(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

/// A request that runs.
#[derive(Debug)]
pub(crate) struct Running(Arc<Activity>);

impl Running {
    /// Never ends it: the connection is another protocol's from now on.
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
        self.0.last.store(number, Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// A service that notes the requests of one connection.
#[derive(Clone)]
pub(crate) struct Tracked<S> {
    service: S,
    activity: Arc<Activity>,
    peer: SocketAddr,
}

impl<S> Tracked<S> {
    /// `peer` is noted in each request, as `ConnectInfo`.
    pub fn new(service: S, activity: Arc<Activity>, peer: SocketAddr) -> Self {
        Self {
            service,
            activity,
            peer,
        }
    }
}

impl<S> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    type Response = http::Response<TrackedBody>;
    type Error = Infallible;
    type Future = TrackedAnswer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(ConnectInfo(self.peer));
        TrackedAnswer {
            running: Some(self.activity.begin()),
            answer: self.service.call(request),
        }
    }
}

pin_project_lite::pin_project! {
    /// An answer to come.
    pub(crate) struct TrackedAnswer<F> {
        running: Option<Running>,
        #[pin]
        answer: F,
    }
}

impl<F> Future for TrackedAnswer<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<http::Response<TrackedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(response) = ready!(this.answer.poll(context));
        let mut running = this.running.take();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(running) = running.take()
        {
            running.keep();
        }
        Poll::Ready(Ok(response.map(|body| TrackedBody {
            body,
            _running: running,
        })))
    }
}

/// An answer's body. The request runs until it is written.
pub(crate) struct TrackedBody {
    body: Body,
    _running: Option<Running>,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
