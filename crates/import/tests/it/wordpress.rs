//! WordPress exports.

use bson::doc;
use import::tally::Skip;

use crate::case::*;

#[tokio::test(flavor = "multi_thread")]
async fn posts_and_comments_become_documents() {
    let case = Case::new().await;
    let tally = case.import(WORDPRESS).await;
    assert_eq!(counts(&tally), [2, 3, 2, 1]);
    assert_eq!(
        skipped(&tally),
        [
            (Skip::Unpublished, 1),
            (Skip::Password, 1),
            (Skip::OtherType, 2),
            (Skip::Spam, 1),
            (Skip::DeletedComment, 1),
            (Skip::Pingback, 1),
            (Skip::Blank, 1),
            (Skip::PostNotImported, 1),
        ]
    );
    let apples = case.fields("posts", post(GARDEN, "10")).await;
    assert_eq!(
        apples,
        doc! {
            "title": "Apples & pears",
            "content": "Prune them in **March**, as [last year](https://garden.example/2023/03/pruning/).\n\n\
                - apples\n- pears",
            "author": "Rosa Lind",
            "createdAt": bson::DateTime::from_millis(1_714_809_600_000),
            "updatedAt": bson::DateTime::from_millis(1_714_896_000_000),
        }
        .to_string()
    );
    let old = case.fields("posts", post(GARDEN, "11")).await;
    let at = bson::DateTime::from_millis(1_199_243_045_000);
    assert_eq!(
        old,
        doc! {
            "title": "Old & plain …",
            "content": "First line\nsecond line\n\n![A tree](https://garden.example/tree.jpg)The tree",
            "author": "guest writer",
            "createdAt": at,
            "updatedAt": at,
        }
        .to_string()
    );
    let reply = case.fields("comments", comment(GARDEN, "103")).await;
    let at = bson::DateTime::from_millis(1_714_820_400_000);
    assert_eq!(
        reply,
        doc! {
            // It answers a reply.
            "parentId": comment(GARDEN, "101"),
            "text": "Mine too, since 2 * 3 years.\n\n*Thanks*, and see https://tom.example/a_b_c",
            "author": "Tom O’Hara",
            "createdAt": at,
            "updatedAt": at,
            "edited": false,
        }
        .to_string()
    );
    let first = case.find("comments", comment(GARDEN, "101")).await;
    let first = first.expect("imported");
    assert_eq!(
        first.get_str("text").expect("there"),
        "In the code: x[0]]> 1"
    );
    assert_eq!(
        first.get_object_id("postId").expect("there"),
        post(GARDEN, "10")
    );
    assert!(!first.contains_key("parentId"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_mail_and_machines_is_stored() {
    let case = Case::new().await;
    case.import(WORDPRESS).await;
    case.import(DISQUS).await;
    for name in [
        "posts",
        "comments",
        "moderatedComments",
        "importedDocuments",
    ] {
        let mut all = case.collection(name).find(doc! {}).await.expect("read");
        let mut documents = 0;
        while all.advance().await.expect("read") {
            let document = all.deserialize_current().expect("BSON").to_string();
            for private in ["@", "192.0.2", "akismet"] {
                assert!(!document.contains(private), "{document}");
            }
            documents += 1;
        }
        assert!(documents > 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_held_or_skipped() {
    let case = Case::new().await;
    let (outcome, tally) = case.run(WORDPRESS, &["--pending=skip"]).await;
    outcome.expect("imported");
    assert_eq!(counts(&tally), [2, 3, 2, 0]);
    assert_eq!(tally.skipped(Skip::Pending), 1);
    assert_eq!(case.count("moderatedComments").await, 0);
    // It was not imported, so another run may do so.
    let tally = case.import(WORDPRESS).await;
    assert_eq!(counts(&tally), [0, 0, 0, 1]);
    assert_eq!(case.count("moderatedComments").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_and_sites_are_chosen() {
    let case = Case::new().await;
    let (outcome, tally) = case.run(WORDPRESS, &["--post-types=page"]).await;
    outcome.expect("imported");
    assert_eq!(counts(&tally), [1, 0, 0, 0]);
    let (outcome, tally) = case
        .run(WORDPRESS, &["--site=copy", "--post-types=post,page"])
        .await;
    outcome.expect("imported");
    assert_eq!(counts(&tally), [3, 3, 2, 1]);
    assert!(case.find("posts", post("copy", "15")).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_are_read() {
    for version in ["1.0", "1.1"] {
        let case = Case::new().await;
        let tally = case.import(WORDPRESS.replace("1.2", version)).await;
        assert_eq!(counts(&tally), [2, 3, 2, 1], "{version}");
    }
}

/// Whatever order the fields of an item have, it is judged by all of them.
#[tokio::test(flavor = "multi_thread")]
async fn fields_after_the_comments_count() {
    let case = Case::new().await;
    let comments = comment_xml(1, 0, "a");
    let late = |field: &str| {
        export_of(&format!("{comments}{field}")).replacen(
            "<wp:post_type>post</wp:post_type>",
            "",
            1,
        )
    };
    let secret = late("<wp:post_password>x</wp:post_password><wp:post_type>post</wp:post_type>");
    let tally = case.import(secret).await;
    assert_eq!(counts(&tally), [0, 0, 0, 0]);
    let tally = case.import(late("<wp:post_type>post</wp:post_type>")).await;
    assert_eq!(counts(&tally), [1, 1, 0, 0]);
    let stored = case.find("comments", comment(SITE, "1")).await;
    let stored = stored.expect("imported");
    assert_eq!(
        stored.get_object_id("postId").expect("there"),
        post(SITE, "1")
    );
}
