//! Subgraphs that know their gateway by a secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use e2e::{Graphql, Service, Subscription, System, eventually};
use embedded_mongo::test_database;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::PROGRAM;

const SECRET: (&str, &str) = ("SUBGRAPH_SECRET", "0123456789abcdef0123456789abcdef");
const COMMENT_ADDED: &str =
    "subscription($post: ID!) { commentAdded(postId: $post) { text post { title } } }";

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_the_gateway_is_answered_and_nobody_else() {
    let database = test_database().await;
    let mut system = System::new(PROGRAM, database.uri().to_owned());
    for service in [Service::Posts, Service::Comments, Service::Gateway] {
        system.run_with(service, &[SECRET]).await;
    }
    system.run_all().await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Signed").await;
    let mut added = Subscription::comments_of(&graphql, COMMENT_ADDED, &post).await;
    graphql.create_comment(&post, "one").await;
    let expected = json!({"commentAdded": {"text": "one", "post": {"title": "Signed"}}});
    assert_eq!(added.next_data().await, expected);

    for service in [Service::Posts, Service::Comments] {
        let direct = Graphql::new(system.process(service).url("/graphql"));
        for query in ["{ __typename }", "{ _service { sdl } }"] {
            let answer = direct.ask(query, json!({})).await;
            assert_eq!(answer.status, 403, "{query}: {}", answer.body);
            let code = &answer.body["errors"][0]["extensions"]["code"];
            assert_eq!(code, "SIGNATURE_REFUSED");
        }
    }
}

/// Listens between the gateway and a subgraph: passes everything on, and keeps it.
struct Recorder {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Recorded>>>>,
    _tasks: JoinSet<()>,
}

/// The bytes of one connection.
#[derive(Default)]
struct Recorded {
    requests: Mutex<Vec<u8>>,
    responses: Mutex<Vec<u8>>,
}

impl Recorder {
    async fn before(subgraph: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::<Mutex<Vec<Arc<Recorded>>>>::default();
        let all = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut copies = JoinSet::new();
            while let Ok((gateway, _)) = listener.accept().await {
                let recorded = Arc::<Recorded>::default();
                all.lock()
                    .expect("not poisoned")
                    .push(Arc::clone(&recorded));
                copies.spawn(async move {
                    let subgraph = TcpStream::connect(subgraph).await.expect("a connection");
                    let (gateway_reads, gateway_writes) = gateway.into_split();
                    let (subgraph_reads, subgraph_writes) = subgraph.into_split();
                    tokio::join!(
                        copy(gateway_reads, subgraph_writes, &recorded.requests),
                        copy(subgraph_reads, gateway_writes, &recorded.responses),
                    );
                });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/graphql", self.address)
    }

    /// The whole request that contains a text, once a response with this start has come.
    async fn request_with(&self, text: &str, response: &str) -> Vec<u8> {
        let find = || {
            let connections = self.connections.lock().expect("not poisoned");
            connections.iter().find_map(|connection| {
                let responses = connection.responses.lock().expect("not poisoned");
                position(&responses, response)?;
                request_in(&connection.requests.lock().expect("not poisoned"), text)
            })
        };
        eventually("the request is recorded", || async {
            find().ok_or_else(|| text.to_owned())
        })
        .await
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    recorded: &Mutex<Vec<u8>>,
) {
    let mut piece = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let bytes = &piece[..count];
        recorded
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    let mut windows = bytes.windows(text.len());
    windows.position(|window| window == text.as_bytes())
}

/// Of the requests on a connection, the one that contains a text, if it is there wholly.
fn request_in(mut requests: &[u8], text: &str) -> Option<Vec<u8>> {
    loop {
        let end = position(requests, "\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&requests[..end]);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        let request = requests.get(..end + length)?;
        if position(request, text).is_some() {
            return Some(request.to_vec());
        }
        requests = &requests[request.len()..];
    }
}

/// Sends a recorded request once more, and returns the status.
async fn status_of(request: &[u8], to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    stream.write_all(request).await.expect("sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("a response");
    String::from_utf8_lossy(&status).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_before_one_subgraph_is_worth_nothing_at_any() {
    let database = test_database().await;
    let mut system = System::new(PROGRAM, database.uri().to_owned());
    system.run_with(Service::Posts, &[]).await;
    system.run_with(Service::Comments, &[SECRET]).await;
    // Posts has its own key only.
    let secret = format!("--subgraph-secret={}", SECRET.1);
    let flags = [secret.as_str(), "--print-signing-key=posts"];
    let key = system.command(Service::Gateway, &flags).await;
    system.kill(Service::Posts).await;
    system
        .run_with(Service::Posts, &[("SUBGRAPH_SECRET", &key)])
        .await;
    let posts = system.process(Service::Posts).address();
    let comments = system.process(Service::Comments).address();
    let recorder = Recorder::before(posts).await;
    let settings = [
        SECRET,
        ("SUBGRAPH_URL_POSTS", &recorder.url()),
        ("FORWARD_HEADERS", "authorization"),
    ];
    system.run_with(Service::Gateway, &settings).await;
    system.run_all().await;
    let graphql = system.graphql().clone();
    let client = reqwest::Client::new().post(graphql.url());
    let client = client.header("content-type", "application/json");
    let client = client.header("authorization", "Bearer of-the-client");
    let create =
        "mutation { createPost(input: {title: \"Once\", content: \"Content\"}) { post { id } } }";
    let created = client.body(json!({ "query": create }).to_string());
    let created = created.send().await.expect("a response");
    assert_eq!(created.status(), 200);
    let subscription = "subscription { postAdded { title } }";
    let _added = Subscription::start(&graphql, subscription, json!({})).await;

    let upgrade = recorder.request_with("GET /graphql", "HTTP/1.1 101").await;
    let mutation = recorder.request_with("createPost", "HTTP/1.1 200").await;
    let sent = String::from_utf8_lossy(&mutation);
    assert!(
        sent.contains("authorization: Bearer of-the-client\r\n"),
        "{sent}"
    );
    for request in [&upgrade, &mutation] {
        for to in [posts, comments] {
            assert_eq!(status_of(request, to).await, "HTTP/1.1 403");
        }
    }
    let query = "{ posts { edges { node { title } } } }";
    let titles = graphql.data(query, json!({})).await;
    let expected = json!({"posts": {"edges": [{"node": {"title": "Once"}}]}});
    assert_eq!(titles, expected);
}
