//! Subscriptions: what clients share and how the gateway keeps it up.

use std::{num::ParseIntError, time::Duration};

use service::{duration, duration_from};

/// The shortest silence that can count as a loss: pings have to be rarer than answers.
const SILENCE_MIN: Duration = Duration::from_millis(100);

/// Settings of subscriptions: their buffers, their upstreams, and their limits.
#[derive(Clone, Debug, clap::Args)]
pub struct SubscriptionConfig {
    /// Admit so many WebSockets and event streams in a time, with a burst. Further ones are asked to come again after some
    /// seconds: a WebSocket with close code 1013, a stream with 503 and `Retry-After`. One address has a sixteenth of it
    /// for itself, and more while others leave half of the burst. So clients that all come back after a restart do not
    /// all read at once what they have missed. Each instance of the gateway counts for itself. Empty turns this off.
    #[arg(
        long,
        env = "LIVE_CLIENTS_RATE",
        value_name = "CLIENTS/TIME/BURST",
        default_value = "1000/1s/2000"
    )]
    pub live_clients_rate: String,
    /// Limit the bytes of one upstream subscription's events that wait for clients. A client that
    /// lags further behind ends with `SUBSCRIPTION_LAGGED`. When half of the limit waits for even
    /// the fastest client, the gateway takes no more events from the subgraph.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_BYTES", default_value_t = 4 << 20)]
    pub subscription_buffer_bytes: usize,
    /// Wait this long for the fastest client of a subscription to make room in its buffer; then end
    /// it, and others that lag too far behind, with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_WAIT", default_value = "10s", value_parser = duration)]
    pub subscription_buffer_wait: Duration,
    /// Limit the bytes of events that wait for clients, of all upstream subscriptions together.
    /// Beyond it, buffers whose events have waited for a second are shortened first, the largest
    /// before others; then the largest of the rest.
    #[arg(long, env = "SUBSCRIPTION_BUFFERS_BYTES_MAX", default_value_t = 256 << 20)]
    pub subscription_buffers_bytes_max: usize,
    /// Limit the bytes of events that wait for the clients of one address. From half of it on, each
    /// of their upstream subscriptions waits until its fastest client has read everything; beyond it,
    /// buffers whose events have waited for a second are shortened. Behind a proxy, set it to
    /// `SUBSCRIPTION_BUFFERS_BYTES_MAX`.
    #[arg(long, env = "SUBSCRIPTION_BUFFERS_BYTES_ADDRESS_MAX", default_value_t = 32 << 20)]
    pub subscription_buffers_bytes_address_max: usize,
    /// Limit also the number of one upstream subscription's events that wait for clients. Empty
    /// (the default) limits only their bytes.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_EVENTS", value_parser = count_if_any)]
    pub subscription_buffer_events: Option<usize>,
    /// Complete at most this many events of one upstream subscription at the same time. Clients
    /// still receive them in order.
    #[arg(long, env = "SUBSCRIPTION_CONCURRENT_EVENTS", default_value_t = 16)]
    pub subscription_concurrent_events: usize,
    /// Limit the bytes of one event that a subgraph sends.
    #[arg(long, env = "SUBSCRIPTION_EVENT_BYTES_MAX", default_value_t = 64 << 20)]
    pub subscription_event_bytes_max: usize,
    /// Limit the events of one upstream subscription that wait to be completed. Beyond it the
    /// gateway subscribes again after the last cursor, so that one subscription never delays the
    /// others on its connection.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_EVENTS_MAX", default_value = "16384", value_parser = at_least_one)]
    pub subscription_uncompleted_events_max: usize,
    /// Limit the bytes of one upstream subscription's events that wait or are being completed. A
    /// single larger event still passes.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_BYTES_MAX", default_value_t = 8 << 20)]
    pub subscription_uncompleted_bytes_max: usize,
    /// Limit the bytes of events that wait or are being completed, of all upstream subscriptions
    /// together. The subscriptions of one client address may use at most as many bytes as are still
    /// free. 16 KiB of each subscription always pass, and of the events larger than this limit, one
    /// at a time.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_ALL_BYTES_MAX", default_value_t = 64 << 20)]
    pub subscription_uncompleted_all_bytes_max: usize,
    /// Try for this long to reach a subgraph again; then end the affected subscriptions with
    /// `SUBSCRIPTION_UPSTREAM_LOST`.
    #[arg(long, env = "SUBSCRIPTION_RETRY_TIME", default_value = "60s", value_parser = duration)]
    pub subscription_retry_time: Duration,
    /// Limit the pause between two attempts to reach a subgraph. Each pause is random; its upper
    /// bound doubles from 100 ms to this.
    #[arg(long, env = "SUBSCRIPTION_RETRY_PAUSE_MAX", default_value = "5s", value_parser = duration)]
    pub subscription_retry_pause_max: Duration,
    /// Send a keep-alive this often to clients that receive a stream, and to the WebSockets of subgraphs
    /// (`SUBSCRIPTION_UPSTREAM_SILENCE_MAX` may ask for more).
    #[arg(long, env = "SUBSCRIPTION_KEEP_ALIVE", default_value = "10s", value_parser = duration)]
    pub subscription_keep_alive: Duration,
    /// Look this often, on average, whether an upstream subscription runs at the address of its subgraph where it
    /// belongs, and move it there by its cursor; so subscriptions spread again after an instance was away. Only for
    /// subgraphs with several addresses. 0s moves none.
    #[arg(long, env = "SUBSCRIPTION_REBALANCE_INTERVAL", default_value = "20s", value_parser = duration)]
    pub subscription_rebalance_interval: Duration,
    /// Count a subgraph as lost after this silence of its WebSocket, which is pinged twice in this time. A stream of
    /// server-sent events gets at least as long, twice the longest pause between its own keep-alives, and 60s if it
    /// has none. Clients that ask for it are told, and the gateway subscribes again. At least 100ms.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_SILENCE_MAX", default_value = "10s", value_parser = duration_from(SILENCE_MIN))]
    pub subscription_upstream_silence_max: Duration,
    /// Use server-sent events instead of a WebSocket for the subscriptions of these subgraphs, by
    /// name. By default the gateway tries a WebSocket first.
    #[arg(long, env = "SUBSCRIPTION_SSE_SUBGRAPHS", value_delimiter = ',')]
    pub subscription_sse_subgraphs: Vec<String>,
    /// Limit the bytes of a subscription's request to a subgraph, as JSON. Keep it below the
    /// largest WebSocket message that subgraphs accept: many close the connection of all
    /// subscriptions otherwise.
    #[arg(
        long,
        env = "SUBSCRIPTION_REQUEST_BYTES_MAX",
        default_value_t = 1_000_000
    )]
    pub subscription_request_bytes_max: usize,
    /// Limit the different subscriptions of all clients together; equal ones count once. Further
    /// ones fail with `SUBSCRIPTION_LIMIT_REACHED`.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_MAX", default_value_t = 5_000)]
    pub subscription_upstream_max: usize,
    /// Limit the different subscriptions that one client (one WebSocket) may start. Further ones
    /// fail with `TOO_MANY_SUBSCRIPTIONS`. Joining one that another client has started does not
    /// count.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_CLIENT_MAX", default_value_t = 100)]
    pub subscription_upstream_client_max: usize,
    /// Limit the different subscriptions that the clients of one address may start. Further ones
    /// fail with `TOO_MANY_SUBSCRIPTIONS`. Behind a proxy, set it to `SUBSCRIPTION_UPSTREAM_MAX`:
    /// all clients then have the proxy's address.
    #[arg(
        long,
        env = "SUBSCRIPTION_UPSTREAM_ADDRESS_MAX",
        default_value_t = 1_000
    )]
    pub subscription_upstream_address_max: usize,
    /// Limit the subscriptions of one address that share WebSockets to a subgraph with other
    /// addresses. Further ones get WebSockets for that address alone, so that their events do not
    /// delay those of others.
    #[arg(
        long,
        env = "SUBSCRIPTION_SHARED_SOCKETS_ADDRESS_MAX",
        default_value_t = 50
    )]
    pub subscription_shared_sockets_address_max: usize,
    /// Limit the subscriptions on one WebSocket to a subgraph; further ones open another WebSocket.
    /// Keep it below what subgraphs accept on one connection.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_OPERATIONS_MAX", default_value = "500", value_parser = at_least_one)]
    pub subscription_socket_operations_max: usize,
    /// Limit the number of operations that the gateway remembers because a subgraph closed the
    /// connection after receiving them. Such an operation gets a WebSocket of its own, or is
    /// refused.
    #[arg(long, env = "SUBSCRIPTION_QUARANTINE_MAX", default_value_t = 1_000)]
    pub subscription_quarantine_max: usize,
    /// Limit the WebSockets to one subgraph that carry a single such operation. When all are in
    /// use, further operations wait for a later attempt.
    #[arg(long, env = "SUBSCRIPTION_ALONE_SOCKETS_MAX", default_value_t = 64)]
    pub subscription_alone_sockets_max: usize,
    /// Limit the pings that a subgraph may send on one WebSocket between two pings of the gateway.
    /// Each is answered; with more, the WebSocket is closed.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_PINGS_MAX", default_value_t = 1_000)]
    pub subscription_socket_pings_max: usize,
}

/// Parses a bound; an empty text means none.
fn count_if_any(text: &str) -> Result<usize, ParseIntError> {
    match text {
        "" => Ok(usize::MAX),
        count => count.parse(),
    }
}

/// Parses a count of 1 or more.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Config;

    #[test]
    fn a_subgraph_has_some_time_to_answer_a_ping() {
        let silence = |value: &str| {
            let flag = format!("--subscription-upstream-silence-max={value}");
            let config = Config::try_parse_from(["gateway", &flag]).ok()?;
            Some(config.subscriptions.subscription_upstream_silence_max)
        };
        assert_eq!(silence("100ms"), Some(super::SILENCE_MIN));
        assert_eq!(silence("99ms"), None);
        assert_eq!(silence("0s"), None);
    }

    #[test]
    fn an_empty_bound_of_waiting_events_is_none() {
        let events = |value: &str| {
            let flag = format!("--subscription-buffer-events={value}");
            let config = Config::try_parse_from(["gateway", &flag]).ok()?;
            config.subscriptions.subscription_buffer_events
        };
        assert_eq!(events(""), Some(usize::MAX));
        assert_eq!(events("16"), Some(16));
        assert_eq!(events("many"), None);
    }
}
