//! A subgraph of live messages: whoever subscribes to a topic gets what the benchmark sends there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{
    Context, EmptyMutation, ID, Object, SDLExportOptions, Schema, SimpleObject, Subscription,
};
use async_graphql_axum::{GraphQL, GraphQLSubscription};
use axum::Router;
use axum::routing::post_service;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Messages that a subscription may be behind: each topic reserves room for them.
const BEHIND_MAX: usize = 128;

/// The topics that somebody subscribes to. Clones share them.
#[derive(Clone, Default)]
pub struct Topics {
    by_name: Arc<Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>>,
}

impl Topics {
    /// Sends a message to all subscriptions of a topic.
    pub fn send(&self, topic: &str, text: &Arc<str>) {
        let topics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(topic) {
            // An error means that the last subscription has ended.
            let _ = topic.send(Arc::clone(text));
        }
    }

    /// The subscriptions of all topics.
    pub fn subscriptions(&self) -> usize {
        let topics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        topics.values().map(broadcast::Sender::receiver_count).sum()
    }

    fn subscribe(&self, topic: &str) -> broadcast::Receiver<Arc<str>> {
        let mut topics = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        match topics.get(topic) {
            Some(topic) => topic.subscribe(),
            None => {
                topics.retain(|_, topic| topic.receiver_count() > 0);
                let (sender, receiver) = broadcast::channel(BEHIND_MAX);
                topics.insert(topic.to_owned(), sender);
                receiver
            }
        }
    }
}

/// The subgraph's schema.
pub fn sdl() -> String {
    schema(Topics::default()).sdl_with_options(SDLExportOptions::new().federation())
}

/// Where it is: at the path that gateways take for WebSockets, too.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}/graphql")
}

/// Serves it until the process ends.
///
/// # Errors
/// When the socket fails.
pub fn serve(listener: TcpListener, topics: Topics) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(accept(listener, topics))
}

async fn accept(listener: TcpListener, topics: Topics) -> anyhow::Result<()> {
    let schema = schema(topics);
    let service =
        post_service(GraphQL::new(schema.clone())).get_service(GraphQLSubscription::new(schema));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it messages wait for the kernel; an error would only make them slower.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, Router::new().route("/graphql", service)).await?)
}

type LiveSchema = Schema<Query, EmptyMutation, Live>;

fn schema(topics: Topics) -> LiveSchema {
    Schema::build(Query, EmptyMutation, Live)
        .enable_federation()
        .enable_subscription_in_federation()
        .data(topics)
        .finish()
}

struct Query;

#[Object]
impl Query {
    async fn live(&self) -> bool {
        true
    }
}

#[derive(SimpleObject)]
struct Message {
    text: String,
}

struct Live;

// Composers know the root types by their names.
#[Subscription(name = "Subscription")]
impl Live {
    async fn message(
        &self,
        context: &Context<'_>,
        topic: ID,
    ) -> async_graphql::Result<impl Stream<Item = Message> + use<>> {
        let messages = context.data::<Topics>()?.subscribe(&topic);
        Ok(unfold(messages, |mut messages| async move {
            // One that is too far behind ends: the benchmark then misses messages, and says so.
            let text = messages.recv().await.ok()?;
            let text = text.to_string();
            Some((Message { text }, messages))
        }))
    }
}
