//! Partial data, null propagation, and errors with the client's paths.

use std::{sync::Arc, time::Duration};

use gateway::{
    config::{RetrySettings, SubgraphSettings},
    graph::Settings,
};
use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Subgraph, TestGraph, graph, graph_with, subgraph::Fault};

fn posts() -> Subgraph {
    Subgraph::new(
        "posts",
        "type Query { posts: [Post!]! post: Post matrix: [[Int!]!] tags: [String!] strict: [Strict!] }
         type Post @key(fields: \"id\") { id: ID! title: String! likes: Int subtitle: String! }
         type Strict { must: Int! may: Int }",
    )
    .query(json!({
        "posts": [{"id": "1"}, {"id": "2"}], "post": {"id": "1"},
        "matrix": [[1, 2], [3]], "tags": ["a", "b"], "strict": [{"must": 1, "may": 2}],
    }))
    .entities(json!([
        {"__typename": "Post", "id": "1", "title": "One", "likes": 1, "subtitle": "s"},
        {"__typename": "Post", "id": "2", "title": "Two", "likes": {"@error": "no likes today"}, "subtitle": {"@error": "lost"}},
    ]))
}

fn comments() -> Subgraph {
    Subgraph::new(
        "comments",
        "type Query { newest: Comment }
         type Post @key(fields: \"id\") { id: ID! comments: [Comment!] count: Int! pinned: Comment! }
         type Comment { text: String author: String! }",
    )
    .query(json!({"newest": {"text": "new", "author": "A"}}))
    .entities(json!([
        {"__typename": "Post", "id": "1", "count": 1, "comments": [{"text": "hi", "author": "A"}, {"text": {"@error": "unreadable"}, "author": "B"}]},
        {"__typename": "Post", "id": "2", "count": 0, "comments": [{"text": "x", "author": {"@error": "anonymous"}}]},
    ]))
}

async fn blog() -> TestGraph {
    graph(vec![posts(), comments()]).await
}

#[tokio::test]
async fn subgraph_errors_stand_at_the_clients_paths() {
    let graph = blog().await;
    assert_snapshot!(graph.told("{ all: posts { id l: likes c: comments { words: text } } }").await, @r#"
    {"data":{"all":[{"id":"1","l":1,"c":[{"words":"hi"},{"words":null}]},{"id":"2","l":null,"c":[{"words":"x"}]}]},"errors":[{"message":"resolver error: no likes today","path":["all",1,"l"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"posts"}},{"message":"resolver error: unreadable","path":["all",0,"c",1,"words"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    posts: {all: posts{id l: likes}}
    comments: query($representations:[_Any!]!){_entities(representations: $representations){...on Post{c: comments{words: text}}}}
    "#);
}

#[tokio::test]
async fn null_travels_up_to_what_may_be_null() {
    let graph = blog().await;
    assert_snapshot!(graph.told("{ posts { id comments { author } } }").await, @r#"
    {"data":{"posts":[{"id":"1","comments":[{"author":"A"},{"author":"B"}]},{"id":"2","comments":null}]},"errors":[{"message":"resolver error: anonymous","path":["posts",1,"comments",0,"author"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    posts: {posts{id}}
    comments: query($representations:[_Any!]!){_entities(representations: $representations){...on Post{comments{author}}}}
    "#);
    assert_snapshot!(graph.told("{ posts { subtitle } }").await, @r#"
    {"data":null,"errors":[{"message":"resolver error: lost","path":["posts",1,"subtitle"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"posts"}}]}
    posts: {posts{subtitle}}
    "#);
    assert_snapshot!(graph.told("{ post { pinned { text } } newest { text } }").await, @r#"
    {"data":{"post":null,"newest":{"text":"new"}},"errors":[{"message":"non-null type Comment! resolved to null","path":["post","pinned"],"extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    posts: {post{id}}
    comments: {newest{text}}
    comments: query($representations:[_Any!]!){_entities(representations: $representations){...on Post{pinned{text}}}}
    "#);
}

#[tokio::test]
async fn a_subgraph_that_is_down_takes_only_its_own_fields() {
    // Retries have pauses at random: requests would fail in any order.
    let settings = Settings {
        subgraphs: SubgraphSettings {
            retries: RetrySettings {
                retries_max: 0,
                ..RetrySettings::default()
            },
            ..SubgraphSettings::default()
        },
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![posts(), comments()]).await;
    graph.subgraph("comments").stop().await;
    let query = "{ posts { title comments { text } } newest { text } }";
    let mut told = graph.told(query).await;
    // The system's own words differ between machines.
    told = told.replace(graph.subgraph("comments").url(), "URL");
    assert_snapshot!(told, @r#"
    {"data":{"posts":[{"title":"One","comments":null},{"title":"Two","comments":null}],"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: the connection failed: Connection refused (os error 111)","path":["newest"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}},{"message":"subgraph \"comments\" returned no usable response: the connection failed: Connection refused (os error 111)","path":["posts",0,"comments"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}},{"message":"subgraph \"comments\" returned no usable response: the connection failed: Connection refused (os error 111)","path":["posts",1,"comments"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}}]}
    posts: {posts{title id}}
    "#);
    assert_snapshot!(graph.told("{ posts { title count } }").await, @r#"
    {"data":null,"errors":[{"message":"subgraph \"comments\" returned no usable response: the connection failed: Connection refused (os error 111)","path":["posts",0,"count"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}},{"message":"subgraph \"comments\" returned no usable response: the connection failed: Connection refused (os error 111)","path":["posts",1,"count"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}}]}
    posts: {posts{title id}}
    "#);
}

#[tokio::test]
async fn answers_that_are_not_graphql_are_told_apart() {
    let graph = blog().await;
    let mut told = Vec::new();
    for (status, body) in [
        (500, "oops"),
        (200, "<html>"),
        (200, "{\"data\":{\"newest\":{\"text\":"),
        (200, "[]"),
        (200, "{}"),
        (200, "{\"data\":{\"newest\":{\"text\":\"\u{1}\"}}}"),
        (200, "{\"data\":{\"newest\":\"text\"}}"),
        (200, "{\"data\":{\"newest\":[{\"text\":\"a\"}]}}"),
        (200, "{\"data\":{\"newest\":{\"text\":5}}}"),
        (200, "{\"data\":null}"),
        (
            404,
            "{\"errors\":[{\"message\":\"nobody\",\"extensions\":{\"code\":\"NOT_FOUND\",\"n\":1.50}}]}",
        ),
        (200, "{\"errors\":[{\"message\":5}]}"),
        (
            200,
            "{\"errors\":[{\"message\":\"one\"},{\"message\":{}},null,{\"message\":\"four\"}]}",
        ),
        (200, "{\"errors\":\"no\"}"),
        (
            200,
            "{\"data\":{\"newest\":{\"text\":\"fine\",\"extra\":[1,{}]}},\"extensions\":{\"cost\":1}} ",
        ),
    ] {
        graph
            .subgraph("comments")
            .fail(Fault::Answer(status, body.to_owned()));
        told.push(graph.query("{ newest { text } }").await.to_string());
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: HTTP status 500","path":["newest"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 0","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 26","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 0","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: it has neither data nor errors","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 27","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"the subgraph's value for field \"newest\" does not match the field's type","path":["newest"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"newest":null},"errors":[{"message":"the subgraph's value for field \"newest\" does not match the field's type","path":["newest"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"newest":{"text":null}},"errors":[{"message":"the subgraph's value for field \"text\" does not match the field's type","path":["newest","text"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"newest":null}}
    {"data":{"newest":null},"errors":[{"message":"nobody","extensions":{"code":"NOT_FOUND","n":1.5,"service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"the subgraph reported an error that is not a valid GraphQL error","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"one","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}},{"message":"the subgraph reported an error that is not a valid GraphQL error","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}},{"message":"the subgraph reported an error that is not a valid GraphQL error","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}},{"message":"four","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"the subgraph reported an error that is not a valid GraphQL error","extensions":{"code":"DOWNSTREAM_SERVICE_ERROR","service":"comments"}}]}
    {"data":{"newest":{"text":"fine"}}}
    "#);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_no_answer() {
    let graph = blog().await;
    let mut told = Vec::new();
    for (query, body) in [
        (
            "{ newest { text } }",
            &b"{\"data\":{\"newest\":{\"text\":\"a\xffb\"}}}"[..],
        ),
        (
            "{ n: newest { author } post { id } }",
            b"{\"data\":{\"n\":{\"author\":\"A\",\"more\":\"\xc3\"}}}",
        ),
        (
            "{ newest { text } }",
            b"{\"data\":null,\"errors\":[{\"message\":\"\xe2\x82\"}]}",
        ),
        (
            "{ posts { title comments { text } } }",
            b"{\"data\":{\"_entities\":[{\"comments\":[{\"text\":\"\xed\xa0\x80\"}]},null]}}",
        ),
        (
            "{ post { count } }",
            b"{\"data\":{\"_entities\":[{\"count\":1}]},\"\x80\":0}",
        ),
    ] {
        graph.subgraph("comments").fail(Fault::Bytes(body));
        told.push(graph.query(query).await.to_string());
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 28","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"n":null,"post":{"id":"1"}},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 35","path":["n"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 35","path":["newest"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"posts":[{"title":"One","comments":null},{"title":"Two","comments":null}]},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 44","path":["posts",0,"comments"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}},{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 44","path":["posts",1,"comments"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    {"data":{"post":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: not valid JSON at byte 37","path":["post","count"],"extensions":{"code":"SUBREQUEST_MALFORMED_RESPONSE","service":"comments"}}]}
    "#);
}

#[tokio::test]
async fn values_are_held_to_the_clients_schema() {
    let graph = blog().await;
    let query = "{ matrix tags strict { must may } post { id title likes } }";
    let mut told = Vec::new();
    for data in [
        json!({"matrix": [[1, 2], [3]], "tags": ["a"], "strict": [{"must": 1, "may": 2}], "post": {"id": 7, "title": "t", "likes": 1}}),
        json!({"matrix": [[1, null], [3]], "tags": null, "strict": [{"must": null}, {"must": 2}], "post": {"id": "7", "title": 5}}),
        json!({"matrix": [[1], null], "tags": ["a", 5], "strict": [null], "post": {"id": "7", "title": "t", "likes": 2147483648_i64}}),
        json!({"matrix": [1], "tags": "a", "strict": {"must": 1}, "post": [{"id": "1"}]}),
        json!({"matrix": null, "tags": ["a", null], "strict": [{"must": 1.5}], "post": {"id": 1.5, "title": "t"}}),
    ] {
        let body = json!({"data": data}).to_string();
        graph.subgraph("posts").fail(Fault::Answer(200, body));
        told.push(graph.query(query).await.to_string());
    }
    assert_snapshot!(told.join("\n"), @r#"
    {"data":{"matrix":[[1,2],[3]],"tags":["a"],"strict":[{"must":1,"may":2}],"post":{"id":"7","title":"t","likes":1}}}
    {"data":{"matrix":null,"tags":null,"strict":null,"post":null},"errors":[{"message":"no value for the non-null field \"matrix\"","path":["matrix",0,1],"extensions":{"code":"INVALID_VALUE"}},{"message":"no value for the non-null field \"must\"","path":["strict",0,"must"],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"title\" does not match the field's type","path":["post","title"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"matrix":null,"tags":null,"strict":null,"post":{"id":"7","title":"t","likes":null}},"errors":[{"message":"no value for the non-null field \"matrix\"","path":["matrix",1],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"tags\" does not match the field's type","path":["tags",1],"extensions":{"code":"INVALID_VALUE"}},{"message":"no value for the non-null field \"strict\"","path":["strict",0],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"likes\" does not match the field's type","path":["post","likes"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"matrix":null,"tags":null,"strict":null,"post":null},"errors":[{"message":"the subgraph's value for field \"matrix\" does not match the field's type","path":["matrix",0],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"tags\" does not match the field's type","path":["tags"],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"strict\" does not match the field's type","path":["strict"],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"post\" does not match the field's type","path":["post"],"extensions":{"code":"INVALID_VALUE"}}]}
    {"data":{"matrix":null,"tags":null,"strict":null,"post":null},"errors":[{"message":"no value for the non-null field \"tags\"","path":["tags",1],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"must\" does not match the field's type","path":["strict",0,"must"],"extensions":{"code":"INVALID_VALUE"}},{"message":"the subgraph's value for field \"id\" does not match the field's type","path":["post","id"],"extensions":{"code":"INVALID_VALUE"}}]}
    "#);
}

#[tokio::test]
async fn a_subgraph_that_hangs_is_given_up() {
    let settings = Settings {
        subgraphs: SubgraphSettings {
            timeout: Duration::from_secs(2),
            ..SubgraphSettings::default()
        },
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![posts(), comments()]).await;
    graph.subgraph("comments").fail(Fault::Hang);
    assert_snapshot!(graph.told("{ post { title comments { text } } }").await, @r#"
    {"data":{"post":{"title":"One","comments":null}},"errors":[{"message":"subgraph \"comments\" returned no usable response: no response within 2s","path":["post","comments"],"extensions":{"code":"SUBREQUEST_TIMEOUT","service":"comments"}}]}
    posts: {post{title id}}
    comments: query($representations:[_Any!]!){_entities(representations: $representations){...on Post{comments{text}}}}
    "#);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let settings = Settings {
        subgraphs: SubgraphSettings {
            body_bytes_max: 100,
            ..SubgraphSettings::default()
        },
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![posts(), comments()]).await;
    graph
        .subgraph("comments")
        .fail(Fault::Answer(200, " ".repeat(101)));
    assert_snapshot!(graph.told("{ newest { text } }").await, @r#"
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response: the response is larger than 100 bytes","path":["newest"],"extensions":{"code":"SUBREQUEST_RESPONSE_TOO_LARGE","service":"comments"}}]}
    comments: {newest{text}}
    "#);
}

#[tokio::test]
async fn masked_errors_keep_their_code_and_place_only() {
    let settings = Settings {
        mask_subgraph_errors: true,
        shown_error_codes: Arc::new(["SUBSCRIPTION_LAGGED".to_owned()]),
        ..Settings::default()
    };
    let graph = graph_with(settings, vec![posts(), comments()]).await;
    let error = json!({"message": "SELECT * FROM secrets", "path": ["newest"], "extensions": {"code": "NOT_FOUND", "stack": "line 1"}});
    graph.subgraph("comments").fail(Fault::Answer(
        200,
        json!({"data": {"newest": null}, "errors": [error]}).to_string(),
    ));
    assert_snapshot!(graph.told("{ newest { text } }").await, @r#"
    {"data":{"newest":null},"errors":[{"message":"the subgraph reported an error","path":["newest"],"extensions":{"code":"NOT_FOUND","service":"comments"}}]}
    comments: {newest{text}}
    "#);
    // Meant for clients.
    let error = json!({"message": "too slow", "path": ["newest"], "extensions": {
        "code": "SUBSCRIPTION_LAGGED", "cursor": "c7", "missed": {"hidden": 1}, "stack": "line 1"}});
    graph.subgraph("comments").fail(Fault::Answer(
        200,
        json!({"data": {"newest": null}, "errors": [error]}).to_string(),
    ));
    assert_snapshot!(graph.query("{ newest { text } }").await, @r#"{"data":{"newest":null},"errors":[{"message":"too slow","path":["newest"],"extensions":{"code":"SUBSCRIPTION_LAGGED","cursor":"c7","service":"comments"}}]}"#);
    graph
        .subgraph("comments")
        .fail(Fault::Answer(500, "password".into()));
    assert_snapshot!(graph.told("{ newest { text } }").await, @r#"
    {"data":{"newest":null},"errors":[{"message":"subgraph \"comments\" returned no usable response","path":["newest"],"extensions":{"code":"SUBREQUEST_HTTP_ERROR","service":"comments"}}]}
    comments: {newest{text}}
    "#);
}

#[tokio::test]
async fn an_answer_that_needs_no_change_is_handed_on_byte_for_byte() {
    let graph = blog().await;
    let query = "{ newest { text kind: __typename } tags strict { may must } }";
    let comments = "{ \"newest\" : {\"text\": \"a\\u00e9\", \"kind\":\"Comment\"} }";
    // Two subgraphs: nothing to hand on.
    graph
        .subgraph("comments")
        .fail(Fault::Answer(200, format!("{{\"data\":{comments}}}")));
    assert_snapshot!(graph.told(query).await, @r#"
    {"data":{"newest":{"text":"aé","kind":"Comment"},"tags":["a","b"],"strict":[{"may":2,"must":1}]}}
    comments: {newest{text kind: __typename}}
    posts: {tags strict{may must}}
    "#);

    let query = "{ newest { text kind: __typename } }";
    let mut bodies = Vec::new();
    for body in [
        format!("{{\"data\": {comments} }}"),
        format!("{{\"data\":{comments},\"extensions\":{{}}}}"),
        "{\"data\":{\"newest\":null}}".to_owned(),
        "{\"data\":{\"newest\": {\"kind\":\"Comment\",\"text\":\"b\"}}}".to_owned(),
        "{\"data\":{\"newest\": {\"text\":\"b\",\"kind\":\"Other\"}}}".to_owned(),
        "{\"data\":{\"newest\": {\"text\":4,\"kind\":\"Comment\"}}}".to_owned(),
    ] {
        graph.subgraph("comments").fail(Fault::Answer(200, body));
        let answer = graph.response(query, None).await;
        bodies.push(String::from_utf8_lossy(&answer.body).into_owned());
    }
    assert_snapshot!(bodies.join("\n"), @r#"
    {"data": { "newest" : {"text": "a\u00e9", "kind":"Comment"} } }
    {"data":{"newest":{"text":"a\u00e9","kind":"Comment"}}}
    {"data":{"newest":null}}
    {"data":{"newest":{"text":"b","kind":"Comment"}}}
    {"data":{"newest":{"text":"b","kind":"Comment"}}}
    {"data":{"newest":{"text":null,"kind":"Comment"}},"errors":[{"message":"the subgraph's value for field \"text\" does not match the field's type","path":["newest","text"],"extensions":{"code":"INVALID_VALUE"}}]}
    "#);
}
