//! Instances of both subgraphs are restarted one after another behind one gateway, and gateways behind a balancer, under
//! clients that read and write and never try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bson::doc;
use bson::oid::ObjectId;
use e2e::{Balancer, ClientEvent, Graphql, Instance, Service, Subscription, System, eventually};
use futures_util::TryStreamExt;
use graphql_transport::testing::HeldPort;
use rejoinder_client::{Client, Item, Transport};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::PROGRAM;

const CLIENTS: usize = 50;
const POSTS: usize = 51;
/// 1.3 times the mean of three instances.
const SUBSCRIPTIONS_MOST: f64 = 22.0;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);
/// An instance that stops says so with each answer for so long: longer than it takes until each connection has had one.
const DELAY: (&str, &str) = ("SHUTDOWN_DELAY", "1s");
/// Generous, because only a failing test uses it up.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The operation of every second client.
const COMMENT: &str =
    "mutation($id: ID!) { createComment(input: { postId: $id, text: \"written\" }) {
    comment { id } } }";
const QUERY: &str =
    "query($id: ID!) { post(id: $id) { title comments(first: 3) { edges { node { text } } } } }";
const CHANGES: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    __typename ... on CommentAdded { comment { id } } } }";

const FOLLOW: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    __typename ... on CommentAdded { comment { id text } } } }";

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
    let settings = [("PORT", &*port), DELAY];
    let mut instance = system.instance(service, &settings).await;
    instance.is_ready().await;
    instance
}

/// Clients that read, and write, until they are stopped. Each answer with an error is one of their errors.
struct Clients {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    /// Comments that were acknowledged.
    written: Arc<AtomicUsize>,
    errors: JoinSet<Vec<String>>,
}

