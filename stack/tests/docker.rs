//! The container files agree with the tree: what no engine has to run for, a test can tell.

use std::collections::BTreeSet;
use std::path::Path;

const DOCKERFILE: &str = include_str!("../../Dockerfile");
const IGNORED: &str = include_str!("../../.dockerignore");
const COMPOSE: &str = include_str!("../../docker-compose.yml");
const SETTINGS: &str = include_str!("../../.env.sample");

#[test]
fn everything_that_the_image_copies_is_in_the_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.expect("the repository");
    let copied: Vec<&str> = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        // What comes from an earlier stage is not in the tree.
        .filter(|arguments| !arguments.starts_with("--from="))
        .flat_map(|arguments| {
            let (sources, _destination) = arguments.rsplit_once(' ').expect("a destination");
            sources
                .split(' ')
                .filter(|source| !source.starts_with("--"))
        })
        .collect();
    assert!(copied.len() > 4, "{copied:?}");
    for source in copied {
        let path = root.join(source);
        let found = match source.strip_suffix("/*.graphql") {
            Some(folder) => std::fs::read_dir(root.join(folder)).is_ok_and(|mut entries| {
                entries.any(|entry| {
                    entry.is_ok_and(|entry| entry.path().extension() == Some("graphql".as_ref()))
                })
            }),
            None => path.exists(),
        };
        assert!(found, "{source} is not there");
        assert!(
            IGNORED.lines().all(|ignored| !source.starts_with(ignored)),
            "{source} is ignored"
        );
    }
}

#[test]
fn secrets_and_builds_stay_out_of_the_image() {
    let ignored: BTreeSet<&str> = IGNORED.lines().collect();
    for path in [
        ".env",
        ".git",
        "data",
        "target",
        "web/dist",
        "**/node_modules",
    ] {
        assert!(ignored.contains(path), "{path}");
    }
}

#[test]
fn the_containers_get_settings_that_there_are() {
    let names: BTreeSet<&str> = SETTINGS
        .lines()
        .filter_map(|line| Some(line.strip_prefix('#')?.split_once('=')?.0))
        .collect();
    let image = DOCKERFILE.lines().filter_map(|line| {
        let setting = line.trim_start_matches("ENV ").trim().split_once('=')?.0;
        is_name(setting).then_some(setting)
    });
    let compose = COMPOSE.lines().filter_map(|line| {
        let setting = line.trim().split_once(": ")?.0;
        is_name(setting).then_some(setting)
    });
    let given = image.chain(compose);
    // Where mongosh keeps its log, and where an image finds its programs; `NAME_FILE` is `NAME`, from a file.
    let given = given.filter(|name| !["HOME", "PATH"].contains(name));
    let given: BTreeSet<&str> = given
        .map(|name| name.strip_suffix("_FILE").unwrap_or(name))
        .collect();
    assert!(given.len() > 7, "{given:?}");
    assert!(given.is_subset(&names), "{given:?}");
}

#[test]
fn the_containers_gateway_shows_what_posts_and_comments_report_to_clients() {
    let line = format!("SHOWN_ERROR_CODES: {}", subgraph::Code::shown_to_clients());
    assert!(COMPOSE.lines().any(|it| it.trim() == line), "{line}");
}

#[test]
fn the_gateway_has_no_way_to_the_database() {
    let gateway = service("gateway");
    assert!(gateway.contains("networks: [front]"), "{gateway}");
    assert!(!gateway.contains("database"), "{gateway}");
    let mongo = service("mongo");
    assert!(mongo.contains("networks: [data]"), "{mongo}");
    assert!(!mongo.contains("ports:"), "{mongo}");
    assert!(COMPOSE.contains("  data:\n    internal: true\n"));
}

#[test]
fn the_page_service_has_no_way_to_the_database_and_no_secret() {
    let pages = service("pages");
    assert!(pages.contains("networks: [front]"), "{pages}");
    for word in ["secret", "database", "volumes:", "ports:"] {
        assert!(!pages.contains(word), "{word}: {pages}");
    }
    let paths = format!("PAGES_PATHS: {}", pages::PATHS.join(","));
    let gateway = service("gateway");
    assert!(gateway.lines().any(|it| it.trim() == paths), "{paths}");
    // Behind a proxy, any default would be in every canonical link.
    assert!(pages.contains("PUBLIC_URL: ${PUBLIC_URL:-}\n"), "{pages}");
}

