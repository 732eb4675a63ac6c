//! Identical queries in flight share one request, but not the failure of another client's request. A client's
//! further requests wait for its own.

use std::{future::Future, sync::Arc, time::Duration};

use gateway::{
    config::{HeaderConfig, SubgraphSettings},
    execute,
    graph::Settings,
    headers::HeaderRules,
    metrics::SubgraphMetrics,
    prepare::{self, Serving},
    request::ClientContext,
};
use graphql_transport::ClientKey;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Subgraph, TestGraph, client, graph_with, subgraph::Fault};

const QUERY: &str = "{ newest { title } }";
const ANSWER: &str = r#"{"data":{"newest":{"title":"One"}}}"#;
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

fn news() -> Subgraph {
    Subgraph::new(
        "news",
        "type Query { newest: Item item(id: ID): Item } type Mutation { publish: Item }
         type Item { title: String }",
    )
    .query(json!({"newest": {"title": "One"}, "item": {"title": "Two"}}))
    .field("Mutation", "publish", |_, _| Ok(json!({"title": "Three"})))
}

/// A graph whose only subgraph holds back its responses.
struct News {
    graph: TestGraph,
    gate: Arc<tokio::sync::Semaphore>,
    metrics: SubgraphMetrics,
}

impl News {
    async fn sharing() -> Self {
        Self::with(Settings {
            subgraphs: sharing(),
            ..Settings::default()
        })
        .await
    }

    async fn with(settings: Settings) -> Self {
        let metrics = settings.subgraph_metrics.clone();
        let graph = graph_with(settings, vec![news()]).await;
        let gate = graph.subgraph("news").hold();
        Self {
            graph,
            gate,
            metrics,
        }
    }

    fn ask(&self, query: &'static str) -> JoinHandle<String> {
        self.ask_as(query, &[])
    }

    fn ask_as(
        &self,
        query: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> JoinHandle<String> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let client = ClientContext {
            headers: Arc::new(headers),
            ..client()
        };
        tokio::spawn(answer(Arc::clone(self.graph.serving()), query, client))
    }

    /// Asks as the client of the address 10.0.0.`number`.
    fn ask_from(&self, number: u8, query: &'static str) -> JoinHandle<String> {
        let client = ClientContext {
            key: ClientKey::of([10, 0, 0, number].into()),
            ..client()
        };
        tokio::spawn(answer(Arc::clone(self.graph.serving()), query, client))
    }

    /// Waits until the subgraph has received this many requests in all.
    async fn taken(&self, requests: usize) {
        until(|| self.graph.subgraph("news").requests_taken() == requests).await;
    }

    /// Waits until this many queries in all share another one's request.
    async fn shared(&self, queries: u64) {
        until(|| self.metrics.of("news").shared.get() == queries).await;
    }

    fn release(&self) {
        self.gate.add_permits(100);
    }
}

fn sharing() -> SubgraphSettings {
    SubgraphSettings {
        deduplicate_in_flight: true,
        ..SubgraphSettings::default()
    }
}

async fn answer(serving: Arc<Serving>, query: &str, client: ClientContext) -> String {
    let (prepared, variables) = prepare::with_variables(&serving, query, None, None)
        .await
        .expect("a valid operation");
    let response = execute::operation(&serving.graph, &prepared, &variables, &client).await;
    String::from_utf8(response.body.to_vec()).expect("UTF-8")
}

async fn until(condition: impl Fn() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it happens in time")
}

async fn answered(query: JoinHandle<String>) -> String {
    in_time(query).await.expect("no panic")
}

#[tokio::test]
async fn equal_queries_are_one_request() {
    let news = News::sharing().await;
    let queries: Vec<_> = (0..8).map(|_| news.ask(QUERY)).collect();
    news.shared(7).await;
    news.release();
    for query in queries {
        assert_eq!(answered(query).await, ANSWER);
    }
    assert_eq!(news.graph.requests().len(), 1);
    // A query after the response is sent again.
    assert_eq!(answered(news.ask(QUERY)).await, ANSWER);
    assert_eq!(news.graph.requests().len(), 1);
}

#[tokio::test]
async fn nothing_is_shared_unless_it_is_switched_on() {
    let news = News::with(Settings::default()).await;
    let queries = [news.ask(QUERY), news.ask(QUERY)];
    news.taken(2).await;
    news.release();
    for query in queries {
        assert_eq!(answered(query).await, ANSWER);
    }
}

#[tokio::test]
async fn another_query_or_a_mutation_is_a_request_of_its_own() {
    let news = News::sharing().await;
    let queries = [
        news.ask(QUERY),
        news.ask("{ item(id: 1) { title } }"),
        news.ask("{ item(id: 2) { title } }"),
        news.ask("mutation { publish { title } }"),
        news.ask("mutation { publish { title } }"),
    ];
    news.taken(5).await;
    news.release();
    for query in queries {
        assert!(!answered(query).await.contains("errors"));
    }
    assert_eq!(news.metrics.of("news").shared.get(), 0);
}

#[tokio::test]
async fn only_clients_with_the_same_forwarded_headers_share() {
    let rules = HeaderConfig {
        forward: vec!["authorization".to_owned()],
        give_back: Vec::new(),
        ..HeaderConfig::default()
    };
    let news = News::with(Settings {
        subgraphs: sharing(),
        header_rules: Arc::new(HeaderRules::new(&rules).expect("well-formed rules")),
        ..Settings::default()
    })
    .await;
    let first = news.ask_as(QUERY, &[("authorization", "a"), ("x-request-id", "1")]);
    let other = news.ask_as(QUERY, &[("authorization", "b"), ("x-request-id", "2")]);
    news.taken(2).await;
    let second = news.ask_as(QUERY, &[("authorization", "a"), ("x-request-id", "3")]);
    news.shared(1).await;
    news.release();
    for query in [first, other, second] {
        assert_eq!(answered(query).await, ANSWER);
    }
    assert_eq!(news.graph.requests().len(), 2);
}

