//! Instances that only answer queries and mutations, beside one of each subgraph that follows the changes: the gateway
//! subscribes at the latter.

use e2e::{ClientEvent, Service, Subscription, System, eventually};
use serde_json::json;

use crate::PROGRAM;

const FOLLOW: &str = "subscription($post: ID!) { commentChanges(postId: $post) {
    ... on CommentAdded { comment { text } } } }";
const UPDATED: &str = "subscription($post: ID!) { postUpdated(id: $post) { title } }";
const WITHOUT_FEED: [(&str, &str); 4] = [
    ("LIVE_FEED", "false"),
    ("PROJECTION", "false"),
    ("UPKEEP", "false"),
    ("KNOWN_POSTS_MAX", "0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_run_where_there_is_a_live_feed() {
    let mut system = System::start(PROGRAM).await;
    let mut posts = system.instance(Service::Posts, &WITHOUT_FEED).await;
    let mut comments = system.instance(Service::Comments, &WITHOUT_FEED).await;
    posts.is_ready().await;
    comments.is_ready().await;
    let own = |system: &mut System, service| system.process(service).url("/graphql");
    let (posts_url, comments_url) = (
        posts.process().url("/graphql"),
        comments.process().url("/graphql"),
    );
    let of_posts = own(&mut system, Service::Posts);
    let of_comments = own(&mut system, Service::Comments);
    let settings = [
        ("SUBGRAPH_URL_POSTS", &*posts_url),
        ("SUBGRAPH_URL_COMMENTS", &*comments_url),
    ];
    system.kill(Service::Gateway).await;
    system.run_with(Service::Gateway, &settings).await;
    system.ready(Service::Gateway).await;
    let graphql = system.graphql().clone();
    let post = graphql.create_post("Divided work").await;
    for query in [FOLLOW, UPDATED] {
        let mut refused = Subscription::start(&graphql, query, json!({ "post": post })).await;
        let event = refused.next().await;
        assert_eq!(event.code(), Some("LIVE_FEED_OFF"), "{event:?}");
    }

    let with_feed = [
        settings[0],
        settings[1],
        ("SUBSCRIPTION_URL_POSTS", &*of_posts),
        ("SUBSCRIPTION_URL_COMMENTS", &*of_comments),
    ];
    system.kill(Service::Gateway).await;
    system.run_with(Service::Gateway, &with_feed).await;
    system.ready(Service::Gateway).await;
    let mut follower = Subscription::comments_of(&graphql, FOLLOW, &post).await;
    graphql.create_comment(&post, "written elsewhere").await;
    let ClientEvent::Next(event) = follower.next().await else {
        panic!("the subscription has ended");
    };
    let text = &event["data"]["commentChanges"]["comment"]["text"];
    assert_eq!(text, "written elsewhere", "{event}");
    eventually("the post shows it", || async {
        let shown = "query($id: ID!) { post(id: $id) { latestComments(first: 1) { text } } }";
        let shown = graphql.data(shown, json!({ "id": post })).await;
        match shown["post"]["latestComments"][0]["text"] == "written elsewhere" {
            true => Ok(()),
            false => Err(shown.to_string()),
        }
    })
    .await;
}
