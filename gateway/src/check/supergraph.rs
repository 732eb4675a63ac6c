//! The mistakes in the supergraph, and in the addresses of its subgraphs.

use federation::Checked;

use super::{Mistake, settings::Settings};
use crate::{
    config::{Config, Secret, SupergraphConfig, address_key},
    graph::{
        Graph,
        settings::{addresses_and_mistakes, subscription_addresses},
        subgraph_table,
    },
    subgraphs::Tls,
    supergraph_source::{Known, Reading, Source},
};

/// What the environment calls the addresses of a subgraph.
const ADDRESS: &str = "SUBGRAPH_URL_";
/// The same for those of subscriptions alone.
const SUBSCRIPTION_ADDRESS: &str = "SUBSCRIPTION_URL_";

/// Reads the supergraph once. Returns a summary if it has no mistake, and all mistakes.
pub(super) async fn check(config: &Config, settings: &Settings) -> (Option<String>, Vec<Mistake>) {
    let tls = Tls::for_providers(&config.subgraphs).unwrap_or_default();
    // What is wrong with its settings is reported with the others.
    let source = Source::new(&config.supergraph, &tls).or_else(|_| {
        // A header that a file does not need keeps nobody from reading the file.
        let without_header = SupergraphConfig {
            header: Secret::default(),
            ..config.supergraph.clone()
        };
        Source::new(&without_header, &tls)
    });
    let Ok(source) = source else {
        return (None, Vec::new());
    };
    let shown = source.shown();
    let text = match source.read(&mut Known::default()).await.outcome {
        Ok(Reading::Text(text)) => text,
        Ok(Reading::Unchanged) => String::new(),
        Err(failure) => {
            let text = format!("SUPERGRAPH: it cannot be read: {}", failure.message);
            return (None, vec![settings.mistake(&text)]);
        }
    };
    let checked = federation::check(&text);
    let mut mistakes: Vec<Mistake> = checked
        .mistakes
        .iter()
        .map(|mistake| at(&shown, mistake.place, mistake.message.clone()))
        .collect();
    mistakes.extend(of_addresses(config, &shown, &checked));
    if mistakes.is_empty()
        && let Err(error) = Graph::load(&text, crate::graph::Settings::default())
    {
        // What only loading finds.
        let is_address = matches!(error, crate::graph::SupergraphError::Address { .. });
        if !is_address {
            mistakes.push(at(&shown, None, error.to_string()));
        }
    }
    (
        mistakes
            .is_empty()
            .then(|| summary(&shown, &text, &checked)),
        mistakes,
    )
}

fn at(shown: &str, place: Option<(usize, usize)>, reason: String) -> Mistake {
    let place = match place {
        Some((line, column)) => format!("{shown}:{line}:{column}"),
        None => shown.to_owned(),
    };
    Mistake { place, reason }
}

/// What is wrong with the addresses of subgraphs, in the settings and in the supergraph.
fn of_addresses(config: &Config, shown: &str, checked: &Checked) -> Vec<Mistake> {
    let (own, _) = addresses_and_mistakes(&config.subgraph_urls, std::env::vars());
    let mut mistakes = Vec::new();
    for (info, place) in &checked.subgraphs {
        let key = address_key(&info.name);
        let own = own.get(&key);
        for reason in subgraph_table::mistakes(info, own.map(String::as_str)) {
            let reason = format!("subgraph {}: {reason}", info.name);
            mistakes.push(match own {
                Some(value) => Mistake {
                    place: super::settings::shown(&format!("{ADDRESS}{key}={value}")),
                    reason: super::settings::shown(&reason),
                },
                None => at(shown, *place, super::settings::shown(&reason)),
            });
        }
    }
    let of_subscriptions = subscription_addresses(std::env::vars());
    for (info, _) in &checked.subgraphs {
        let key = address_key(&info.name);
        let Some(value) = of_subscriptions.get(&key) else {
            continue;
        };
        for reason in subgraph_table::mistakes(info, Some(value)) {
            let reason = subgraph_table::of_subscriptions(&reason);
            let reason = format!("subgraph {}: {reason}", info.name);
            mistakes.push(Mistake {
                place: super::settings::shown(&format!("{SUBSCRIPTION_ADDRESS}{key}={value}")),
                reason: super::settings::shown(&reason),
            });
        }
    }
    // Without subgraphs, the supergraph is what is wrong.
    let is_known = |key: &str| {
        let mut subgraphs = checked.subgraphs.iter();
        subgraphs.any(|(info, _)| address_key(&info.name) == *key)
    };
    let own = own.iter().map(|(key, value)| (ADDRESS, key, value));
    let others = of_subscriptions.iter();
    let others = others.map(|(key, value)| (SUBSCRIPTION_ADDRESS, key, value));
    let mut unknown: Vec<_> = own
        .chain(others)
        .filter(|(_, key, _)| !is_known(key))
        .collect();
    unknown.sort_unstable();
    if !checked.subgraphs.is_empty() {
        mistakes.extend(unknown.into_iter().map(|(prefix, key, value)| Mistake {
            place: super::settings::shown(&format!("{prefix}{key}={value}")),
            reason: "the supergraph has no subgraph of this name".to_owned(),
        }));
    }
    mistakes
}

fn summary(shown: &str, text: &str, checked: &Checked) -> String {
    let names = checked.subgraphs.iter().map(|(info, _)| &*info.name);
    let names: Vec<&str> = names.collect();
    let subgraphs = names.join(", ");
    format!(
        "supergraph: {shown} has {} types from {} subgraphs ({subgraphs}) in {} bytes, and no mistake is in it",
        checked.types,
        names.len(),
        text.len(),
    )
}
