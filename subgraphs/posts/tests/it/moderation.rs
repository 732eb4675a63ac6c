//! What moderators do to posts of others leaves a line in `moderationActs`, together with the change; what anybody does
//! to their own leaves none.

use bson::oid::ObjectId;
use bson::{Document, doc};
use clap::Parser;
use embedded_mongo::{Options, ReplicaSet};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use insta::assert_json_snapshot;
use mongodb::{Client, Collection, Database};
use serde_json::{Value, json};
use subgraph::testing::{SECRET, Signed, TestService};

use crate::service::Posts;

const NAME: &str = "posts";
/// What the driver says of itself where the service serves requests.
const REQUESTS: &str = "posts requests";
const CREATE: &str = "mutation { createPost(input: { title: \"Title\", content: \"Content\" }) {
    post { id updatedAt }
} }";
const EDIT: &str = "mutation ($input: UpdatePostInput!) { updatePost(input: $input) {
    post { id title updatedAt }
} }";
const DELETE: &str = "mutation ($id: ID!, $reason: String) {
    deletePost(input: { id: $id, reason: $reason }) { id }
}";

async fn start(anonymous_writes: &str) -> Posts {
    let database = embedded_mongo::test_database().await;
    let secret = format!("--subgraph-secret={SECRET}");
    let writes = format!("--anonymous-writes={anonymous_writes}");
    Posts::start_on_with(database, &[&secret, &writes]).await
}

fn named<'p>(posts: &'p TestService, id: &str) -> Signed<'p> {
    posts.person(NAME, &json!({ "sub": id, "name": id }))
}

/// A moderator.
fn eve(posts: &TestService) -> Signed<'_> {
    let claims = json!({ "sub": "eve", "name": "Eve", "scope": "moderate" });
    posts.person(NAME, &claims)
}

async fn created(by: &Signed<'_>) -> Value {
    by.data(CREATE, json!({})).await["createPost"]["post"].take()
}

fn edit(id: &Value, title: &str) -> Value {
    json!({ "input": { "id": id, "title": title } })
}

fn object_id(id: &Value) -> ObjectId {
    ObjectId::parse_str(id.as_str().expect("an id")).expect("an id")
}

/// The lines that are there, in order, without the times.
async fn lines(database: &Database) -> Vec<Document> {
    let acts = database.collection::<Document>("moderationActs");
    let found = acts.find(doc! {}).sort(doc! { "_id": 1 }).await;
    let mut lines: Vec<Document> = found.expect("found").try_collect().await.expect("read");
    for line in &mut lines {
        assert!(line.remove("_id").is_some());
        let at = line.remove("at").expect("a time");
        assert!(at.as_datetime().is_some(), "{at}");
    }
    lines
}

