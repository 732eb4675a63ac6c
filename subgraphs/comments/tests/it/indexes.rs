//! Frequent queries use an index.

use bson::doc;
use comments::store::OptionalIndexes;
use subgraph::doctor::{self, Severity};

use crate::service::Comments;

#[tokio::test(flavor = "multi_thread")]
async fn a_posts_comments_are_read_from_an_index() {
    let comments = Comments::start().await;
    let (post, other) = (comments.post().await, comments.post().await);
    for text in ["A", "B"] {
        comments.comment(&post, text).await;
        comments.comment(&other, text).await;
    }
    let profile = comments.profile().await;
    assert_eq!(comments.texts(&post).await, ["B", "A"]);

    let list = doc! { "appName": "comments requests", "command.aggregate": "comments" };
    let list = profile.find_one(list).await.expect("a profile");
    let list = list.expect("the list's query");
    let plan = list.get_str("planSummary").expect("a plan");
    assert!(
        plan.starts_with("IXSCAN { postId: 1, createdAt: -1, _id: -1 }"),
        "{plan}"
    );
    assert_eq!(list.get_i32("docsExamined").expect("a number"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_that_the_queries_need_is_there() {
    let comments = Comments::start().await;
    comments.ready().await;
    comments.replies_are_indexed().await;
    for optional in [false, true] {
        let optional = OptionalIndexes {
            authors: optional,
            writers: optional,
        };
        let database = comments.database.database();
        comments::store::create_indexes(database, optional)
            .await
            .expect("created");
        let database = comments.database.database();
        // What `comments --doctor` misses, if it is not there.
        let expected = comments::doctor::expected(optional);
        for collection in &expected {
            let name = collection.collection;
            let mut made = doctor::indexes(&database, name).await.expect("indexes");
            made.sort_unstable();
            let mut known: Vec<_> = collection.indexes.iter().map(|it| it.keys).collect();
            known.sort_unstable();
            assert_eq!(made, known, "{name}");
        }
        let findings = doctor::findings(&database, &expected).await;
        for collection in &expected {
            let of_it = format!("{}:", collection.collection);
            let finding = findings.iter().find(|it| it.what.starts_with(&of_it));
            let severity = finding.map(|finding| finding.severity);
            assert_eq!(severity, Some(Severity::Fine), "{findings:#?}");
        }
    }
}