#[test]
fn the_database_lets_in_nobody_without_a_login_and_secrets_come_from_files() {
    let mongo = service("mongo");
    let command = mongo.lines().find(|line| line.contains("command:"));
    let command = command.expect("a command");
    // A key file turns on logins.
    assert!(
        command.contains("\"--keyFile\", \"/tmp/keyfile\""),
        "{command}"
    );
    let secret = "      SUBGRAPH_SECRET_FILE: /run/secrets/gateway/subgraph-secret\n";
    let posts = service("posts");
    for line in [
        "    environment: &subgraph\n",
        "      MONGO_URI_FILE: /run/secrets/database/mongo-uri\n",
        secret,
    ] {
        assert!(posts.contains(line), "{line}: {posts}");
    }
    // And the same for comments.
    let comments = service("comments");
    let environment = "    environment:\n      <<: *subgraph\n";
    assert!(comments.contains(environment), "{comments}");
    assert!(service("gateway").contains(secret));
    // No secret is written here.
    for name in ["MONGO_URI", "SUBGRAPH_SECRET"] {
        assert!(!COMPOSE.contains(&format!("{name}:")), "{name}");
    }
}

#[test]
fn the_containers_are_not_in_development_by_default() {
    let lines = COMPOSE.lines().filter(|line| line.contains("DEVELOPMENT"));
    let lines: Vec<&str> = lines.map(str::trim).collect();
    assert_eq!(lines, ["DEVELOPMENT: ${DEVELOPMENT:-false}"]);
    let is_set = DOCKERFILE.lines().any(|line| line.contains("DEVELOPMENT"));
    assert!(!is_set, "the image has it");
}

#[test]
fn every_image_has_a_patch_version_and_every_container_a_limit_of_memory() {
    let images = DOCKERFILE
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .chain(
            COMPOSE
                .lines()
                .filter_map(|line| line.trim().strip_prefix("image: ")),
        )
        // The image that is built here, the one from nothing, and what an anchor has named.
        .filter(|image| {
            !image.contains("rejoinder") && *image != "scratch" && !image.starts_with('*')
        });
    let images: Vec<&str> = images.collect();
    assert!(images.len() > 2, "{images:?}");
    for image in images {
        let (_, tag) = image.split_once(':').expect("a tag");
        let digits = tag.chars().filter(char::is_ascii_digit).count();
        assert!(digits >= 4, "{image}");
    }
    for name in [
        "make-secrets",
        "mongo",
        "posts",
        "comments",
        "gateway",
        "pages",
    ] {
        assert!(service(name).contains("    mem_limit: "), "{name}");
    }
}

#[test]
fn the_image_has_a_link_for_each_service_and_no_rights() {
    let (_, links) = DOCKERFILE.split_once("for name in ").expect("links");
    let (links, _) = links.split_once("; do ln -s rejoinder").expect("their end");
    let links: Vec<&str> = links.split(' ').collect();
    let (command, services) = links.split_last().expect("links");
    assert_eq!(services, ["posts", "comments", "gateway", "pages"]);
    assert_eq!(*command, "import");
    for name in services {
        let command = format!("    command: [\"{name}\"]\n");
        assert!(service(name).contains(&command), "{command}");
    }
    // A name would not tell Kubernetes that it is not root.
    assert!(DOCKERFILE.contains("\nUSER 10001:10001\n"));
}

/// The part of the compose file about one service.
fn service(name: &str) -> &'static str {
    let (_, services) = COMPOSE.split_once("\nservices:\n").expect("services");
    let (services, _) = services.split_once("\nnetworks:\n").expect("their end");
    services
        .split("\n\n")
        .find(|service| service.trim_start().starts_with(&format!("{name}:\n")))
        .expect("a service")
}

/// Whether it is written as the name of an environment variable.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}
