//! `--check` reports every mistake with its place, and nothing else.

use std::{
    path::Path,
    process::{Command, Output},
};

use tempfile::TempDir;

use crate::support::{
    gateway::SUPERGRAPH,
    registry::{Act, Registry, etag},
};

fn check(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway"))
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .arg("--check")
        .args(arguments)
        .output()
        .expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// A folder with a supergraph in `supergraph.graphql`.
fn folder(sdl: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("supergraph.graphql"), sdl).expect("written");
    folder
}

const FILE: &str = "--supergraph=supergraph.graphql";

#[test]
fn without_mistakes_it_says_what_it_has_read() {
    let folder = folder(SUPERGRAPH);
    let checked = check(
        folder.path(),
        &[FILE],
        &[("SUBGRAPH_URL_NEWS", "http://news/graphql")],
    );
    assert_eq!(text(&checked.stderr), "");
    assert!(checked.status.success());
    let expected = format!(
        "settings: 1 are set, and no mistake is in them\n\
         supergraph: supergraph.graphql has 5 types from 2 subgraphs (news, counts) in {} bytes, and no mistake is in it\n",
        SUPERGRAPH.len()
    );
    assert_eq!(text(&checked.stdout), expected);
}

#[test]
fn the_supergraph_of_this_repository_has_none() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let checked = check(&root, &[], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn settings_of_traces_are_checked_and_their_secrets_not_shown() {
    let folder = folder(SUPERGRAPH);
    let flags = [
        FILE,
        "--otel-exporter-otlp-endpoint=https://collector",
        "--otel-exporter-otlp-certificate=missing.pem",
        "--otel-exporter-otlp-protocol=grpc",
    ];
    let key = [("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2")];
    let checked = check(folder.path(), &flags, &key);
    assert!(!checked.status.success());
    let report = text(&checked.stdout) + &text(&checked.stderr);
    for expected in [
        "OTEL_EXPORTER_OTLP_HEADERS",
        "missing.pem",
        "http/protobuf is expected",
        "3 mistakes",
    ] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
    assert!(!report.contains("hunter2"), "{report}");
}

/// The line and column at which a text begins in another, as editors count them.
fn place(sdl: &str, wanted: &str) -> String {
    let before = &sdl[..sdl.find(wanted).expect(wanted)];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("{line}:{column}")
}

#[test]
fn every_seeded_mistake_is_reported_at_its_place() {
    let mut sdl = SUPERGRAPH.to_owned();
    let mut seed = |from: &str, to: &str| {
        assert!(sdl.contains(from), "{from}");
        sdl = sdl.replacen(from, to, 1);
    };
    seed(
        "for: EXECUTION)",
        "for: EXECUTION)\n  @link(url: \"https://specs.apollo.dev/secret/v0.1\", for: SECURITY)",
    );
    seed(
        "COUNTS @join__graph(name: \"counts\", url: \"http://127.0.0.1:9/graphql\")",
        "COUNTS @join__graph(name: \"counts\", url: \"gopher://counts\")\n  LOST",
    );
    seed(
        "type Change @join__type(graph: NEWS)",
        "type Change @join__type(graph: NOWHERE)",
    );
    seed(
        "header(name: String!): String @join__field(graph: NEWS)",
        "header(name: Strong!): String @join__field(graph: NEWS)",
    );
    seed(
        "length: Int! @join__field(graph: COUNTS)",
        "length: Int! @join__field(graph: COUNTS, requires: \"te xt {\")",
    );
    seed("id: ID!\n", "id: ID!\n  id: ID!\n");
    seed("cursor: String!", "cursor: String! @unknown");
    let folder = folder(&sdl);
    // A directive is where its name is.
    let places = [
        (
            place(&sdl, "link(url: \"https://specs.apollo.dev/secret"),
            "secret/v0.1",
        ),
        (
            place(&sdl, "COUNTS @join__graph"),
            "subgraph counts: gopher://counts",
        ),
        (place(&sdl, "LOST"), "no @join__graph"),
        (
            place(&sdl, "join__type(graph: NOWHERE)"),
            "a subgraph that there is not",
        ),
        (place(&sdl, "Strong!"), "Strong"),
        (
            place(&sdl, "join__field(graph: COUNTS, requires"),
            "te xt {",
        ),
        (place(&sdl, "id: ID!\n  text"), "id"),
        (place(&sdl, "@unknown"), "unknown"),
    ];
    let mut expected: Vec<(String, &str)> = places
        .into_iter()
        .map(|(place, reason)| (format!("supergraph.graphql:{place}: "), reason))
        .collect();
    let arguments = [
        FILE,
        "--prepared-operations-max=many",
        "--cost-mode=sometimes",
        "--no-such-setting=1",
        "--subgraph-url=http://me:hunter2@nowhere/",
    ];
    let variables = [
        ("PORT", "70000"),
        ("SUBGRAPH_TIMEOUT", "30"),
        ("JWT_LEEWAY", "1h"),
        ("DEVELOPMENT", "perhaps"),
        ("SUBGRAPH_SECRET", "hunter2"),
        ("SUPERGRAPH_HEADER", "hunter2"),
        ("SUPERGRAPH_COPY", "missing/copy.graphql"),
        ("LOG", "info,gateway=loud"),
        ("FORWARD_HEADERS", "x-fine,host,bad name"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy,10.0.0.0/99"),
        ("LIVE_CLIENTS_RATE", "fast"),
        ("RATE_LIMIT", "6000"),
        ("RATE_LIMIT_SCOPES", "bulk"),
        ("JWT_REQUIRED", "true"),
        ("JWT_COOKIE", "session"),
        ("POLICY_URL", "ftp://me:hunter2@policies/"),
        ("METRICS_PAGES", "posts,comments=ftp://comments/"),
        ("TRUSTED_DOCUMENTS", "missing.json"),
        ("PAGES_PATHS", "/feed.atom"),
        ("WEB_SIGN_IN_URL", "http://id.example/token"),
        ("SUBGRAPH_CERT", "cert.pem"),
        ("SUBGRAPH_CA_FILE", "missing.pem"),
        ("SUBGRAPH_URL_NEWS", "http://a/,,ftp://b/"),
        ("SUBGRAPH_URL_GONE", "http://me:hunter2@gone/"),
        ("SUBSCRIPTION_URL_NEWS", "ftp://c/"),
        ("SUBSCRIPTION_URL_NOBODY", "http://nobody/"),
    ];
    expected.extend(
        [
            ("--prepared-operations-max=many: ", "invalid digit"),
            ("--cost-mode=sometimes: ", "enforce, measure"),
            ("--no-such-setting: ", "no such setting"),
            ("settings: ", "--subgraph-url"),
            ("PORT=70000: ", "0..=65535"),
            ("SUBGRAPH_TIMEOUT=30: ", "unit"),
            ("JWT_LEEWAY=1h: ", "at most 5m"),
            ("DEVELOPMENT=perhaps: ", "true"),
            ("SUBGRAPH_SECRET: ", "at least 32"),
            ("SUPERGRAPH_HEADER: ", "needs an address"),
            ("LOG=info,gateway=loud: ", "not a log filter"),
            ("FORWARD_HEADERS=x-fine,host,bad name: ", "host"),
            ("FORWARD_HEADERS=x-fine,host,bad name: ", "bad name"),
            (
                "TRUSTED_PROXIES=10.0.0.0/8,proxy,10.0.0.0/99: ",
                "\"proxy\"",
            ),
            ("TRUSTED_PROXIES=10.0.0.0/8,proxy,10.0.0.0/99: ", "/99"),
            ("LIVE_CLIENTS_RATE=fast: ", ""),
            ("RATE_LIMIT=6000: ", ""),
            ("RATE_LIMIT_SCOPES=bulk: ", "bulk=60000/1m"),
            ("JWT_REQUIRED=true: ", "needs JWT_JWKS"),
            ("JWT_COOKIE=session: ", "needs JWT_JWKS"),
            ("POLICY_URL=ftp://***@policies/: ", "http"),
            (
                "METRICS_PAGES=posts,comments=ftp://comments/: ",
                "\"posts\"",
            ),
            (
                "METRICS_PAGES=posts,comments=ftp://comments/: ",
                "\"comments=",
            ),
            ("TRUSTED_DOCUMENTS=missing.json: ", "cannot read"),
            ("--pages-paths: ", "--pages-url"),
            ("WEB_SIGN_IN_URL=http://id.example/token: ", "https"),
            ("SUBGRAPH_CERT=cert.pem: ", "needs SUBGRAPH_KEY"),
            ("SUBGRAPH_CA_FILE=missing.pem: ", "No such file"),
            ("SUBGRAPH_URL_NEWS=http://a/,,ftp://b/: ", "it is empty"),
            ("SUBGRAPH_URL_NEWS=http://a/,,ftp://b/: ", "ftp://b/"),
            (
                "SUBGRAPH_URL_GONE=http://***@gone/: ",
                "no subgraph of this name",
            ),
            ("SUBSCRIPTION_URL_NEWS=ftp://c/: ", "for subscriptions: "),
            (
                "SUBSCRIPTION_URL_NOBODY=http://nobody/: ",
                "no subgraph of this name",
            ),
        ]
        .map(|(place, reason)| (place.to_owned(), reason)),
    );
    let checked = check(folder.path(), &arguments, &variables);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(text(&checked.stdout), "");
    let report = text(&checked.stderr);
    assert!(!report.contains("hunter"), "{report}");
    let lines: Vec<&str> = report.lines().collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|(place, reason)| {
            let is_it = |line: &&str| line.starts_with(place.as_str()) && line.contains(reason);
            !lines.iter().any(is_it)
        })
        .collect();
    assert!(missing.is_empty(), "not reported: {missing:#?}\n{report}");
    // One line each; a type that is unknown, and what follows from other mistakes, may be reported twice.
    let others: Vec<_> = lines[..lines.len() - 1]
        .iter()
        .filter(|line| {
            !expected
                .iter()
                .any(|(place, _)| line.starts_with(place.as_str()))
        })
        .collect();
    assert!(others.len() <= 3, "reported for nothing: {others:#?}");
    let count = format!("{} mistakes", lines.len() - 1);
    assert_eq!(lines.last(), Some(&&*count));
}

#[test]
fn a_supergraph_that_cannot_be_read_or_is_none_is_a_mistake() {
    let folder = folder("type Query { a: Int }");
    let checked = check(folder.path(), &["--supergraph=missing.graphql"], &[]);
    assert_eq!(checked.status.code(), Some(1));
    let report = text(&checked.stderr);
    assert!(
        report.starts_with("--supergraph=missing.graphql: it cannot be read: No such file"),
        "{report}"
    );
    let checked = check(folder.path(), &[FILE], &[]);
    let report = text(&checked.stderr);
    assert_eq!(
        report,
        "supergraph.graphql: it has no enum join__Graph\n1 mistake\n"
    );
    std::fs::write(
        folder.path().join("supergraph.graphql"),
        "type Query {\n  a Int\n}\n",
    )
    .expect("written");
    let report = text(&check(folder.path(), &[FILE], &[]).stderr);
    assert!(
        report.contains("supergraph.graphql:2:5: syntax error"),
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supergraph_at_an_address_is_checked_too() {
    let registry = Registry::start(Act::Text(SUPERGRAPH.replace("String!", "Strong!"))).await;
    let flag = format!("--supergraph={}", registry.url("/shop"));
    let folder = TempDir::new().expect("a folder");
    let checked = || {
        check(
            folder.path(),
            &[&flag, "--supergraph-header=x: hunter2"],
            &[],
        )
    };
    let refused = tokio::task::block_in_place(checked);
    assert_eq!(refused.status.code(), Some(1));
    let report = text(&refused.stderr);
    let first = report.lines().next().expect("a line");
    assert!(
        first.starts_with(&format!("{}:", registry.url("/shop"))),
        "{report}"
    );
    registry.acts(Act::Text(SUPERGRAPH.to_owned()));
    let sound = tokio::task::block_in_place(checked);
    assert!(sound.status.success(), "{}", text(&sound.stderr));
    registry.acts(Act::Other(403, "", etag("no")));
    let report = text(&tokio::task::block_in_place(checked).stderr);
    assert!(report.contains("HTTP status 403"), "{report}");
    assert!(!report.contains("hunter2"));
}
