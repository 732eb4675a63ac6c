//! Clients that disconnect early, and more clients than the database can serve: both leave the service usable.

use std::time::Duration;

use bson::doc;
use e2e::leaving_clients::{ask_and_leave, bodies};
use e2e::{Service, Signal, System, eventually};
use embedded_mongo::{Options, ReplicaSet};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::PROGRAM;

const ROUNDS: usize = 10;
/// Within this time a service that leaving clients have not stopped is ready and answers. Less than a request may take.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Generous, because only a failing test uses it up.
const END_TIME_LIMIT: Duration = Duration::from_secs(60);
const LIST: &str = "{ posts(first: 10) { edges { node { id title } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_stop_nothing() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Asked about").await;
    let services = [Service::Posts, Service::Comments, Service::Gateway];
    let servers = services.map(|service| system.process(service).address());
    let urls = [Service::Posts, Service::Comments]
        .map(|service| system.process(service).url("/health/ready"));
    for round in 0..ROUNDS {
        ask_and_leave(&servers, &bodies(&post), 100).await;
        for url in &urls {
            let ready = timeout(ANSWER_TIME_LIMIT, reqwest::get(url)).await;
            let ready = ready.unwrap_or_else(|_| panic!("{url}: round {round}"));
            assert_eq!(ready.expect("an answer").status(), 200, "round {round}");
        }
        let listed = timeout(ANSWER_TIME_LIMIT, graphql.data(LIST, json!({}))).await;
        listed.unwrap_or_else(|_| panic!("posts answers nothing after round {round}"));
        let commented = graphql.create_comment(&post, "Patient");
        let commented = timeout(ANSWER_TIME_LIMIT, commented).await;
        commented.unwrap_or_else(|_| panic!("comments answers nothing after round {round}"));
    }
    for service in [Service::Posts, Service::Comments] {
        eventually("every call has ended", || async {
            match system.metric(service, "database_calls_running").await {
                0.0 => Ok(()),
                running => Err(format!("{running} calls run")),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_database_can_serve_is_refused_with_a_time_to_come_back() {
    let set = ReplicaSet::start(Options::default()).await.expect("a node");
    let mut system = System::new(PROGRAM, set.uri_for("overloaded"));
    let tight = [
        ("DATABASE_CONNECTIONS_MAX", "1"),
        ("DATABASE_QUEUE_MAX", "0"),
    ];
    system.run_with(Service::Posts, &tight).await;
    system.run_all().await;
    let graphql = system.graphql().clone();

    let slow = doc! { "blockConnection": true, "blockTimeMS": 3_000 };
    set.fail_commands("posts requests", &["find"], slow, 1)
        .await
        .expect("a fail point");
    let held = {
        let graphql = graphql.clone();
        tokio::spawn(async move { graphql.data(LIST, json!({})).await })
    };
    eventually("the only connection is taken", || async {
        match system
            .metric(Service::Posts, "database_calls_running")
            .await
        {
            1.0 => Ok(()),
            running => Err(format!("{running} calls run")),
        }
    })
    .await;

    let posts = system.process(Service::Posts).url("/graphql");
    for url in [posts.as_str(), graphql.url()] {
        // Of the same list, the gateway would ask once for both.
        let query = json!({ "query": "{ posts(first: 1) { edges { node { id } } } }" });
        let request = reqwest::Client::new()
            .post(url)
            .header("content-type", "application/json")
            .body(query.to_string());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 503, "{url}");
        assert_eq!(answer.headers()["retry-after"], "1", "{url}");
        let body = answer.text().await.expect("a body");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let error = &body["errors"][0];
        assert_eq!(error["extensions"]["code"], "OVERLOADED", "{url}: {body}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|it| it.contains("try again")),
            "{body}"
        );
    }
    let refused = system.metric(
        Service::Posts,
        "database_calls_refused_total{reason=\"queue_full\"",
    );
    assert_eq!(refused.await, 2.0);
    // Neither the overload nor the slow call touches what is apart from requests.
    system.ready(Service::Posts).await;
    let held = held.await.expect("no panic");
    assert_eq!(
        held["posts"]["edges"],
        json!([]),
        "the one that was begun is answered"
    );
    graphql.data(LIST, json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_answers_nothing_keeps_no_service_from_ending() {
    let mut set = ReplicaSet::start(Options::default()).await.expect("a node");
    let mut system = System::new(PROGRAM, set.uri_for("silent"));
    let grace = [("SHUTDOWN_GRACE", "1s")];
    for service in [Service::Posts, Service::Comments] {
        system.run_with(service, &grace).await;
    }
    system.run_all().await;
    let post = system.graphql().create_post("Asked about").await;
    let servers =
        [Service::Posts, Service::Comments].map(|service| system.process(service).address());

    set.pause_node(0);
    ask_and_leave(&servers, &bodies(&post), 100).await;
    for service in [Service::Posts, Service::Comments] {
        let process = system.process(service);
        process.signal(Signal::TERM);
        // The database does not answer before.
        let ended = timeout(END_TIME_LIMIT, process.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("{} does not end", service.name()))
            .expect("its end");
    }
    set.resume_node(0);
}