async fn count(of: &Collection<Document>, filter: Document) -> u64 {
    of.count_documents(filter).await.expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_no_line() {
    let posts = start("create").await;
    let (ann, bob, eve) = (named(&posts, "ann"), named(&posts, "bob"), eve(&posts));
    let post = created(&ann).await;
    let id = &post["id"];
    let missing = json!("65f0c0ffee65f0c0ffee65f0");
    for (by, id, code) in [
        (&bob, id, "FORBIDDEN"),
        (&posts.guest(NAME), id, "UNAUTHENTICATED"),
        (&eve, &missing, "NOT_FOUND"),
    ] {
        assert_eq!(by.error_code(EDIT, edit(id, "Other")).await, code);
        let reason = json!({ "id": id, "reason": "spam" });
        assert_eq!(by.error_code(DELETE, reason).await, code);
    }
    let stale = json!({ "input": {
        "id": id, "title": "Other", "ifUpdatedAt": "2001-01-01T00:00:00Z", "reason": "rude",
    } });
    assert_eq!(eve.error_code(EDIT, stale).await, "CONFLICT");
    for reason in [String::new(), " ".to_owned(), "x".repeat(501)] {
        let input = json!({ "input": { "id": id, "title": "Other", "reason": reason } });
        assert_eq!(eve.error_code(EDIT, input).await, "BAD_USER_INPUT");
        let input = json!({ "id": id, "reason": reason });
        assert_eq!(eve.error_code(DELETE, input).await, "BAD_USER_INPUT");
    }
    let blocks = posts.collection("blockedAuthors");
    let blocked = blocks.insert_one(doc! { "_id": "eve" }).await;
    blocked.expect("blocked");
    let refused = eve.error_code(EDIT, edit(id, "Other")).await;
    assert_eq!(refused, "FORBIDDEN");
    let refused = eve.error_code(DELETE, json!({ "id": id })).await;
    assert_eq!(refused, "FORBIDDEN");

    assert_eq!(lines(&posts.database.database()).await, [] as [Document; 0]);
    let as_it_was = doc! { "_id": object_id(id), "title": "Title" };
    assert_eq!(count(&posts.collection("posts"), as_it_was).await, 1);
    assert_eq!(count(&posts.collection("deletedPosts"), doc! {}).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_leaves_a_line_whoever_else_may_change_the_post() {
    let mut found = Vec::new();
    for anonymous_writes in ["create", "change"] {
        let posts = start(anonymous_writes).await;
        let eve = eve(&posts);
        let of_ann = created(&named(&posts, "ann")).await["id"].take();
        let of_guest = created(&posts.guest(NAME)).await["id"].take();
        let of_nobody = ObjectId::new();
        let stored = posts.collection("posts");
        let ownerless = doc! { "_id": of_nobody, "title": "Title", "content": "Content" };
        stored.insert_one(ownerless).await.expect("inserted");
        let of_nobody = json!(of_nobody.to_hex());
        let input = json!({ "input": { "id": of_ann, "title": "Tidy", "reason": "rude" } });
        let edited = eve.data(EDIT, input).await;
        assert_eq!(edited["updatePost"]["post"]["title"], "Tidy");
        eve.data(EDIT, edit(&of_guest, "Tidy")).await;
        eve.data(DELETE, json!({ "id": of_ann, "reason": "spam" }))
            .await;
        eve.data(DELETE, json!({ "id": of_guest })).await;
        eve.data(DELETE, json!({ "id": of_nobody })).await;
        assert_eq!(count(&stored, doc! {}).await, 0);

        let ids = [&of_ann, &of_guest, &of_ann, &of_guest, &of_nobody].map(object_id);
        let marks = posts.collection("deletedPosts");
        assert_eq!(count(&marks, doc! { "_id": { "$in": ids } }).await, 3);
        let mut lines = lines(&posts.database.database()).await;
        for (line, id) in lines.iter_mut().zip(ids) {
            assert_eq!(line.remove("postId"), Some(id.into()));
            assert_eq!(line.remove("by"), Some("eve".into()));
            assert_eq!(line.remove("name"), Some("Eve".into()));
        }
        found.push(lines);
    }
    assert_eq!(found[0], found[1]);
    assert_json_snapshot!(found[0], @r#"
        [
          {
            "act": "EDIT_POST",
            "reason": "rude",
            "authorId": "ann"
          },
          {
            "act": "EDIT_POST"
          },
          {
            "act": "DELETE_POST",
            "reason": "spam",
            "authorId": "ann"
          },
          {
            "act": "DELETE_POST"
          },
          {
            "act": "DELETE_POST"
          }
        ]
        "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_is_changed_in_one_write_without_a_line() {
    let posts = start("change").await;
    let stored = posts.collection("posts");
    let profile = posts.profile().await;
    let in_transaction = doc! { "appName": REQUESTS, "command.startTransaction": true };
    let reason = "counts for nothing";
    for by in [named(&posts, "ann"), eve(&posts), posts.guest(NAME)] {
        let id = created(&by).await["id"].take();
        // A moderator's change of a guest's post is an act.
        let input = json!({ "input": { "id": id, "title": "Mine", "reason": reason } });
        by.data(EDIT, input).await;
        by.data(DELETE, json!({ "id": id, "reason": reason })).await;
        assert_eq!(count(&stored, doc! { "_id": object_id(&id) }).await, 0);
    }
    assert_eq!(lines(&posts.database.database()).await, [] as [Document; 0]);
    assert_eq!(count(&profile, in_transaction.clone()).await, 0);
    let id = created(&named(&posts, "ann")).await["id"].take();
    eve(&posts).data(DELETE, json!({ "id": id })).await;
    assert_eq!(count(&profile, in_transaction).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_again_leaves_one_line() {
    let posts = start("create").await;
    let eve = eve(&posts);
    let post = created(&named(&posts, "ann")).await;
    let id = &post["id"];
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(eve.data(EDIT, edit(id, "Tidy")).await);
    }
    assert_eq!(answers[0], answers[1], "the second one changes nothing");
    let seen = &answers[0]["updatePost"]["post"]["updatedAt"];
    let again = json!({ "input": { "id": id, "title": "Tidy", "ifUpdatedAt": seen } });
    assert_eq!(eve.data(EDIT, again).await, answers[0]);
    let first = json!({ "input": {
        "id": id, "title": "Tidy", "ifUpdatedAt": post["updatedAt"],
    } });
    assert_eq!(eve.error_code(EDIT, first).await, "CONFLICT");
    let deletions = (0..6).map(|_| eve.graphql(DELETE, json!({ "id": id })));
    let deletions = join_all(deletions).await;
    let done = deletions.iter().filter(|it| it.get("errors").is_none());
    assert_eq!(done.count(), 1, "{deletions:#?}");
    let acts = lines(&posts.database.database()).await;
    let acts = acts.iter().map(|line| line.get_str("act").expect("an act"));
    assert_eq!(acts.collect::<Vec<_>>(), ["EDIT_POST", "DELETE_POST"]);
}

/// A posts service on a server of its own, at which commands can be made to fail.
pub struct Faulty {
    pub posts: TestService,
    pub set: ReplicaSet,
    database: Database,
}

impl Faulty {
    pub async fn start() -> Self {
        let set = ReplicaSet::start(Options::default()).await;
        let set = set.expect("a server");
        let uri = set.uri_for("acts");
        let secret = format!("--subgraph-secret={SECRET}");
        let flags = ["posts", "--anonymous-writes=create", "--mongo-uri", &uri];
        let config = posts::Config::parse_from(flags.into_iter().chain([secret.as_str()]));
        let run = |listener, lifecycle| posts::run(config, listener, lifecycle);
        let posts = TestService::start(run).await;
        posts.ready().await;
        let client = Client::with_uri_str(&uri).await.expect("a client");
        Self {
            posts,
            set,
            database: client.database("acts"),
        }
    }

    /// Makes these commands of requests fail on a collection, once.
    async fn fail(&self, command: &str, collection: &str, mut failure: Document) {
        failure.insert("namespace", format!("acts.{collection}"));
        let commands = [command];
        let set = self.set.fail_commands(REQUESTS, &commands, failure, 1);
        set.await.expect("a fail point");
    }

    /// Holds the next such command for a while; returns how often the fail point has struck before.
    async fn hold(&self, command: &str, collection: &str) -> i32 {
        let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let before = self.set.admin_command(0, off).await.expect("off");
        let held = doc! { "blockConnection": true, "blockTimeMS": 2_000 };
        self.fail(command, collection, held).await;
        before.get_i32("count").expect("a count")
    }

    /// Gives the post to somebody else while a command is held.
    async fn give_away(&self, struck_before: i32, id: &Value, owner: &str) {
        let wait = doc! {
            "waitForFailPoint": "failCommand", "timesEntered": struck_before + 1,
            "maxTimeMS": 30_000,
        };
        self.set.admin_command(0, wait).await.expect("held");
        let given = doc! { "$set": { "authorId": owner } };
        let posts = self.database.collection::<Document>("posts");
        let update = posts.update_one(doc! { "_id": object_id(id) }, given);
        assert_eq!(update.await.expect("given").modified_count, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_line_an_act_is_not_done_and_a_lost_connection_doubles_none() {
    let faulty = Faulty::start().await;
    let (posts, database) = (&faulty.posts, &faulty.database);
    let eve = eve(posts);
    let stored = database.collection::<Document>("posts");
    let marks = database.collection::<Document>("deletedPosts");
    let id = created(&named(posts, "ann")).await["id"].take();
    let delete = json!({ "id": id });
    for (mutation, input) in [(EDIT, edit(&id, "Tidy")), (DELETE, delete.clone())] {
        let refused = doc! { "errorCode": 13 };
        faulty.fail("insert", "moderationActs", refused).await;
        let code = eve.error_code(mutation, input).await;
        assert_eq!(code, "INTERNAL_SERVER_ERROR");
    }
    let as_it_was = doc! { "_id": object_id(&id), "title": "Title" };
    assert_eq!(count(&stored, as_it_was).await, 1);
    assert_eq!(count(&marks, doc! {}).await, 0);
    assert_eq!(lines(database).await, [] as [Document; 0]);

    // Nobody knows what the server has done: the transaction is made again.
    for (mutation, input) in [(EDIT, edit(&id, "Tidy")), (DELETE, delete)] {
        let lost = doc! { "closeConnection": true };
        faulty.fail("insert", "moderationActs", lost).await;
        eve.data(mutation, input).await;
    }
    assert_eq!(lines(database).await.len(), 2);
    assert_eq!(count(&stored, doc! {}).await, 0);
    assert_eq!(count(&marks, doc! {}).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_the_post_is_at_the_write_decides() {
    let faulty = Faulty::start().await;
    let eve = eve(&faulty.posts);
    let own = created(&eve).await["id"].take();
    // It is hers when she begins, and Ann's when it is changed.
    let before = faulty.hold("findAndModify", "posts").await;
    let (_, ()) = tokio::join!(
        eve.data(EDIT, edit(&own, "Tidy")),
        faulty.give_away(before, &own, "ann"),
    );
    assert_eq!(lines(&faulty.database).await.len(), 1);
    let own = created(&eve).await["id"].take();
    let before = faulty.hold("update", "deletedPosts").await;
    let (_, ()) = tokio::join!(
        eve.data(DELETE, json!({ "id": own })),
        faulty.give_away(before, &own, "ann"),
    );
    let acts = lines(&faulty.database).await;
    assert_eq!(acts.len(), 2);
    assert_eq!(acts[1].get_str("authorId").ok(), Some("ann"));
    // It is Ann's when she begins, and hers when it is deleted.
    let id = created(&named(&faulty.posts, "ann")).await["id"].take();
    let before = faulty.hold("findAndModify", "posts").await;
    let (_, ()) = tokio::join!(
        eve.data(DELETE, json!({ "id": id })),
        faulty.give_away(before, &id, "eve"),
    );
    assert_eq!(lines(&faulty.database).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_a_transaction_holds_is_refused_in_time() {
    let posts = start("create").await;
    let ann = named(&posts, "ann");
    let id = created(&ann).await["id"].take();
    let mut session = posts.database.client().start_session().await;
    let session = session.as_mut().expect("a session");
    session.start_transaction().await.expect("started");
    let stored = posts.collection("posts");
    let likes = doc! { "$set": { "likes": 1 } };
    let update = stored.update_one(doc! { "_id": object_id(&id) }, likes);
    update.session(&mut *session).await.expect("updated");
    let delete = json!({ "id": id });
    let (eve, began) = (eve(&posts), std::time::Instant::now());
    let refused = tokio::join!(
        ann.error_code(EDIT, edit(&id, "Other")),
        ann.error_code(DELETE, delete.clone()),
        eve.error_code(DELETE, delete.clone()),
    );
    let overloaded = || "OVERLOADED".to_owned();
    assert_eq!(refused, (overloaded(), overloaded(), overloaded()));
    let lock_time = std::time::Duration::from_secs(30);
    assert!(began.elapsed() < lock_time, "the lock's time");
    session.abort_transaction().await.expect("aborted");
    eve.data(DELETE, delete).await;
    assert_eq!(lines(&posts.database.database()).await.len(), 1);
}
