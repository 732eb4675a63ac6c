//! Which rate applies to a client.

use anyhow::{Context, anyhow, ensure};

use super::gcra::Rate;
use crate::config::{RateLimitConfig, listed};

/// The rate of all clients, and those of scopes.
pub(super) struct Rates {
    all: Rate,
    scopes: Vec<(String, Rate)>,
}

impl Rates {
    /// Reads the settings; `None` if there is no limit.
    ///
    /// # Errors
    /// If one is malformed, or needs another one.
    pub(super) fn new(config: &RateLimitConfig, has_tokens: bool) -> anyhow::Result<Option<Self>> {
        let mut scopes = Vec::new();
        for text in listed(&config.rate_limit_scopes) {
            scopes.push(scope(text).map_err(|why| anyhow!("RATE_LIMIT_SCOPES: {why}"))?);
        }
        let Some(text) = config.rate() else {
            let is_alone = !scopes.is_empty() || config.burst().is_some();
            ensure!(
                !is_alone,
                "RATE_LIMIT_BURST and RATE_LIMIT_SCOPES need RATE_LIMIT"
            );
            return Ok(None);
        };
        ensure!(
            scopes.is_empty() || has_tokens,
            "RATE_LIMIT_SCOPES needs JWT_JWKS: scopes come from tokens"
        );
        let mut all = Rate::read(text)
            .map_err(anyhow::Error::msg)
            .context("RATE_LIMIT")?;
        if let Some(burst) = config.burst() {
            let rate = all.with_burst(burst).map_err(anyhow::Error::msg);
            all = rate.context("RATE_LIMIT_BURST")?;
        }
        for (scope, rate) in &scopes {
            if rate.is_more_generous_than(&all) && rate.burst() < all.burst() {
                tracing::warn!(
                    scope,
                    burst = rate.burst(),
                    burst_of_all = all.burst(),
                    "RATE_LIMIT_SCOPES gives a scope a smaller burst than RATE_LIMIT: operations that cost more are \
                     refused with it and served without"
                );
            }
        }
        Ok(Some(Self { all, scopes }))
    }

    /// The most generous rate that applies to a client with these scopes, sorted.
    pub(super) fn of(&self, scopes: &[String]) -> Rate {
        let applies = |(scope, _): &&(String, Rate)| scopes.binary_search(scope).is_ok();
        let mut most = self.all;
        for (_, rate) in self.scopes.iter().filter(applies) {
            if rate.is_more_generous_than(&most) {
                most = *rate;
            }
        }
        most
    }
}

/// All mistakes in the settings, where [`Rates::new`] ends at the first one.
pub(super) fn mistakes(config: &RateLimitConfig, has_tokens: bool) -> Vec<String> {
    let scopes = listed(&config.rate_limit_scopes).map(scope);
    let scopes = scopes.filter_map(|read| Some(format!("RATE_LIMIT_SCOPES: {}", read.err()?)));
    let mut mistakes: Vec<String> = scopes.collect();
    let rate = config.rate().map(Rate::read);
    if let Some(Err(reason)) = &rate {
        mistakes.push(format!("RATE_LIMIT: {reason}"));
    }
    if let (Some(Ok(rate)), Some(burst)) = (rate, config.burst())
        && let Err(reason) = rate.with_burst(burst)
    {
        mistakes.push(format!("RATE_LIMIT_BURST: {reason}"));
    }
    // What does not go together.
    if mistakes.is_empty() {
        let rates = Rates::new(config, has_tokens);
        mistakes.extend(rates.err().map(|error| format!("{error:#}")));
    }
    mistakes
}

/// A scope may have a `=` itself.
fn scope(text: &str) -> Result<(String, Rate), String> {
    let (scope, rate) = text
        .rsplit_once('=')
        .filter(|(scope, _)| !scope.trim().is_empty())
        .ok_or_else(|| format!("{text:?} is not of the form bulk=60000/1m"))?;
    Ok((scope.trim().to_owned(), Rate::read(rate)?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    fn rates(arguments: &[&str], has_tokens: bool) -> anyhow::Result<Option<Rates>> {
        let config = Config::parse_from(["gateway"].iter().chain(arguments));
        Rates::new(&config.rate_limit, has_tokens)
    }

    #[test]
    fn the_most_generous_rate_of_a_clients_scopes_counts() {
        let scopes = "--rate-limit-scopes=bulk=600/1m, partner=200/1m,less=1/1h,a=b=300/1m";
        let rates = rates(&["--rate-limit=100/1m", scopes], true);
        let rates = rates.expect("well-formed").expect("a limit");
        let of = |scopes: &[&str]| {
            let scopes: Vec<_> = scopes.iter().map(|&scope| scope.to_owned()).collect();
            rates.of(&scopes).burst()
        };
        assert_eq!(of(&[]), 100);
        assert_eq!(of(&["other"]), 100);
        assert_eq!(of(&["less"]), 100);
        assert_eq!(of(&["bulk", "less", "partner"]), 600);
        assert_eq!(of(&["a=b", "partner"]), 300);
    }

    #[test]
    fn settings_that_need_others_say_so() {
        assert!(rates(&[], true).expect("no limit").is_none());
        assert!(rates(&["--rate-limit="], true).expect("no limit").is_none());
        let limit = "--rate-limit=100/1m";
        for (arguments, has_tokens, why) in [
            (&["--rate-limit-burst=5"][..], true, "need RATE_LIMIT"),
            (&["--rate-limit-scopes=a=1/1s"], true, "need RATE_LIMIT"),
            (&[limit, "--rate-limit-scopes=a=1/1s"], false, "JWT_JWKS"),
            (&[limit, "--rate-limit-scopes=a"], true, "RATE_LIMIT_SCOPES"),
            (
                &[limit, "--rate-limit-scopes==1/1s"],
                true,
                "RATE_LIMIT_SCOPES",
            ),
            (&[limit, "--rate-limit-burst=0"], true, "RATE_LIMIT_BURST"),
            (&["--rate-limit=100"], true, "RATE_LIMIT"),
        ] {
            let error = rates(arguments, has_tokens).err().expect(why);
            let error = format!("{error:#}");
            assert!(error.contains(why), "{error}");
        }
    }
}
