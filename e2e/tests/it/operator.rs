//! The operators' commands of the posts program, with a running service and without one.

use bson::oid::ObjectId;
use bson::{Document, doc};
use e2e::{Graphql, Service, System, assert_projected};
use mongodb::Database;

use crate::PROGRAM;

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_by_command_is_done_by_the_leader_or_by_the_command_itself() {
    let mut system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql().clone(), system.database().await);
    let post = graphql.create_post("Rebuilt").await;
    graphql.create_comment(&post, "kept").await;
    assert_projected(&graphql, &post).await;

    let told = system.command(Service::Posts, &["--rebuild"]).await;
    assert!(told.starts_with("rebuilt in "), "{told}");
    assert!(told.ends_with("generation 2 serves instead of 1"), "{told}");
    assert_eq!(serving(&database).await, 2);
    system
        .logged(
            Service::Posts,
            "the new build of the projection is complete and serves from now on",
        )
        .await;
    assert_eq!(assert_projected(&graphql, &post).await, 1);

    system.kill(Service::Posts).await;
    graphql.create_comment(&post, "while none runs").await;
    let told = system.command(Service::Posts, &["--rebuild"]).await;
    assert!(told.ends_with("generation 3 serves instead of 2"), "{told}");
    assert_eq!(serving(&database).await, 3);
    system.run(Service::Posts).await;
    assert_eq!(assert_projected(&graphql, &post).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_replayed_by_command() {
    let system = System::start(PROGRAM).await;
    let (graphql, database) = (system.graphql(), system.database().await);
    let post = graphql.create_post("Repaired").await;
    graphql.create_comment(&post, "first").await;
    assert_eq!(assert_projected(graphql, &post).await, 1);
    let comments = spoil_until_dead_letter(graphql, &database, &post).await;
    let told = system
        .command(Service::Posts, &["--replay-dead-letters"])
        .await;
    assert_eq!(told, "dead letters: 1 replayed, 0 remaining");
    assert_eq!(dead_letters(&database).await, 0);
    assert_eq!(assert_projected(graphql, &post).await, comments);
}

/// Spoils what the projection keeps in the post, so that the next change cannot be applied there; returns how
/// many comments the post has then. A new post's comments are looked up once more when it is new: where that
/// heals the post before the change comes, it is spoiled again.
async fn spoil_until_dead_letter(graphql: &Graphql, database: &Database, post: &str) -> usize {
    let id = ObjectId::parse_str(post).expect("an id");
    let posts = database.collection::<Document>("posts");
    for attempt in 1..=10 {
        let spoil = doc! { "$set": { "discussion.g1.count": "many" } };
        let spoiled = posts.update_one(doc! { "_id": id }, spoil).await;
        assert_eq!(spoiled.expect("spoiled").modified_count, 1);
        graphql.create_comment(post, "one more").await;
        let comments = assert_projected(graphql, post).await;
        assert_eq!(comments, 1 + attempt);
        match dead_letters(database).await {
            0 => {}
            1 => return comments,
            more => panic!("{more} dead letters of one change"),
        }
    }
    panic!("each change was applied to a post that cannot be counted");
}

async fn serving(database: &Database) -> i64 {
    let checkpoints = database.collection::<Document>("changefeed_checkpoints");
    let checkpoint = checkpoints.find_one(doc! {}).await.expect("an answer");
    let checkpoint = checkpoint.expect("a checkpoint");
    checkpoint.get_i64("serving").expect("a generation")
}

async fn dead_letters(database: &Database) -> u64 {
    let letters = database.collection::<Document>("changefeed_dead_letters");
    letters.count_documents(doc! {}).await.expect("a count")
}
