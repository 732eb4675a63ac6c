//! The ways in which a request reaches the gateway.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::gateway::TestGateway;

/// How a request reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Post,
    Get,
    WebSocket,
    Sse,
    Multipart,
}

pub const WAYS: [Way; 5] = [
    Way::Post,
    Way::Get,
    Way::WebSocket,
    Way::Sse,
    Way::Multipart,
];

/// The answer to a request.
pub struct Answer {
    /// Absent on a WebSocket.
    pub status: Option<StatusCode>,
    /// The header `Retry-After`.
    pub retry_after: Option<u64>,
    /// The GraphQL response; of a stream or a WebSocket, its first event.
    pub body: Value,
}

impl Answer {
    /// The `extensions` of its first error; null if it has none.
    pub fn extensions(&self) -> &Value {
        &self.body["errors"][0]["extensions"]
    }
}

impl Way {
    /// The code of the one error that answers a request.
    pub async fn refusal(self, gateway: &TestGateway, request: &Value) -> String {
        let answer = self.answer(gateway, request).await;
        let code = answer.extensions()["code"].as_str();
        code.expect("a code").to_owned()
    }

    /// The answer to a request.
    pub async fn answer(self, gateway: &TestGateway, request: &Value) -> Answer {
        match self {
            Self::WebSocket => over_socket(gateway, request).await,
            Self::Get => {
                let mut url = reqwest::Url::parse(&gateway.url("/graphql")).expect("a URL");
                for (name, value) in request.as_object().expect("an object") {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    url.query_pairs_mut().append_pair(name, &value);
                }
                answered(gateway.http.get(url), "{").await
            }
            Self::Post => posted(gateway, "application/json", request, "{").await,
            Self::Sse => posted(gateway, "text/event-stream", request, "data: {").await,
            Self::Multipart => {
                let accept = "multipart/mixed;subscriptionSpec=1.0";
                let mut answer = posted(gateway, accept, request, "{").await;
                // What ends the stream stands beside the payload.
                if answer.body["payload"].is_object() {
                    answer.body = answer.body["payload"].take();
                }
                answer
            }
        }
    }
}

async fn over_socket(gateway: &TestGateway, request: &Value) -> Answer {
    let mut socket = gateway.socket().await;
    socket
        .send(json!({"id": "1", "type": "subscribe", "payload": request}))
        .await;
    let mut message = socket.next().await;
    let payload = message["payload"].take();
    let body = match message["type"].as_str() {
        Some("error") => json!({ "errors": payload }),
        Some("next") => payload,
        _ => panic!("an event was expected, not {message}"),
    };
    Answer {
        status: None,
        retry_after: None,
        body,
    }
}

async fn posted(gateway: &TestGateway, accept: &str, request: &Value, before: &str) -> Answer {
    let request = gateway
        .post()
        .header("accept", accept)
        .body(request.to_string());
    answered(request, before).await
}

/// The answer, or the event of the line that begins with `before`.
pub async fn answered(request: RequestBuilder, before: &str) -> Answer {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let retry_after = response.headers().get("retry-after").map(|value| {
        let text = value.to_str().expect("ASCII");
        text.parse().expect("whole seconds")
    });
    let text = response.text().await.expect("text");
    let line = text.lines().find(|line| line.starts_with(before));
    let json = line.and_then(|line| line.strip_prefix(&before[..before.len() - 1]));
    Answer {
        status: Some(status),
        retry_after,
        body: serde_json::from_str(json.unwrap_or(&text)).expect("JSON"),
    }
}
