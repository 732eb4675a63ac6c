//! The subgraph that completes events: it resolves the length of a message's text, and counts its
//! requests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_graphql::{Context, EmptyMutation, EmptySubscription, ID, Object, Schema, SimpleObject};
use async_graphql_axum::GraphQL;
use axum::{Router, routing::post_service};

use super::server::Server;

#[derive(SimpleObject)]
struct Message {
    id: ID,
    length: i32,
}

struct Query;

#[Object]
impl Query {
    #[graphql(entity)]
    async fn message(&self, context: &Context<'_>, id: ID) -> Message {
        context
            .data_unchecked::<Arc<AtomicUsize>>()
            .fetch_add(1, Ordering::SeqCst);
        let length = 100 + id.parse::<i32>().unwrap_or(0);
        Message { id, length }
    }
}

pub struct Counts {
    asked: Arc<AtomicUsize>,
    pub server: Server,
}

impl Counts {
    pub fn start() -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let schema = Schema::build(Query, EmptyMutation, EmptySubscription)
            .data(Arc::clone(&asked))
            .enable_federation()
            .finish();
        let app = Router::new().route("/graphql", post_service(GraphQL::new(schema)));
        Self {
            asked,
            server: Server::start(app),
        }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
