//! `.env.sample` names every setting that a binary reads from the environment, with its default, and
//! no other.

use std::collections::BTreeMap;

use clap::CommandFactory;

/// Read elsewhere than by clap: the sample explains them by hand.
const READ_ELSEWHERE: [&str; 3] = ["SUBGRAPH_URL_POSTS", "SUBGRAPH_URL_COMMENTS", "MONGOD"];

#[test]
fn the_sample_lists_every_setting_with_its_default() {
    let mut expected = BTreeMap::new();
    for command in [
        stack::Options::command(),
        posts::Config::command(),
        comments::Config::command(),
        gateway::config::Config::command(),
    ] {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env() else {
                continue;
            };
            let defaults: Vec<_> = argument
                .get_default_values()
                .iter()
                .map(|value| value.to_string_lossy())
                .collect();
            // Every service has a default port of its own, which the sample names in words.
            let default = if name == "PORT" {
                String::new()
            } else {
                defaults.join(",")
            };
            expected
                .entry(name.to_string_lossy().into_owned())
                .or_insert(default);
        }
    }
    // Without it the stack starts a MongoDB of its own; the services need one.
    expected.insert(
        "MONGO_URI".to_owned(),
        "mongodb://127.0.0.1:27017/rejoinder".to_owned(),
    );

    let sample = include_str!("../../.env.sample");
    let mut listed: BTreeMap<String, String> = sample
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .filter(|(name, _)| {
            name.chars()
                .all(|letter| letter.is_ascii_uppercase() || "_0123456789".contains(letter))
        })
        .map(|(name, default)| (name.to_owned(), default.to_owned()))
        .collect();
    for name in READ_ELSEWHERE {
        assert!(
            listed.remove(name).is_some(),
            "{name} is not in .env.sample"
        );
    }
    assert_eq!(listed, expected);
}