impl Clients {
    /// Each has a connection of its own.
    fn start(url: &str, posts: &[String]) -> Self {
        let (is_over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let written = Arc::<AtomicUsize>::default();
        let mut errors = JoinSet::new();
        for client in 0..CLIENTS {
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            let writes = !client.is_multiple_of(2);
            let written = Arc::clone(&written);
            let (graphql, post) = (
                Graphql::new(url.to_owned()),
                posts[client % posts.len()].clone(),
            );
            errors.spawn(async move {
                let mut errors = Vec::new();
                let query = if writes { COMMENT } else { QUERY };
                let body = json!({"query": query, "variables": {"id": post}}).to_string();
                while !is_over.load(Ordering::Relaxed) {
                    match graphql.try_post(body.clone()).await {
                        Ok(answer) if answer.body["errors"].is_null() => {
                            written.fetch_add(usize::from(writes), Ordering::Relaxed);
                        }
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
            written,
            errors,
        }
    }

    /// Waits until each of them has had several answers more.
    async fn go_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually("the clients go on", || async {
            match self.answers.load(Ordering::Relaxed) {
                now if now >= before + 5 * CLIENTS => Ok(()),
                now => Err(format!("{before}, {now}")),
            }
        })
        .await;
    }

    /// None has had an error, and what they wrote is there once.
    async fn have_had_no_error(self, system: &System) {
        self.is_over.store(true, Ordering::Relaxed);
        let errors = self.errors.join_all().await.concat();
        let answers = self.answers.load(Ordering::Relaxed);
        assert!(
            errors.is_empty(),
            "{} of {answers}: {errors:?}",
            errors.len()
        );
        assert!(answers > CLIENTS * 10, "{answers}");
        let comments = system
            .database()
            .await
            .collection::<bson::Document>("comments");
        let there = comments.count_documents(doc! { "text": "written" }).await;
        let written = self.written.load(Ordering::Relaxed) as u64;
        assert_eq!(there.expect("a count"), written);
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
    for service in [Service::Posts, Service::Comments] {
        system.restart_with(service, &[DELAY]).await;
    }
    let ports = others.ports(&mut system, Service::Comments);
    let mut watched = Vec::new();
    for post in &posts {
        watched.push(Subscription::start(&graphql, CHANGES, json!({ "post": post })).await);
    }
    until_spread(&system, &ports).await;

    let clients = Clients::start(graphql.url(), &posts);
    for number in 0..others.0.len() {
        others.restart(&system, number).await;
        until_spread(&system, &ports).await;
    }
    for service in [Service::Posts, Service::Comments] {
        system.restart_with(service, &[DELAY]).await;
        until_spread(&system, &ports).await;
    }
    clients.have_had_no_error(&system).await;

    for (post, watched) in posts.iter().zip(&mut watched) {
        let last = graphql.create_comment(post, "after all").await;
        loop {
            let ClientEvent::Next(event) = watched.next().await else {
                panic!("a subscription has ended");
            };
            let change = &event["data"]["commentChanges"];
            assert_eq!(change["__typename"], "CommentAdded", "{event}");
            if change["comment"]["id"] == *last {
                break;
            }
        }
    }
}

/// Follows a post with a client that resumes, and returns the ids of its comments, in order, once it has the last one.
/// A gap is an id, too.
fn follow(url: &str, post: &str, transport: Transport, last: &str) -> JoinHandle<Vec<String>> {
    let client = Client::new(url).expect("a URL").transport(transport);
    let pauses = (Duration::from_millis(20), Duration::from_millis(200));
    let request = client
        .pauses(pauses.0, pauses.1)
        .subscribe(FOLLOW)
        .variables(json!({ "post": post }));
    let (mut changes, last) = (request.start(), last.to_owned());
    tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let next = timeout(TIME_LIMIT, changes.try_next()).await;
            match next.expect("an item in time").expect("no failure") {
                Some(Item::Event(event)) => {
                    let data: Value = event.data().expect("JSON");
                    let comment = &data["commentChanges"]["comment"];
                    if comment["text"] == *last {
                        return seen;
                    }
                    seen.push(comment["id"].as_str().expect("an id").to_owned());
                }
                // The first one says that it stands.
                Some(Item::Gap(gap)) if gap.is_first => {}
                Some(Item::Gap(_)) => seen.push("a gap".to_owned()),
                Some(_) => {}
                None => panic!("a subscription has ended"),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_restarted_behind_a_balancer_cost_no_client_an_error() {
    let system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let ports = [HeldPort::any(), HeldPort::any()];
    let mut gateways = Vec::new();
    for port in &ports {
        gateways.push(ready_at(&system, Service::Gateway, port).await);
    }
    let balancer = Balancer::start(ports.iter().map(HeldPort::address)).await;
    let balancer = balancer.expect("a balancer");
    let url = format!("http://{}/graphql", balancer.address());
    let transports = [
        Transport::WebSocket,
        Transport::ServerSentEvents,
        Transport::Multipart,
    ];
    let (mut posts, mut followers) = (Vec::new(), Vec::new());
    for transport in [transports, transports].concat() {
        let post = graphql.create_post("Followed").await;
        followers.push(follow(&url, &post, transport, "the last"));
        posts.push(post);
    }
    eventually("each gateway has connections", || async {
        match balancer.connections() {
            connections if connections.iter().all(|count| *count >= 3) => Ok(()),
            connections => Err(format!("{connections:?}")),
        }
    })
    .await;

    let clients = Clients::start(&url, &posts);
    for (gateway, port) in gateways.iter_mut().zip(&ports) {
        clients.go_on().await;
        gateway.process().stop().await.expect("its end");
        *gateway = ready_at(&system, Service::Gateway, port).await;
    }
    clients.go_on().await;
    clients.have_had_no_error(&system).await;

    let comments = system
        .database()
        .await
        .collection::<bson::Document>("comments");
    for (post, follower) in posts.iter().zip(followers) {
        graphql.create_comment(post, "the last").await;
        let seen = follower.await.expect("no panic");
        let of_post = ObjectId::parse_str(post).expect("an id");
        let of_post = doc! { "postId": of_post, "text": "written" };
        let there = comments.count_documents(of_post).await.expect("a count");
        let distinct: std::collections::HashSet<&String> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "one came twice");
        assert_eq!(seen.len() as u64, there, "{seen:?}");
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
