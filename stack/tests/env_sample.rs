//! `.env.sample` names every setting that a binary reads from the environment, with its default, and
//! no other. `docs/operating.md` lists the settings that are still read by an old name.

use std::collections::BTreeMap;

use clap::CommandFactory;

/// Read elsewhere than by clap: the sample explains them by hand.
const READ_ELSEWHERE: [&str; 5] = [
    "SUBGRAPH_URL_POSTS",
    "SUBGRAPH_URL_COMMENTS",
    "SUBSCRIPTION_URL_POSTS",
    "SUBSCRIPTION_URL_COMMENTS",
    "MONGOD",
];

#[test]
fn the_sample_lists_every_setting_with_its_default() {
    let mut expected = BTreeMap::new();
    for command in [
        stack::Options::command(),
        posts::Config::command(),
        comments::Config::command(),
        gateway::config::Config::command(),
        pages::Config::command(),
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
            let name = name.to_string_lossy().into_owned();
            let listed = expected.entry(name).or_insert_with(|| default.clone());
            // The gateway would not pass on what the page service may send.
            let is_shared = argument.get_id() == "pages_bytes_max";
            assert!(!is_shared || *listed == default, "{listed}, {default}");
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

#[test]
fn the_page_for_operators_lists_every_old_name() {
    let commands = [
        posts::Config::command(),
        comments::Config::command(),
        gateway::config::Config::command(),
    ];
    let mut expected = BTreeMap::new();
    for argument in commands.iter().flat_map(clap::Command::get_arguments) {
        for alias in argument.get_aliases().unwrap_or_default() {
            let variable = argument.get_env().expect("a variable").to_string_lossy();
            let default = argument.get_default_values()[0].to_string_lossy();
            expected.insert(
                alias.to_uppercase().replace('-', "_"),
                (variable.into_owned(), default.into_owned()),
            );
        }
    }
    let page = include_str!("../../docs/operating.md");
    let (_, table) = page.split_once("| old name,").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let listed: BTreeMap<String, (String, String)> = table
        .lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<_> = line
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            (
                cells[1].to_owned(),
                (cells[2].to_owned(), cells[3].to_owned()),
            )
        })
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_sample_explains_the_subgraphs_settings_in_the_words_of_their_help() {
    /// Two programs explain them differently: the sample has both texts.
    const EXPLAINED_TWICE: [&str; 4] = [
        "PORT",
        "OPERATIONS_PORT",
        "READY_LAG_MAX",
        "SUBGRAPH_SECRET",
    ];
    let sample = include_str!("../../.env.sample");
    let sample: Vec<&str> = sample
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    let sample = one_line(&sample.join(" "));
    for command in [posts::Config::command(), comments::Config::command()] {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_env().and_then(|name| name.to_str()) else {
                continue;
            };
            let help = argument.get_long_help().or(argument.get_help());
            let help = help.expect("an explanation").to_string();
            let explained = format!("{} #{name}=", one_line(&help).trim_end_matches('.'));
            assert!(
                sample.contains(&explained) || EXPLAINED_TWICE.contains(&name),
                "{explained}"
            );
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
