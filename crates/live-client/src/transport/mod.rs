//! Carries one try of a subscription: a WebSocket, or a long answer.

mod answer;
mod event_stream;
mod multipart;
mod websocket;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::timeout;

use self::answer::Answer;
use self::event_stream::EventStream;
use self::multipart::Multipart;
use self::websocket::WebSocket;
use crate::Transport;
use crate::client::Settings;
use crate::failure::Failure;

/// What a server says of its subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A GraphQL response, and its id where the transport has one.
    Message { json: String, id: Option<String> },
    /// The subscription is complete.
    Complete,
}

/// An open connection. Dropped, it is closed.
pub(crate) enum Connection {
    WebSocket(Box<WebSocket>),
    EventStream(Box<Answer<EventStream>>),
    Multipart(Box<Answer<Multipart>>),
}

impl Connection {
    /// Connects and sends the request.
    pub(crate) async fn open(settings: &Settings, request: Bytes) -> Result<Self, Failure> {
        match settings.transport {
            Transport::WebSocket => {
                let opened = timeout(settings.connect_within, WebSocket::open(settings, &request));
                let opened = opened.await.unwrap_or_else(|_| Err(too_slow()))?;
                Ok(Self::WebSocket(Box::new(opened)))
            }
            Transport::ServerSentEvents => {
                let answer = Answer::open(settings, request).await?;
                Ok(Self::EventStream(Box::new(answer)))
            }
            Transport::Multipart => {
                let answer = Answer::open(settings, request).await?;
                Ok(Self::Multipart(Box::new(answer)))
            }
        }
    }

    /// Waits for the next signal. A future that is dropped loses none.
    pub(crate) async fn next(&mut self) -> Result<Signal, Failure> {
        match self {
            Self::WebSocket(it) => it.next().await,
            Self::EventStream(it) => it.next().await,
            Self::Multipart(it) => it.next().await,
        }
    }
}

/// The client's headers, some of which are asked for.
async fn headers_of(settings: &Settings) -> Result<HeaderMap, Failure> {
    let mut headers = settings.headers.clone();
    if let Some(asked) = &settings.headers_for_each {
        let asked = asked().await.map_err(Failure::new)?;
        headers.extend(asked);
    }
    Ok(headers)
}

/// The seconds of `retry-after`. A date is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok()
}

fn too_slow() -> Failure {
    Failure::new("The connection took too long.")
}

fn lost(error: impl std::fmt::Display) -> Failure {
    Failure::new(format_args!("The connection was lost: {error}"))
}
