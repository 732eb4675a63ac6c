//! `@authenticated`, `@requiresScopes` and `@policy`: what clients see, and what subgraphs are asked for.
//! `any_supergraph::protected` compares random operations.

use gateway::{
    authorization::Claims,
    config::AuthorizationMode,
    graph::{Graph, Settings},
    prepare::{self, Asker, OperationRequest, Serving},
};
use serde_json::{Value, json};

use crate::support::{Subgraph, TestGraph, client, graph_of_with};

const SUPERGRAPH: &str = include_str!("authorization.graphql");

const USERS: &str = "
type Query { me: User users: [User!]! nodes: [Node!]! notes: [Note!] }
type Mutation { rename: User }
type Subscription { joined: User whispered: User }
interface Node { id: ID! }
type User implements Node @key(fields: \"id\") { id: ID! name: String email: String }
type Note implements Node { id: ID! text: String }
";

const BANK: &str = "
type Query { audit: String! }
type Mutation { pay: Int }
type User @key(fields: \"id\") { id: ID! email: String @external salary: Int! rating: String @requires(fields: \"email\") }
";

/// Nobody is known.
const NOBODY: Claims<'_> = Claims {
    is_authenticated: false,
    scopes: &[],
    policies: &[],
};

fn user(id: &str) -> Value {
    json!({"__typename": "User", "id": id, "name": format!("name {id}"), "email": format!("{id}@x")})
}

async fn protected() -> TestGraph {
    with(Settings::default()).await
}

async fn with(settings: Settings) -> TestGraph {
    let note = json!({"__typename": "Note", "id": "n1", "text": "secret"});
    let users = Subgraph::new("users", USERS)
        .query(json!({
            "me": user("1"), "users": [user("1"), user("2")], "nodes": [note, user("2")], "notes": [note],
        }))
        .entities(json!([user("1"), user("2")]))
        .field("Mutation", "rename", |_, _| Ok(user("1")));
    let bank = Subgraph::new("bank", BANK)
        .query(json!({"audit": "books"}))
        .entities(json!([
            {"__typename": "User", "id": "1", "salary": 100},
            {"__typename": "User", "id": "2", "salary": 200},
        ]))
        .field("User", "rating", |user, _| {
            let email = user["email"].as_str().ok_or("no email")?;
            Ok(json!(format!("{} letters", email.len())))
        })
        .field("Mutation", "pay", |_, _| Ok(json!(1)));
    graph_of_with(settings, SUPERGRAPH, vec![users, bank]).await
}

/// The answer, and what subgraphs were asked, one on each line.
async fn told(graph: &TestGraph, query: &str, claims: Claims<'_>) -> (Value, String) {
    graph.requests();
    let answer = graph.ask_as(query, None, claims).await;
    (answer, graph.requests().join("\n"))
}

/// The paths of the errors at what the client may not see; there must be no other errors.
fn cut(answer: &Value) -> Vec<String> {
    let errors = answer["errors"].as_array().into_iter().flatten();
    let paths = errors.map(|error| {
        assert_eq!(
            error["extensions"]["code"], "UNAUTHORIZED_FIELD_OR_TYPE",
            "{answer}"
        );
        error["path"].to_string()
    });
    paths.collect()
}

fn names(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn what_a_client_may_not_see_is_null_with_an_error_and_is_not_fetched() {
    let graph = protected().await;
    let query = "{ me { name mail: email ... on Node { id } } }";
    let (answer, requests) = told(&graph, query, NOBODY).await;
    assert_eq!(
        answer["data"],
        json!({"me": {"name": "name 1", "mail": null, "id": "1"}})
    );
    assert_eq!(cut(&answer), [r#"["me","mail"]"#]);
    assert_eq!(requests, "users: {me{name id}}");
    let known = Claims {
        is_authenticated: true,
        ..NOBODY
    };
    let (answer, requests) = told(&graph, query, known).await;
    assert_eq!(
        answer,
        json!({"data": {"me": {"name": "name 1", "mail": "1@x", "id": "1"}}})
    );
    assert_eq!(requests, "users: {me{name mail: email id}}");
}

#[tokio::test]
async fn scopes_are_sets_of_which_one_is_enough() {
    let graph = protected().await;
    for (has, sees) in [
        (&[] as &[&str], false),
        (&["admin"], false),
        (&["read", "other"], false),
        (&["audit"], true),
        (&["read", "admin"], true),
    ] {
        let scopes = names(has);
        let claims = Claims {
            scopes: &scopes,
            ..NOBODY
        };
        let (answer, requests) = told(&graph, "{ audit }", claims).await;
        match sees {
            true => assert_eq!(answer, json!({"data": {"audit": "books"}})),
            false => {
                assert_eq!(answer["data"], Value::Null);
                assert_eq!(cut(&answer), [r#"["audit"]"#]);
                assert_eq!(requests, "", "nothing is left to ask for");
            }
        }
    }
}

#[tokio::test]
async fn null_propagates_from_what_a_client_may_not_see() {
    let graph = protected().await;
    let (answer, _) = told(&graph, "{ me { name salary } }", NOBODY).await;
    assert_eq!(answer["data"], json!({"me": null}));
    assert_eq!(cut(&answer), [r#"["me","salary"]"#]);
    let (answer, requests) = told(&graph, "{ me { name } users { salary name } }", NOBODY).await;
    assert_eq!(answer["data"], Value::Null);
    assert_eq!(cut(&answer), [r#"["users",0,"salary"]"#]);
    assert!(!requests.contains("salary"), "{requests}");
}

#[tokio::test]
async fn an_interface_shows_the_fields_of_each_object_that_its_type_allows() {
    let graph = protected().await;
    let expected = json!({"nodes": [
        {"__typename": "Note", "id": null}, {"__typename": "User", "id": "2"},
    ]});
    // `id` is not null in the schema, so the objects themselves are null.
    let (answer, requests) = told(&graph, "{ nodes { id } }", NOBODY).await;
    assert_eq!(answer["data"], Value::Null);
    assert_eq!(cut(&answer), [r#"["nodes",0,"id"]"#]);
    assert_eq!(requests, "users: {nodes{__typename ...on User{id}}}");
    let query = "{ nodes { __typename ... on Note { text } ... on User { id } } }";
    let (answer, requests) = told(&graph, query, NOBODY).await;
    assert_eq!(
        answer["data"],
        json!({"nodes": [{"__typename": "Note", "text": null}, {"__typename": "User", "id": "2"}]})
    );
    assert_eq!(cut(&answer), [r#"["nodes",0,"text"]"#]);
    assert!(!requests.contains("text"), "{requests}");
    // A field of such a type is cut itself.
    let (answer, requests) = told(&graph, "{ notes { __typename } }", NOBODY).await;
    assert_eq!(answer["data"], json!({"notes": null}));
    assert_eq!(
        (&*cut(&answer), &*requests),
        (&[r#"["notes"]"#.to_owned()][..], "")
    );
    for policies in [names(&["everything"]), names(&["other", "notes"])] {
        let claims = Claims {
            policies: &policies,
            ..NOBODY
        };
        let (answer, _) = told(&graph, "{ nodes { __typename id } }", claims).await;
        let mut whole = expected.clone();
        whole["nodes"][0]["id"] = json!("n1");
        assert_eq!(answer, json!({"data": whole}));
    }
}

#[tokio::test]
async fn requirements_and_keys_are_fetched_and_not_shown() {
    let graph = protected().await;
    let (answer, requests) = told(&graph, "{ me { rating email } }", NOBODY).await;
    assert_eq!(
        answer["data"],
        json!({"me": {"rating": "3 letters", "email": null}})
    );
    assert_eq!(cut(&answer), [r#"["me","email"]"#]);
    assert!(requests.contains("email"), "{requests}");
}

#[tokio::test]
async fn a_field_that_conditions_leave_out_is_not_cut() {
    let graph = protected().await;
    let query = "{ me { name email @skip(if: true) ... @include(if: false) { salary } } }";
    let (answer, _) = told(&graph, query, NOBODY).await;
    assert_eq!(answer, json!({"data": {"me": {"name": "name 1"}}}));
}

#[tokio::test]
async fn a_mutation_that_a_client_may_not_run_does_not_run() {
    let graph = protected().await;
    let (answer, requests) = told(&graph, "mutation { pay rename { id } }", NOBODY).await;
    assert_eq!(answer["data"], json!({"pay": null, "rename": {"id": "1"}}));
    assert_eq!(cut(&answer), [r#"["pay"]"#]);
    assert_eq!(requests, "users: mutation{rename{id}}");
}

#[tokio::test]
async fn a_subscription_that_a_client_may_not_see_is_refused() {
    let graph = protected().await;
    let (answer, _) = told(&graph, "subscription { whispered { id } }", NOBODY).await;
    assert!(answer.get("data").is_none(), "{answer}");
    assert_eq!(
        answer["errors"][0]["extensions"]["code"],
        "UNAUTHORIZED_FIELD_OR_TYPE"
    );
}

/// What a client shares with others depends on what they may see of it.
#[tokio::test]
async fn clients_share_a_subscription_if_they_meet_the_same_requirements() {
    let graph = protected().await;
    let normal_form = async |query: &str, claims| {
        let client = client();
        let request =
            OperationRequest::new(graph.serving(), query, None, client.key, &client.headers)
                .from_asker(Asker::Client(claims));
        let ready = prepare::ready(graph.serving(), &request, None).await;
        let (prepared, _) = ready.expect("a subscription");
        prepared
            .subscription()
            .expect("a subscription")
            .normal_form
            .clone()
    };
    let known = |scopes| Claims {
        is_authenticated: true,
        scopes,
        policies: &[],
    };
    let (some, others) = (names(&["a"]), names(&["b", "c"]));
    let query = "subscription { joined { name email } }";
    let one = normal_form(query, known(&some)).await;
    assert_eq!(one, normal_form(query, known(&others)).await);
    assert_ne!(one, normal_form(query, NOBODY).await);
    // Without the field, the plan is the same, the response is not.
    let without = normal_form("subscription { joined { name } }", NOBODY).await;
    assert_ne!(normal_form(query, NOBODY).await, without);
    assert_eq!(
        without,
        normal_form("subscription { joined { name } }", known(&some)).await
    );
}

/// Progressive overrides give two clients different plans for one text: only one of them may depend on who asks.
#[tokio::test]
async fn what_depends_on_who_asks_is_another_subscription() {
    let normal_form = async |viewer_tags: &[&str]| {
        let viewer_tags = viewer_tags.iter().map(|name| (*name).to_owned()).collect();
        let settings = Settings {
            viewer_tags,
            ..Settings::default()
        };
        let graph = Graph::load(SUPERGRAPH, settings).expect("it loads");
        let serving = std::sync::Arc::new(Serving::new(graph));
        let (client, query) = (client(), "subscription { joined { name } }");
        let request = OperationRequest::new(&serving, query, None, client.key, &client.headers);
        let ready = prepare::ready(&serving, &request, None).await;
        let (prepared, _) = ready.expect("a subscription");
        let upstream = prepared.subscription().expect("a subscription");
        (upstream.depends_on_viewer, upstream.normal_form.clone())
    };
    let (depends, one) = normal_form(&[]).await;
    let (other_depends, other) = normal_form(&["users"]).await;
    assert!(depends && !other_depends);
    assert_ne!(one, other);
}

/// With a new supergraph, clients that share a subscription still agree on what was required before, and on
/// nothing else.
#[tokio::test]
async fn a_shared_subscription_keeps_its_decisions_in_a_new_supergraph() {
    let graph = protected().await;
    let prepared_as = async |serving: &std::sync::Arc<Serving>, asker: Asker<'_>| {
        let query = "subscription { joined { name email } }";
        let client = client();
        let request = OperationRequest::new(serving, query, None, client.key, &client.headers);
        let ready = prepare::ready(serving, &request.from_asker(asker), None).await;
        ready.map(|(prepared, _)| prepared)
    };
    let known = Claims {
        is_authenticated: true,
        ..NOBODY
    };
    let next = |from: &str, to: &str| {
        assert!(SUPERGRAPH.contains(from));
        let sdl = SUPERGRAPH.replace(from, to);
        let graph = Graph::load(&sdl, Settings::default()).expect("it loads");
        std::sync::Arc::new(Serving::new(graph))
    };
    let of_known = prepared_as(graph.serving(), Asker::Client(known))
        .await
        .expect("prepared");
    let of_nobody = prepared_as(graph.serving(), Asker::Client(NOBODY))
        .await
        .expect("prepared");
    let moved = next("external: true) @authenticated", "external: true)");
    for before in [&of_known, &of_nobody] {
        let asker = Asker::SameAs(graph.inner(), before);
        let after = prepared_as(&moved, asker)
            .await
            .expect("nothing is required");
        assert!(
            !format!("{:?}", after.subscription().map(|it| &*it.normal_form))
                .contains("Authenticated")
        );
    }
    let stays = next("salary: Int!", "pay: Int!");
    let text = async |before| {
        let after = prepared_as(&stays, Asker::SameAs(graph.inner(), before)).await;
        let after = after.expect("the same is required");
        after
            .subscription()
            .expect("a subscription")
            .normal_form
            .clone()
    };
    assert_ne!(text(&of_known).await, text(&of_nobody).await);
    let more = next(
        "name: String @join__field(graph: USERS)",
        "name: String @join__field(graph: USERS) @requiresScopes(scopes: [[\"n\"]])",
    );
    let refused = prepared_as(&more, Asker::SameAs(graph.inner(), &of_known))
        .await
        .err();
    let refused = refused.expect("nothing was decided about it");
    assert_eq!(refused.code.as_str(), "UNAUTHORIZED_FIELD_OR_TYPE");
}

#[tokio::test]
async fn a_setting_refuses_the_whole_operation() {
    let graph = with(Settings {
        authorization_mode: AuthorizationMode::Reject,
        ..Settings::default()
    })
    .await;
    for _ in 0..2 {
        let (answer, requests) = told(&graph, "{ me { name e: email salary } }", NOBODY).await;
        assert!(answer.get("data").is_none(), "{answer}");
        let messages: Vec<&str> = answer["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["message"].as_str())
            .collect();
        assert_eq!(
            messages,
            [
                "not authorised to select the field \"email\"",
                "not authorised to select the field \"salary\""
            ]
        );
        assert_eq!(requests, "");
    }
    let (answer, _) = told(&graph, "{ me { name } }", NOBODY).await;
    assert_eq!(answer, json!({"data": {"me": {"name": "name 1"}}}));
}

/// One plan for all clients that meet the same of what the operation requires, however many tokens there are.
#[tokio::test]
async fn plans_are_kept_by_decisions_and_not_by_tokens() {
    let graph = protected().await;
    let metrics = &graph.inner().settings().prepare_metrics;
    let ask = async |query: &str, number: usize| {
        let scopes = names(&[&format!("own-{number}"), "salary"]);
        let claims = Claims {
            is_authenticated: number.is_multiple_of(2),
            scopes: &scopes,
            policies: &[],
        };
        told(&graph, query, claims).await
    };
    for number in 0..20 {
        ask("{ me { name id } }", number).await;
    }
    assert_eq!(metrics.misses.get(), 1, "it requires nothing");
    for number in 0..20 {
        ask("{ me { name email salary } }", number).await;
    }
    assert_eq!(
        metrics.misses.get(),
        4,
        "which requirements it touches, and two sets of decisions"
    );
}

#[tokio::test]
async fn an_error_is_reported_at_a_hundred_places_of_a_list() {
    let many: Vec<Value> = (0..300).map(|id| user(&id.to_string())).collect();
    let users = Subgraph::new("users", USERS).query(json!({ "users": many }));
    let bank = Subgraph::new("bank", BANK);
    let graph = graph_of_with(Settings::default(), SUPERGRAPH, vec![users, bank]).await;
    let (answer, _) = told(&graph, "{ users { id email } }", NOBODY).await;
    assert_eq!(cut(&answer).len(), 100);
    let shown = answer["data"]["users"].as_array().map(Vec::len);
    assert_eq!(shown, Some(300));
}

/// A subgraph's message could tell what the client may not see.
#[tokio::test]
async fn errors_of_subgraphs_do_not_tell_what_a_client_may_not_see() {
    let note = json!({"__typename": "Note", "id": {"@error": "note n1 is about mergers"}});
    let failing =
        json!({"__typename": "User", "id": "1", "email": {"@error": "no mailbox for 1@x"}});
    let users = Subgraph::new("users", USERS).query(json!({"me": failing, "nodes": [note]}));
    let bank = Subgraph::new("bank", BANK);
    let graph = graph_of_with(Settings::default(), SUPERGRAPH, vec![users, bank]).await;
    let (answer, requests) = told(&graph, "{ me { rating email } }", NOBODY).await;
    assert!(requests.contains("email"), "{requests}");
    assert!(!answer.to_string().contains("mailbox"), "{answer}");
    assert_eq!(answer["data"]["me"]["rating"], Value::Null);
}

/// What a requirement needs may be protected: an error there tells neither its name nor its text.
#[tokio::test]
async fn errors_of_fields_that_the_plan_added_are_masked() {
    let failing =
        json!({"__typename": "User", "id": "1", "email": {"@error": "no mailbox for 1@x"}});
    let note = json!({"__typename": "Note", "id": "n1", "email": "open"});
    let sdl = SUPERGRAPH.replace("  text: String", "  text: String email: String");
    let schema = USERS.replace("text: String", "text: String email: String");
    let users =
        Subgraph::new("users", &schema).query(json!({"me": failing, "nodes": [note, failing]}));
    let bank = Subgraph::new("bank", BANK);
    let graph = graph_of_with(Settings::default(), &sdl, vec![users, bank]).await;
    let (answer, requests) = told(&graph, "{ me { rating } }", NOBODY).await;
    assert!(requests.contains("email"), "{requests}");
    assert_eq!(answer["data"]["me"]["rating"], Value::Null);
    let text = answer.to_string();
    assert!(
        !text.contains("mailbox") && !text.contains("email"),
        "{text}"
    );
    assert_eq!(answer["errors"][0]["path"], json!(["me"]));
    // A field of the same name is selected there, of objects of another type.
    let policies = names(&["notes"]);
    let claims = Claims {
        policies: &policies,
        ..NOBODY
    };
    let query = "{ nodes { ... on Note { email } ... on User { rating } } }";
    let (answer, requests) = told(&graph, query, claims).await;
    assert!(requests.contains("...on User{email"), "{requests}");
    assert_eq!(
        answer["data"]["nodes"],
        json!([{"email": "open"}, {"rating": null}])
    );
    assert!(!answer.to_string().contains("mailbox"), "{answer}");
}

/// However many errors there are, a client learns of each field why it is null.
#[tokio::test]
async fn the_first_error_at_a_cut_field_is_never_left_out() {
    let failing = |id: usize| json!({"__typename": "User", "id": id.to_string(), "name": {"@error": "no name"}});
    let many: Vec<Value> = (0..1_100).map(failing).collect();
    let users = Subgraph::new("users", USERS).query(json!({ "users": many }));
    let bank = Subgraph::new("bank", BANK);
    let graph = graph_of_with(Settings::default(), SUPERGRAPH, vec![users, bank]).await;
    let query = "{ users { name email } me { email } audit }";
    let (answer, _) = told(&graph, query, NOBODY).await;
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    let cut = errors
        .iter()
        .filter(|error| error["extensions"]["code"] == "UNAUTHORIZED_FIELD_OR_TYPE");
    let cut: Vec<String> = cut.map(|error| error["path"].to_string()).collect();
    assert_eq!(answer["data"], Value::Null);
    assert_eq!(cut, [r#"["users",0,"email"]"#, r#"["audit"]"#]);
    assert_eq!(errors.len(), 1_002);
}

#[tokio::test]
async fn a_root_type_without_a_field_is_hidden() {
    let sdl = SUPERGRAPH
        .replace("rename: User @join", "rename: User @authenticated @join")
        .replace("joined: User", "joined: User @authenticated");
    let settings = Settings {
        hides_schema: true,
        ..Settings::default()
    };
    let parts = vec![Subgraph::new("users", USERS), Subgraph::new("bank", BANK)];
    let graph = graph_of_with(settings, &sdl, parts).await;
    let query = "{ __schema { mutationType { name } subscriptionType { name } types { name } } }";
    let (answer, _) = told(&graph, query, NOBODY).await;
    let schema = &answer["data"]["__schema"];
    assert_eq!(schema["mutationType"], Value::Null, "{answer}");
    assert_eq!(schema["subscriptionType"], Value::Null);
    assert!(!schema["types"].to_string().contains("\"Mutation\""));
    let known = Claims {
        is_authenticated: true,
        ..NOBODY
    };
    let (answer, _) = told(&graph, query, known).await;
    let schema = &answer["data"]["__schema"];
    assert_eq!(schema["mutationType"]["name"], "Mutation");
    assert_eq!(schema["subscriptionType"]["name"], "Subscription");
}

#[tokio::test]
async fn a_setting_hides_in_introspection_what_a_client_may_not_see() {
    let hiding = with(Settings {
        hides_schema: true,
        ..Settings::default()
    })
    .await;
    let query = "{ __schema { types { name } } user: __type(name: \"User\") { fields { name } } note: __type(name: \"Note\") { name } }";
    let told_of = async |graph: &TestGraph, claims| {
        let (answer, _) = told(graph, query, claims).await;
        let types = answer["data"]["__schema"]["types"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let has_note = types.iter().any(|it| it["name"] == "Note");
        let fields = answer["data"]["user"]["fields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let fields: Vec<String> = fields
            .iter()
            .map(|it| it["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(has_note, !answer["data"]["note"].is_null());
        (fields.join(" "), has_note)
    };
    let whole = ("id name email salary rating".to_owned(), true);
    assert_eq!(told_of(&protected().await, NOBODY).await, whole);
    assert_eq!(
        told_of(&hiding, NOBODY).await,
        ("id name rating".to_owned(), false)
    );
    let (scopes, policies) = (names(&["salary", "audit"]), names(&["notes"]));
    let all = Claims {
        is_authenticated: true,
        scopes: &scopes,
        policies: &policies,
    };
    assert_eq!(told_of(&hiding, all).await, whole);
}

/// One type of many shows a field: the request repeats it for the others, within a bound.
#[tokio::test]
async fn fields_that_are_repeated_for_many_types_have_a_bound() {
    const TYPES: usize = 200;
    let types: String = (0..TYPES)
        .map(|it| {
            let needs = if it == 0 { "@authenticated" } else { "" };
            format!("type T{it} implements Node @join__implements(graph: USERS, interface: \"Node\") @join__type(graph: USERS) {needs} {{ id: ID! next: Node }} ")
        })
        .collect();
    let sdl = SUPERGRAPH.replace(
        "interface Node @join__type(graph: USERS) { id: ID! }",
        "interface Node @join__type(graph: USERS) { id: ID! next: Node }",
    );
    let sdl = sdl
        .replace("type User implements Node", "type User")
        .replace("type Note implements Node", "type Note");
    let sdl = sdl.replace("  @join__implements(graph: USERS, interface: \"Node\")", "");
    let graph = Graph::load(&format!("{sdl}{types}"), Settings::default()).expect("it loads");
    let serving = std::sync::Arc::new(Serving::new(graph));
    let ask = async |query: &str| {
        let ready = prepare::with_variables(&serving, query, None, None).await;
        ready.map(drop).map_err(|refusal| refusal.code.as_str())
    };
    assert_eq!(
        ask("{ nodes { next { id } } }").await,
        Err("MAX_SELECTIONS_EXCEEDED")
    );
    assert_eq!(ask("{ nodes { id next { __typename } } }").await, Ok(()));
}

#[tokio::test]
async fn an_operation_with_too_many_requirements_is_refused() {
    let sdl = |count: usize| {
        let fields: String = (0..count)
            .map(|it| {
                format!(
                    "f{it}: Int @join__field(graph: USERS) @requiresScopes(scopes: [[\"{it}\"]]) "
                )
            })
            .collect();
        SUPERGRAPH.replace("me: User ", &format!("{fields} me: User "))
    };
    let settings = Settings {
        limits: gateway::config::Limits {
            root_fields_max: 1_000,
            ..Default::default()
        },
        ..Settings::default()
    };
    let graph = Graph::load(&sdl(129), settings).expect("it loads");
    let serving = std::sync::Arc::new(Serving::new(graph));
    let ask = async |count: usize| {
        let fields: String = (0..count).map(|it| format!("f{it} ")).collect();
        let query = format!("{{ {fields} }}");
        let ready = prepare::with_variables(&serving, &query, None, None).await;
        ready.map(drop).map_err(|refusal| refusal.code.as_str())
    };
    assert_eq!(ask(128).await, Ok(()));
    assert_eq!(ask(129).await, Err("MAX_SELECTIONS_EXCEEDED"));
}
