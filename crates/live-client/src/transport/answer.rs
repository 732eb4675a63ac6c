//! Subscriptions as a long answer to a POST request, over HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Signal, headers_of, lost, retry_after, too_slow};
use crate::client::Settings;
use crate::errors::ERRORS_BYTES_MAX;
use crate::failure::Failure;

/// What hyper reads ahead, and the longest headers.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How an answer's bytes are cut into messages.
pub(crate) trait Framing: Sized {
    const ACCEPT: &'static str;

    /// `None` for an answer of another content type.
    fn of(content_type: &str) -> Option<Self>;
    fn extend(&mut self, bytes: &[u8]);
    /// The next whole signal. `None` until more bytes come.
    fn signal(&mut self) -> Option<Result<Signal, Failure>>;
    /// Bytes of the message that is not whole yet.
    fn unfinished_bytes(&self) -> usize;
}

pub(crate) struct Answer<F> {
    body: Incoming,
    framing: F,
    silence_max: Duration,
    message_bytes_max: usize,
    _connection: Driven,
}

/// The task that reads and writes the connection. Dropped, it ends, and the socket with it.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<F: Framing> Answer<F> {
    pub(crate) async fn open(settings: &Settings, request: Bytes) -> Result<Self, Failure> {
        let connected = timeout(settings.connect_within, connect(settings)).await;
        let (mut sender, connection, headers) = connected.unwrap_or_else(|_| Err(too_slow()))?;
        let mut post = Request::post(settings.endpoint.path())
            .body(Full::new(request))
            .map_err(Failure::new)?;
        *post.headers_mut() = headers;
        let authority =
            HeaderValue::from_str(settings.endpoint.authority()).map_err(Failure::new)?;
        for (name, value) in [
            (header::HOST, authority),
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (header::ACCEPT, HeaderValue::from_static(F::ACCEPT)),
        ] {
            post.headers_mut().insert(name, value);
        }
        // The headers may come no sooner than the subscription stands.
        let answer = timeout(settings.silence_max, sender.send_request(post)).await;
        let answer = answer.map_err(|_| silent())?.map_err(lost)?;
        let content_type = answer.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|it| it.to_str().ok());
        let framing = content_type.and_then(F::of);
        match framing.filter(|_| answer.status().is_success()) {
            Some(framing) => Ok(Self {
                body: answer.into_body(),
                framing,
                silence_max: settings.silence_max,
                message_bytes_max: settings.message_bytes_max,
                _connection: connection,
            }),
            None => Err(refusal(answer, settings.silence_max).await),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Signal, Failure> {
        loop {
            let signal = self.framing.signal();
            let bytes = match &signal {
                Some(Ok(Signal::Message { json, .. })) => json.len(),
                Some(_) => 0,
                None => self.framing.unfinished_bytes(),
            };
            if bytes > self.message_bytes_max {
                return Err(Failure::too_large(self.message_bytes_max));
            }
            if let Some(signal) = signal {
                return signal;
            }
            let frame = timeout(self.silence_max, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| silent())? else {
                return Err(Failure::new(
                    "The answer has ended before its last message.",
                ));
            };
            if let Some(bytes) = frame.map_err(lost)?.data_ref() {
                self.framing.extend(bytes);
            }
        }
    }
}

async fn connect(
    settings: &Settings,
) -> Result<(http1::SendRequest<Full<Bytes>>, Driven, HeaderMap), Failure> {
    let headers = headers_of(settings).await?;
    let stream = settings.endpoint.connect().await.map_err(lost)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    let task = tokio::spawn(async move {
        // Its error is that of the answer, too.
        let _ = connection.await;
    });
    Ok((sender, Driven(task), headers))
}

/// Why there is no stream: GraphQL errors if the answer has some, with the time to wait.
async fn refusal(answer: Response<Incoming>, limit: Duration) -> Failure {
    let status = answer.status().as_u16();
    let wait = retry_after(answer.headers());
    let mut body = answer.into_body();
    let mut text = Vec::new();
    let read = async {
        while text.len() < ERRORS_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |it| it));
        }
    };
    // What has come until then says enough, or nothing.
    let _ = timeout(limit, read).await;
    Failure::refused(status, wait, &text)
}

fn silent() -> Failure {
    Failure::new("Nothing has come for too long.")
}
