//! A subgraph whose subscriptions say exactly what a test says, as server-sent events.

use std::convert::Infallible;

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};

use super::{PATIENCE, gateway::TestGateway, server::Server};

pub struct Keeper {
    sessions: Mutex<mpsc::UnboundedReceiver<Session>>,
    pub gateway: TestGateway,
    _server: Server,
}

/// One subscription of the gateway. Dropping it cuts the connection.
pub struct Session {
    /// The GraphQL request.
    pub request: Value,
    text: mpsc::UnboundedSender<String>,
}

impl Keeper {
    /// The subgraph `news`, behind a gateway with these further arguments.
    pub async fn behind(arguments: &[&str]) -> Self {
        let (sender, sessions) = mpsc::unbounded_channel();
        let app = Router::new()
            .route("/graphql", post(open))
            .with_state(sender);
        let server = Server::start(app);
        let news = format!("--subgraph-url=news={}", server.url());
        let sse = "--subscription-sse-subgraphs=news";
        let gateway = TestGateway::with(&[&[&news, sse], arguments].concat()).await;
        Self {
            sessions: Mutex::new(sessions),
            gateway,
            _server: server,
        }
    }

    /// The next subscription of the gateway.
    pub async fn session(&self) -> Session {
        let mut sessions = self.sessions.lock().await;
        let session = timeout(PATIENCE, sessions.recv()).await;
        session.expect("the gateway subscribes").expect("it runs")
    }
}

async fn open(
    State(sessions): State<mpsc::UnboundedSender<Session>>,
    Json(request): Json<Value>,
) -> Response {
    let (text, texts) = mpsc::unbounded_channel();
    // The test may be over.
    let _ = sessions.send(Session { request, text });
    let chunks = stream::unfold(texts, |mut texts| async {
        Some((texts.recv().await?, texts))
    });
    let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

impl Session {
    /// A message of the subscription.
    pub fn say(&self, response: &Value) {
        let event = format!("event: next\ndata: {response}\n\n");
        self.text.send(event).expect("the gateway listens");
    }

    /// The first frame.
    pub fn stands(&self, kept: &str, cursor: Option<&str>) {
        self.say(&frame(kept, cursor));
    }

    pub fn complete(self) {
        let end = "event: complete\ndata:\n\n".to_owned();
        self.text.send(end).expect("the gateway listens");
    }

    /// Waits until the gateway has left.
    pub async fn left(&self) {
        timeout(PATIENCE, self.text.closed())
            .await
            .expect("it leaves");
    }
}

/// A first frame.
pub fn frame(kept: &str, cursor: Option<&str>) -> Value {
    let delivery = json!({ "version": 1, "asked": "AT_LEAST_ONCE", "kept": kept });
    let mut frame = json!({ "data": null, "extensions": { "delivery": delivery } });
    if let Some(cursor) = cursor {
        frame["extensions"]["cursor"] = json!(cursor);
    }
    frame
}
