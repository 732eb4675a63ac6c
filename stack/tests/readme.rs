//! README's quick start and figures agree with the tree. `web/tests/firstSteps.test.ts` goes through its steps
//! and runs its curl command on a real stack.

use clap::CommandFactory;

const README: &str = include_str!("../../README.md");
const GETTING_STARTED: &str = include_str!("../../docs/getting-started.md");
const PERFORMANCE: &str = include_str!("../../docs/performance.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

#[test]
fn the_two_commands_are_there_and_start_the_stack() {
    for page in [README, GETTING_STARTED] {
        let commands: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("cargo "))
            .filter_map(|line| line.split_once('#'))
            .map(|(command, _explanation)| command.trim())
            .collect();
        assert_eq!(commands, ["cargo run", "cargo test --workspace"]);
    }
    // `cargo run` without a package runs the only program of the default members.
    assert!(MANIFEST.contains("default-members = [\"stack\"]"));
    assert_eq!(env!("CARGO_PKG_NAME"), "stack");
}

#[test]
fn the_address_is_the_default_one() {
    let command = stack::Options::command();
    let port = command
        .get_arguments()
        .find(|argument| argument.get_id() == "port")
        .expect("an option for the port");
    let default = port.get_default_values()[0].to_str().expect("UTF-8");
    let issuer = default.parse::<u16>().expect("a port") + 3;
    for page in [README, GETTING_STARTED] {
        assert!(page.contains(&format!("ready: http://127.0.0.1:{default}/")));
        for (at, found) in page.match_indices("http://127.0.0.1:") {
            let rest = &page[at + found.len()..];
            // The development issuer is on the third port after it.
            let is_stack = [default.to_owned(), issuer.to_string()]
                .iter()
                .any(|port| rest.starts_with(&format!("{port}/")));
            assert!(is_stack, "{rest:.20}");
        }
    }
}

#[test]
fn the_options_of_the_first_page_exist() {
    let command = stack::Options::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect();
    let (_, listed) = GETTING_STARTED
        .split_once("lists the options: ")
        .expect("the list of options");
    let (listed, _) = listed.split_once('.').expect("its end");
    let listed: Vec<&str> = listed
        .split(',')
        .map(|option| option.trim().trim_matches('`'))
        .collect();
    assert_eq!(listed, known);
}

#[test]
fn the_minimum_version_of_rust_is_the_manifests() {
    let version = MANIFEST
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("a minimum version")
        .trim_matches('"');
    for page in [README, GETTING_STARTED] {
        assert!(page.contains(&format!("Rust {version} or later")));
    }
}

#[test]
fn every_figure_comes_from_a_command_on_the_page_of_figures() {
    let (_, section) = README
        .split_once("## How it compares")
        .expect("the comparison");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let section = section.replace('\n', " ");
    let commands: Vec<&str> = section
        .split('`')
        .filter(|text| text.starts_with("cargo run --release -p bench"))
        .collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        assert!(PERFORMANCE.contains(command), "{command}");
    }

    let figures: Vec<String> = section
        .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .map(|text| text.trim_matches(['.', ',']).replace(',', ""))
        .filter(|text| text.len() > 2)
        // A licence's version, and the anchor of a link.
        .filter(|text| text.parse() != Ok(2.0) && text != "0310" && text != "2026")
        .collect();
    assert!(figures.len() > 8, "{figures:?}");
    for figure in figures {
        assert!(PERFORMANCE.contains(&figure), "{figure}");
    }
}
