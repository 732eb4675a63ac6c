//! Who may write what, through the gateway, with tokens.

use e2e::{Answer, ClientEvent, Graphql, Service, Subscription, System, Tokens, eventually};
use embedded_mongo::{TestDatabase, test_database};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::PROGRAM;

const SECRET: (&str, &str) = ("SUBGRAPH_SECRET", "0123456789abcdef0123456789abcdef");
const GUESTS_CREATE: (&str, &str) = ("ANONYMOUS_WRITES", "create");
/// What both subgraphs say of the viewer's rights, in one answer.
const RIGHTS: &str = "query($id: ID!) { viewer { id name isModerator } post(id: $id) {
    authorId writtenByGuest viewerCanEdit viewerCanDelete
    comments(first: 1) { edges { node { authorId viewerCanEdit viewerCanDelete } } }
    latestComments(first: 1) { author authorId viewerCanEdit }
} }";

/// A system whose subgraphs know who is signed in, and its provider.
pub(crate) struct Signed {
    pub(crate) system: System,
    tokens: Tokens,
    /// Dropped last: the services use it.
    _database: Option<TestDatabase>,
}

impl Signed {
    pub(crate) async fn start() -> Self {
        // Subgraphs' errors have to reach clients all the same.
        Self::start_with(("DEVELOPMENT", "false")).await
    }

