//! What is noted of one HTTP request, for its line of the access log.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::response::Response;
use graphql_transport::Code;
use http::{HeaderMap, Request, header};
use hyper::body::{Body as _, Incoming};
use service::MakeResponder;

use super::{
    Watch,
    access_log::Line,
    operation::{Summary, client_of},
    plain::plain,
};
use crate::{
    headers::trace_context::{self, REQUEST_ID},
    metrics::Ending,
};

tokio::task_local! {
    /// The request that the task answers.
    static CURRENT: Arc<RequestNote>;
}

/// The note of one HTTP request. Dropped before its response is there, it tells that the client has left.
pub(super) struct RequestNote {
    watch: Arc<Watch>,
    began: Instant,
    method: String,
    path: String,
    client: [String; 2],
    trace_id: Option<String>,
    operation: Mutex<Option<Summary>>,
}

/// Notes the requests of all connections, if operators see anything of them.
pub(crate) fn noted(watch: &Arc<Watch>, make: MakeResponder) -> MakeResponder {
    if !watch.notes_requests() {
        return make;
    }
    let watch = Arc::clone(watch);
    Box::new(move |peer| {
        let (respond, watch) = (make(peer), Arc::clone(&watch));
        Box::new(move |request| {
            let note = Arc::new(RequestNote::new(&watch, &request));
            let ending = Unanswered(Some(Arc::clone(&note)));
            let answer = CURRENT.scope(note, respond(request));
            Box::pin(answered(answer, ending))
        })
    })
}

/// Takes note of a request that a transport refuses.
pub(crate) fn refused(code: Code) {
    if let Some(note) = RequestNote::current() {
        note.has_operation(Summary {
            prepared: None,
            ending: Ending::Refused,
            codes: vec![code.as_str().to_owned()],
        });
    }
}

async fn answered<E>(
    answer: impl Future<Output = Result<Response, E>>,
    mut unanswered: Unanswered,
) -> Result<Response, E> {
    let answer = answer.await;
    if let Some(note) = unanswered.0.take() {
        note.end(answer.as_ref().ok());
    }
    answer
}

/// Tells of a request whose client left.
struct Unanswered(Option<Arc<RequestNote>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(note) = self.0.take() {
            note.end(None);
        }
    }
}

impl RequestNote {
    fn new(watch: &Arc<Watch>, request: &Request<Incoming>) -> Self {
        let headers = request.headers();
        Self {
            watch: Arc::clone(watch),
            began: Instant::now(),
            method: plain(request.method().as_str().as_bytes()).into_owned(),
            // Without the query: over GET it has the variables.
            path: plain(request.uri().path().as_bytes()).into_owned(),
            client: client_of(headers).map(std::borrow::Cow::into_owned),
            trace_id: trace_context::trace_id(headers),
            operation: Mutex::default(),
        }
    }

    /// The note of the request that this task answers, if there is one.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    /// Notes what became of its operation.
    pub(super) fn has_operation(&self, summary: Summary) {
        let mut operation = self
            .operation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *operation = Some(summary);
    }

    fn end(&self, response: Option<&Response>) {
        let operation = self
            .operation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = &self.watch.access_log {
            let headers = response.map(Response::headers);
            rules.write(&Line {
                method: Some(&self.method),
                path: Some(&self.path),
                status: response.map(|it| it.status().as_u16()),
                client: self.client.each_ref().map(String::as_str),
                took: self.began.elapsed(),
                bytes: response.and_then(bytes_of),
                trace_id: self.trace_id.as_deref(),
                request_id: headers.and_then(request_id),
                operation: operation.as_ref(),
                ..Line::default()
            });
        }
    }
}

fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(REQUEST_ID)?.to_str().ok()
}

/// The bytes of a response's body, if they are known before it is sent.
fn bytes_of(response: &Response) -> Option<u64> {
    let told = || {
        let length = response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    };
    response.body().size_hint().exact().or_else(told)
}