#[tokio::test]
async fn answers_that_may_set_cookies_are_not_shared() {
    let rules = HeaderConfig {
        forward: Vec::new(),
        give_back: vec!["set-cookie".to_owned()],
        ..HeaderConfig::default()
    };
    let news = News::with(Settings {
        subgraphs: sharing(),
        header_rules: Arc::new(HeaderRules::new(&rules).expect("well-formed rules")),
        ..Settings::default()
    })
    .await;
    let queries = [news.ask(QUERY), news.ask(QUERY)];
    news.taken(2).await;
    news.release();
    for query in queries {
        assert_eq!(answered(query).await, ANSWER);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_request_to_the_others() {
    let news = News::sharing().await;
    let first = news.ask(QUERY);
    news.taken(1).await;
    let second = news.ask(QUERY);
    news.shared(1).await;
    first.abort();
    assert!(in_time(first).await.expect_err("it ended").is_cancelled());
    news.release();
    assert_eq!(answered(second).await, ANSWER);
    assert_eq!(news.graph.requests().len(), 1);
}

#[tokio::test]
async fn a_request_that_all_have_left_is_not_joined() {
    let news = News::sharing().await;
    let gone = news.ask(QUERY);
    news.taken(1).await;
    gone.abort();
    assert!(in_time(gone).await.expect_err("it ended").is_cancelled());
    let query = news.ask(QUERY);
    news.taken(2).await;
    news.release();
    assert_eq!(answered(query).await, ANSWER);
    assert_eq!(news.metrics.of("news").shared.get(), 0);
}

#[tokio::test]
async fn a_failure_is_the_failure_of_who_began_the_request() {
    let news = News::with(Settings {
        subgraphs: SubgraphSettings {
            body_bytes_max: 100,
            ..sharing()
        },
        ..Settings::default()
    })
    .await;
    let subgraph = news.graph.subgraph("news");
    subgraph.fail(Fault::Answer(200, " ".repeat(101)));
    let first = news.ask(QUERY);
    news.taken(1).await;
    subgraph.recover();
    let others: Vec<_> = (0..3).map(|_| news.ask(QUERY)).collect();
    news.shared(3).await;
    news.gate.add_permits(1);
    assert!(
        answered(first)
            .await
            .contains("SUBREQUEST_RESPONSE_TOO_LARGE")
    );
    // One of the three asks again, for all of them.
    news.shared(5).await;
    news.release();
    for query in others {
        assert_eq!(answered(query).await, ANSWER);
    }
    assert_eq!(news.graph.requests().len(), 2);
}

#[tokio::test]
async fn a_client_waits_for_its_own_requests_only() {
    let news = News::with(Settings {
        subgraphs: SubgraphSettings {
            requests_running_per_client_max: 1,
            ..SubgraphSettings::default()
        },
        ..Settings::default()
    })
    .await;
    let queued = news.metrics.queued("news");
    let other = news.ask_from(3, QUERY);
    news.taken(1).await;
    let greedy: Vec<_> = (0..5).map(|_| news.ask_from(1, QUERY)).collect();
    until(|| queued.get() == 4).await;
    let modest = news.ask_from(2, QUERY);
    news.taken(3).await;
    assert_eq!(queued.get(), 4);
    news.release();
    for query in greedy.into_iter().chain([modest, other]) {
        assert_eq!(answered(query).await, ANSWER);
    }
    assert_eq!(queued.get(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_no_room_gets_the_error() {
    let news = News::with(Settings {
        subgraphs: SubgraphSettings {
            requests_running_max: 1,
            requests_max: 3,
            ..SubgraphSettings::default()
        },
        ..Settings::default()
    })
    .await;
    let queued = news.metrics.queued("news");
    let greedy: Vec<_> = (0..4).map(|_| news.ask_from(1, QUERY)).collect();
    until(|| queued.get() == 2).await;
    let modest = news.ask_from(2, QUERY);
    let mut refused = 0;
    news.taken(1).await;
    until(|| greedy.iter().filter(|it| it.is_finished()).count() == 2).await;
    news.release();
    for query in greedy {
        let answer = answered(query).await;
        refused += usize::from(answer.contains("SUBGRAPH_OVERLOADED"));
    }
    assert_eq!(refused, 2);
    assert_eq!(answered(modest).await, ANSWER);
}

#[tokio::test]
async fn who_joins_late_has_the_whole_time_limit() {
    let news = News::with(Settings {
        subgraphs: SubgraphSettings {
            timeout: Duration::from_secs(4),
            ..sharing()
        },
        ..Settings::default()
    })
    .await;
    let subgraph = news.graph.subgraph("news");
    subgraph.fail(Fault::Hang);
    let first = news.ask(QUERY);
    news.taken(1).await;
    subgraph.recover();
    news.release();
    // Late enough that the time limit of the one ends well before that of the other.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = news.ask(QUERY);
    assert!(answered(first).await.contains("SUBREQUEST_TIMEOUT"));
    assert_eq!(answered(second).await, ANSWER);
}
