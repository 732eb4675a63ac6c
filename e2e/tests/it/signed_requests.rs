//! Subgraphs that know their gateway by a secret.

use e2e::{Graphql, Service, Subscription, System};
use embedded_mongo::test_database;
use serde_json::json;

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