    async fn start_with(more: (&'static str, &str)) -> Self {
        let database = test_database().await;
        let started = Self::start_on(database.uri().to_owned(), more).await;
        Self {
            _database: Some(database),
            ..started
        }
    }

    /// Where comments are held as `HOLD_COMMENTS` says.
    pub(crate) async fn start_holding(which: &str) -> Self {
        let database = test_database().await;
        let uri = database.uri().to_owned();
        let hold = [("HOLD_COMMENTS", which)];
        let started = Self::start_services(uri, ("DEVELOPMENT", "false"), &hold).await;
        Self {
            _database: Some(database),
            ..started
        }
    }

    pub(crate) async fn start_on(uri: String, more: (&'static str, &str)) -> Self {
        Self::start_services(uri, more, &[]).await
    }

    /// With more settings of the gateway, and of comments.
    async fn start_services(
        uri: String,
        more: (&'static str, &str),
        of_comments: &[(&str, &str)],
    ) -> Self {
        let mut system = System::new(PROGRAM, uri);
        let tokens = Tokens::make().expect("a provider");
        let jwks = tokens.jwks().to_str().expect("a path").to_owned();
        let identity = [
            SECRET,
            ("JWT_JWKS", &*jwks),
            ("SUBGRAPH_CLAIMS", "sub, name, scope"),
            ("VIEWER_TAGS", "posts, comments"),
            more,
        ];
        let settings = [SECRET, GUESTS_CREATE];
        system.run_with(Service::Posts, &settings).await;
        let of_comments = [&settings, of_comments].concat();
        system.run_with(Service::Comments, &of_comments).await;
        system.run_with(Service::Gateway, &identity).await;
        system.run_all().await;
        Self {
            system,
            tokens,
            _database: None,
        }
    }

    /// Starts a subgraph again.
    pub(crate) async fn run_again(&mut self, subgraph: Service) {
        let settings = [SECRET, GUESTS_CREATE];
        self.system.run_with(subgraph, &settings).await;
        self.system.ready(subgraph).await;
    }

    pub(crate) fn guest(&self) -> Graphql {
        self.system.graphql().clone()
    }

    pub(crate) fn person(&self, sub: &str, name: &str, scope: &str) -> Graphql {
        let claims = json!({ "sub": sub, "name": name, "scope": scope });
        let authorization = self.tokens.authorization(claims);
        self.guest().with_header("authorization", &authorization)
    }
}

async fn edit_comment(by: &Graphql, id: &str) -> Answer {
    let edit = "mutation($id: ID!) {
        updateComment(input: { id: $id, text: \"After\" }) { comment { text } }
    }";
    by.ask(edit, json!({ "id": id })).await
}

async fn edit_post(by: &Graphql, id: &str) -> Answer {
    let edit = "mutation($id: ID!) {
        updatePost(input: { id: $id, title: \"After\" }) { post { title } }
    }";
    by.ask(edit, json!({ "id": id })).await
}

async fn delete_post(by: &Graphql, id: &str) -> Answer {
    let delete = "mutation($id: ID!) { deletePost(input: { id: $id }) { id } }";
    by.ask(delete, json!({ "id": id })).await
}

/// What a viewer may do with Ann's post and its comment.
fn rights(viewer: Value, may: bool) -> Value {
    let comment = json!({ "authorId": "ann", "viewerCanEdit": may, "viewerCanDelete": may });
    json!({ "viewer": viewer, "post": {
        "authorId": "ann", "writtenByGuest": false, "viewerCanEdit": may, "viewerCanDelete": may,
        "comments": { "edges": [{ "node": comment }] },
        "latestComments": [{ "author": "Ann", "authorId": "ann", "viewerCanEdit": may }],
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_belong_to_who_wrote_them() {
    let signed = Signed::start().await;
    let (ann, bob) = (
        signed.person("ann", "Ann", "read"),
        signed.person("bob", "Bob", ""),
    );
    let eve = signed.person("eve", "Eve", "read moderate");
    let guest = signed.guest();
    let post = ann.create_post("Ann's").await;
    let comment = ann.create_comment(&post, "Ann's").await;
    eventually("the post shows the comment", || async {
        let read = ann.data(RIGHTS, json!({ "id": post })).await;
        let is_shown = read["post"]["latestComments"][0].is_object();
        is_shown.then_some(()).ok_or(read.to_string())
    })
    .await;

    // Each viewer asks the same, at the same moment, many times: requests of different people are never shared.
    let viewer = |id: &str, name: &str, is_moderator: bool| json!({ "id": id, "name": name, "isModerator": is_moderator });
    let viewers = [
        (&ann, rights(viewer("ann", "Ann", false), true)),
        (&bob, rights(viewer("bob", "Bob", false), false)),
        (&eve, rights(viewer("eve", "Eve", true), true)),
        (&guest, rights(Value::Null, false)),
    ];
    for _ in 0..20 {
        let asked = viewers.iter().cycle().take(40);
        let asked = asked.map(|(viewer, expected)| {
            let variables = json!({ "id": post });
            async move { assert_eq!(viewer.data(RIGHTS, variables).await, *expected) }
        });
        join_all(asked).await;
    }

    for (by, code) in [(&bob, "FORBIDDEN"), (&guest, "UNAUTHENTICATED")] {
        let refused = [
            edit_comment(by, &comment).await,
            edit_post(by, &post).await,
            delete_post(by, &post).await,
        ];
        for answer in refused {
            assert_eq!(answer.codes(), [code], "{}", answer.body);
            let message = answer.body["errors"][0]["message"].as_str();
            let message = message.unwrap_or_default();
            assert!(message.contains("author or a moderator"), "{message}");
        }
    }
    for by in [&ann, &eve] {
        for answer in [edit_comment(by, &comment).await, edit_post(by, &post).await] {
            assert!(answer.body["errors"].is_null(), "{}", answer.body);
        }
    }
    // A guest's own belongs to moderators.
    let guests = guest.create_comment(&post, "A guest's").await;
    assert_eq!(
        edit_comment(&guest, &guests).await.codes(),
        ["UNAUTHENTICATED"]
    );
    assert_eq!(edit_comment(&ann, &guests).await.codes(), ["FORBIDDEN"]);
    eve.delete_comment(&guests).await;
    let deleted = delete_post(&ann, &post).await;
    assert!(deleted.body["errors"].is_null(), "{}", deleted.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_sends_as_claims_counts_for_nothing() {
    let signed = Signed::start().await;
    let claims = json!({ "sub": "eve", "scope": "moderate" });
    // {"sub":"eve","scope":"moderate"}
    let encoded = "eyJzdWIiOiJldmUiLCJzY29wZSI6Im1vZGVyYXRlIn0";
    let forged = signed.guest().with_header("rejoinder-claims", encoded);
    let query = "{ viewer { id } }";
    for client in [&forged, &signed.guest()] {
        let request = json!({ "query": query, "extensions": { "claims": claims } });
        let answer = client.post(request.to_string()).await;
        assert_eq!(answer.body, json!({ "data": { "viewer": null } }));
        let mut over_socket = Subscription::start_with(client, &request).await;
        assert_eq!(over_socket.next_data().await, json!({ "viewer": null }));
    }
    let bob = signed.person("bob", "Bob", "read");
    let bob = bob.with_header("rejoinder-claims", encoded);
    assert_eq!(
        bob.data(query, json!({})).await,
        json!({ "viewer": { "id": "bob" } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_names_nobody_usable_is_refused_with_its_reason() {
    let signed = Signed::start().await;
    let long = signed.person(&"x".repeat(300), "Long", "");
    let refused = long.ask("{ viewer { id } }", json!({})).await;
    assert_eq!(refused.codes(), ["CLAIMS_REFUSED"], "{}", refused.body);
    let message = refused.body["errors"][0]["message"].to_string();
    assert!(message.contains("`sub` has 300 bytes"), "{message}");
    let input = json!({ "input": { "title": "Title", "content": "Content" } });
    let create = "mutation($input: CreatePostInput!) { createPost(input: $input) { post { id } } }";
    let refused = long.ask(create, input).await;
    assert_eq!(refused.codes(), ["CLAIMS_REFUSED"], "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_get_their_own_rights() {
    let signed = Signed::start().await;
    let ann = signed.person("ann", "Ann", "");
    let eve = signed.person("eve", "Eve", "moderate");
    let bob = signed.person("bob", "Bob", "");
    let post = ann.create_post("Watched").await;
    let cursor = "query($id: ID!) { post(id: $id) { commentChangesCursor } }";
    let cursor =
        ann.data(cursor, json!({ "id": post })).await["post"]["commentChangesCursor"].take();
    // The post's rights are resolved by the other subgraph, for each subscriber.
    let changes = "subscription($post: ID!, $after: String) {
        commentChanges(postId: $post, after: $after) { ... on CommentAdded { comment {
            authorId viewerCanEdit viewerCanDelete post { viewerCanEdit }
        } } }
    }";
    let request = json!({ "query": changes, "variables": { "post": post, "after": cursor } });
    let guest = signed.guest();
    let viewers = [(&ann, true), (&bob, false), (&eve, true), (&guest, false)];
    let mut subscriptions = Vec::new();
    for (viewer, may) in viewers {
        subscriptions.push((Subscription::start_with(viewer, &request).await, may));
    }
    ann.create_comment(&post, "Ann's").await;
    for (subscription, may) in &mut subscriptions {
        let event = subscription.next().await;
        let ClientEvent::Next(result) = &event else {
            panic!("{event:?}")
        };
        let expected = json!({ "commentChanges": { "comment": {
            "authorId": "ann", "viewerCanEdit": *may, "viewerCanDelete": *may,
            "post": { "viewerCanEdit": *may },
        } } });
        assert_eq!(*result, json!({ "data": expected }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_readers_share_what_does_not_depend_on_who_asks() {
    // With metrics.
    let signed = Signed::start_with(("DEVELOPMENT", "true")).await;
    let ann = signed.person("ann", "Ann", "");
    let post = ann.create_post("Read by many").await;
    let changes = "subscription($post: ID!) {
        commentAdded(postId: $post) { text authorId writtenByGuest post { title authorId } }
    }";
    let mut subscriptions = Vec::new();
    for number in 0..5 {
        let reader = signed.person(&format!("reader-{number}"), "A reader", "");
        subscriptions.push(Subscription::start(&reader, changes, json!({ "post": post })).await);
    }
    let metric = async |service, name, expected: f64| {
        eventually(name, || async {
            let value = signed.system.metric(service, name).await;
            (value == expected).then_some(()).ok_or(value.to_string())
        })
        .await;
    };
    metric(Service::Gateway, "gateway_subscriptions", 5.0).await;
    // A guest has no claims, and shares it, too.
    subscriptions.push(Subscription::comments_of(&signed.guest(), changes, &post).await);
    metric(Service::Gateway, "gateway_subscriptions", 6.0).await;
    for (service, name) in [
        (Service::Gateway, "gateway_upstream_subscriptions"),
        (Service::Comments, "changefeed_hub_subscribers"),
    ] {
        assert_eq!(signed.system.metric(service, name).await, 1.0, "{name}");
    }
    for subscription in &mut subscriptions[..5] {
        let event = subscription.next_data().await;
        let text = event["commentAdded"]["text"].to_string();
        assert!(text.contains("warm-up"), "{event}");
    }
}
