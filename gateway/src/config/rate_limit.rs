//! Settings of the rate limit: how much each client may ask for in a time.

/// What happens to a client above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RateLimitMode {
    /// Refuse what is too much with `RATE_LIMITED`.
    Enforce,
    /// Serve it, and count it in the metrics.
    Measure,
}

/// The rate limit. Off without `RATE_LIMIT`: then nothing is counted.
#[derive(Clone, Debug, clap::Args)]
pub struct RateLimitConfig {
    /// Limit the cost that each client may ask for in a time: `6000/1m` gives 100 units a second. A client is the
    /// subject of a token, or else an address. A request costs its estimated cost (see `LIMIT_COST_MAX`), at least 1, and
    /// so does each event of a subscription. Each instance of the gateway counts for itself. By default there is no limit.
    #[arg(long, env = "RATE_LIMIT", value_name = "COST/TIME")]
    pub rate_limit: Option<String>,
    /// Allow a client so much cost at once after it was quiet. By default the cost of `RATE_LIMIT`: `6000/1m` allows 6,000
    /// at once, and then 100 a second. An operation that costs more is never executed.
    #[arg(long, env = "RATE_LIMIT_BURST", value_name = "COST")]
    pub rate_limit_burst: Option<String>,
    /// Limit clients whose token has one of these scopes by another rate, with an optional burst:
    /// `bulk=60000/1m,partner=20000/1m/40000`. Of all rates that apply to a client, the most generous one counts.
    #[arg(
        long,
        env = "RATE_LIMIT_SCOPES",
        value_delimiter = ',',
        value_name = "SCOPE=COST/TIME"
    )]
    pub rate_limit_scopes: Vec<String>,
    /// Choose what happens above `RATE_LIMIT`: `enforce` refuses, `measure` serves and counts in the metrics what would be
    /// refused.
    #[arg(long, env = "RATE_LIMIT_MODE", value_enum, default_value = "enforce")]
    pub rate_limit_mode: RateLimitMode,
    /// Remember so many clients that have used up a part of their limit, in at most 32 bytes each: 32 MB. Beyond it, those
    /// are forgotten that have used up the least.
    #[arg(long, env = "RATE_LIMIT_KEYS_MAX", default_value_t = 1_000_000, value_parser = keys_max)]
    pub rate_limit_keys_max: usize,
}

/// 320 MB of memory.
const KEYS_MOST: usize = 10_000_000;

fn keys_max(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(keys @ 1..=KEYS_MOST) => Ok(keys),
        Ok(_) => Err(format!("a number from 1 to {KEYS_MOST} is needed")),
        Err(error) => Err(format!("it is not a number: {error}")),
    }
}

impl RateLimitConfig {
    /// The limit, if there is one.
    pub fn rate(&self) -> Option<&str> {
        set(self.rate_limit.as_deref())
    }

    /// The burst, if it is set.
    pub fn burst(&self) -> Option<&str> {
        set(self.rate_limit_burst.as_deref())
    }
}

/// An empty value counts as none: it is how compose files leave a setting out.
fn set(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}
