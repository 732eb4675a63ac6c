//! A service without a schema: a query counts to 0, a subscription to 3, over every transport.
//!
//! ```sh
//! cargo run -p graphql-transport --example counter
//! curl http://127.0.0.1:4000/graphql --json '{"query":"{ count }"}'
//! curl http://127.0.0.1:4000/graphql --json '{"query":"subscription { count }"}' -H 'accept: text/event-stream'
//! ```

use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use graphql_transport::prometheus_client::registry::Registry;
use graphql_transport::{
    ClientContext, Code, Event, GraphqlRequest, GraphqlResponse, Outcome, Refusal, Service,
    Serving, Settings, TransportMetrics,
};

struct Counter {
    serving: Serving,
}

impl Service for Counter {
    fn serving(&self) -> &Serving {
        &self.serving
    }

    async fn answer(self: &Arc<Self>, request: GraphqlRequest, client: ClientContext) -> Outcome {
        let document = request.query.unwrap_or_default();
        if !document.trim_start().starts_with("subscription") {
            return Outcome::Single(GraphqlResponse::executed(body(0)));
        }
        if !client.subscriptions_allowed {
            let message = "subscribe over a WebSocket or an event stream";
            return Outcome::Single(Refusal::new(Code::SubscriptionForbidden, message).into());
        }
        let counts = stream::iter(1..=3).map(|count| Event::Next {
            body: body(count),
            cursor: None,
        });
        Outcome::Stream(counts.boxed())
    }
}

fn body(count: u32) -> Bytes {
    Bytes::from(format!(r#"{{"data":{{"count":{count}}}}}"#))
}

/// `/graphql`, for all transports.
pub fn routes() -> Router {
    let metrics = TransportMetrics::register(&mut Registry::default(), "counter");
    let serving = Serving::new(Settings::default(), Arc::new(metrics), Default::default());
    graphql_transport::routes(&Arc::new(Counter { serving }))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:4000").await?;
    axum::serve(listener, routes()).await
}
