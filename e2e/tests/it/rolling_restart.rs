//! Instances of both subgraphs are restarted one after another behind one gateway, under clients that never try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use e2e::{ClientEvent, Graphql, Instance, Service, Subscription, System, eventually};
use graphql_transport::testing::HeldPort;
use serde_json::json;
use tokio::task::JoinSet;

use crate::PROGRAM;

const CLIENTS: usize = 50;
const POSTS: usize = 51;
/// 1.3 times the mean of three instances.
const SUBSCRIPTIONS_MOST: f64 = 22.0;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);
const QUERY: &str =
    "query($id: ID!) { post(id: $id) { title comments(first: 3) { edges { node { text } } } } }";
const CHANGES: &str = "subscription($post: ID!) { commentChanges(postId: $post) { __typename } }";

const FOLLOW: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    __typename ... on CommentAdded { comment { text } } } }";

/// Each instance beside those of the system, and its port.
struct Others(Vec<(Service, HeldPort, Instance)>);

impl Others {
    async fn start(system: &System) -> Self {
        let mut others = Vec::new();
        for service in [Service::Posts, Service::Comments, Service::Comments] {
            let port = HeldPort::any();
            let instance = ready_at(system, service, &port).await;
            others.push((service, port, instance));
        }
        Self(others)
    }

    fn ports(&self, system: &mut System, service: Service) -> Vec<u16> {
        let own = self.0.iter().filter(|(it, _, _)| *it == service);
        let mut ports: Vec<u16> = own.map(|(_, port, _)| port.address().port()).collect();
        ports.push(system.process(service).address().port());
        ports
    }

    fn addresses(&self, system: &mut System, service: Service) -> String {
        let ports = self.ports(system, service).into_iter();
        let urls = ports.map(|port| format!("http://127.0.0.1:{port}/graphql"));
        urls.collect::<Vec<_>>().join(", ")
    }

    async fn restart(&mut self, system: &System, number: usize) {
        let (service, port, instance) = &mut self.0[number];
        instance.process().stop().await.expect("its end");
        *instance = ready_at(system, *service, port).await;
    }
}

async fn ready_at(system: &System, service: Service, port: &HeldPort) -> Instance {
    let port = port.address().port().to_string();
    let mut instance = system.instance(service, &[("PORT", &port)]).await;
    instance.is_ready().await;
    instance
}

/// Clients that read until they are stopped. Each answer with an error is one of their errors.
struct Clients {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    errors: JoinSet<Vec<String>>,
}

impl Clients {
    fn start(graphql: &Graphql, posts: &[String]) -> Self {
        let (is_over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut errors = JoinSet::new();
        for client in 0..CLIENTS {
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            let (graphql, post) = (graphql.clone(), posts[client % posts.len()].clone());
            errors.spawn(async move {
                let mut errors = Vec::new();
                let body = json!({"query": QUERY, "variables": {"id": post}}).to_string();
                while !is_over.load(Ordering::Relaxed) {
                    match graphql.try_post(body.clone()).await {
                        Ok(answer) if answer.body["errors"].is_null() => {}
                        Ok(answer) => errors.push(answer.body.to_string()),
                        Err(error) => errors.push(format!("{error:?}")),
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
                errors
            });
        }
        Self {
            is_over,
            answers,
            errors,
        }
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let errors = self.errors.join_all().await.concat();
        (self.answers.load(Ordering::Relaxed), errors)
    }
}

/// Waits until all instances of comments are up, and none has many more subscriptions than others.
async fn until_spread(system: &System, ports: &[u16]) {
    eventually("the subscriptions are spread", || async {
        let mut loads = Vec::new();
        for port in ports {
            let labels = format!("{{subgraph=\"comments\",address=\"127.0.0.1:{port}\"}}");
            let name = format!("gateway_subgraph_address_subscriptions{labels}");
            loads.push(system.metric(Service::Gateway, &name).await);
        }
        let is_all = loads.iter().sum::<f64>() == POSTS as f64;
        match is_all && loads.iter().all(|load| *load <= SUBSCRIPTIONS_MOST) {
            true => Ok(()),
            false => Err(format!("{loads:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_restarted_one_after_another_cost_no_client_an_error() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let mut posts = Vec::new();
    for number in 0..POSTS {
        posts.push(graphql.create_post(&format!("Post {number}")).await);
    }
    let mut others = Others::start(&system).await;
    let of_posts = others.addresses(&mut system, Service::Posts);
    let of_comments = others.addresses(&mut system, Service::Comments);
    system.kill(Service::Gateway).await;
    let settings = [
        ("SUBGRAPH_URL_POSTS", &*of_posts),
        ("SUBGRAPH_URL_COMMENTS", &*of_comments),
        ("SUBSCRIPTION_REBALANCE_INTERVAL", "1s"),
    ];
    system.run_with(Service::Gateway, &settings).await;
    system.ready(Service::Gateway).await;
    let ports = others.ports(&mut system, Service::Comments);
    let mut watched = Vec::new();
    for post in &posts {
        watched.push(Subscription::start(&graphql, CHANGES, json!({ "post": post })).await);
    }
    until_spread(&system, &ports).await;

    let clients = Clients::start(&graphql, &posts);
    for number in 0..others.0.len() {
        others.restart(&system, number).await;
        until_spread(&system, &ports).await;
    }
    for service in [Service::Posts, Service::Comments] {
        system.restart(service).await;
        until_spread(&system, &ports).await;
    }
    let (answers, errors) = clients.end().await;
    assert!(
        errors.is_empty(),
        "{} of {answers}: {errors:?}",
        errors.len()
    );
    assert!(answers > CLIENTS * 10, "{answers}");

    for (post, watched) in posts.iter().zip(&mut watched) {
        graphql.create_comment(post, "after all").await;
        let ClientEvent::Next(event) = watched.next().await else {
            panic!("a subscription has ended");
        };
        assert_eq!(
            event["data"]["commentChanges"]["__typename"], "CommentAdded",
            "{event}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_on_several_sockets_outlast_a_restart_of_their_subgraph() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    system.kill(Service::Gateway).await;
    // Each subscription has a socket to the subgraph, whose turn comes after that of the one before.
    let settings = [("SUBSCRIPTION_SOCKET_OPERATIONS_MAX", "1")];
    system.run_with(Service::Gateway, &settings).await;
    system.ready(Service::Gateway).await;
    let mut watched = Vec::new();
    for number in 0..4 {
        let post = graphql.create_post(&format!("Post {number}")).await;
        let comments = Subscription::comments_of(&graphql, FOLLOW, &post).await;
        watched.push((post, comments));
    }
    system.restart(Service::Comments).await;
    system.ready(Service::Comments).await;
    for (post, watched) in &mut watched {
        graphql.create_comment(post, "after the restart").await;
        let ClientEvent::Next(event) = watched.next().await else {
            panic!("a subscription has ended");
        };
        let kind = &event["data"]["commentChanges"]["__typename"];
        assert_eq!(kind, "CommentAdded", "{event}");
    }
}
