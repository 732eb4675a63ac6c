//! Subscriptions: what clients share and how the gateway keeps it up.

use std::{num::ParseIntError, time::Duration};

use graphql_transport::settings::duration;

/// Subscriptions: what clients share and how the gateway keeps it up.
#[derive(Clone, Debug, clap::Args)]
pub struct SubscriptionConfig {
    /// Bytes of one upstream subscription's events that wait for its clients at most. A client that is
    /// further behind ends with `SUBSCRIPTION_LAGGED`. While half of it waits for even the quickest
    /// client, no more events are taken from the subgraph.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_BYTES", default_value_t = 4 << 20)]
    pub subscription_buffer_bytes: usize,
    /// How long the quickest client may take to make room, before it and others that are too far behind
    /// end with `SUBSCRIPTION_LAGGED`.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_WAIT", default_value = "10s", value_parser = duration)]
    pub subscription_buffer_wait: Duration,
    /// The same bytes of all upstream subscriptions together. Beyond it, those whose events have waited for
    /// a second give way, the largest first, and then the largest of the others.
    #[arg(long, env = "SUBSCRIPTION_BUFFERS_BYTES_MAX", default_value_t = 256 << 20)]
    pub subscription_buffers_bytes_max: usize,
    /// Events that wait for a client at most, if their number shall be bounded as well as their bytes.
    /// Empty leaves it open.
    #[arg(long, env = "SUBSCRIPTION_BUFFER_EVENTS", value_parser = count_if_any)]
    pub subscription_buffer_events: Option<usize>,
    /// Events of one upstream subscription that are completed at the same time, in order.
    #[arg(long, env = "SUBSCRIPTION_CONCURRENT_EVENTS", default_value_t = 16)]
    pub subscription_concurrent_events: usize,
    /// The largest event of a subgraph, in bytes.
    #[arg(long, env = "SUBSCRIPTION_EVENT_BYTES_MAX", default_value_t = 64 << 20)]
    pub subscription_event_bytes_max: usize,
    /// Events of one upstream subscription that wait to be completed. With more it is begun again from its
    /// cursor, so that it never holds up the others on its connection.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_EVENTS_MAX", default_value = "16384", value_parser = at_least_one)]
    pub subscription_uncompleted_events_max: usize,
    /// Bytes of them, with those that are being completed; a single larger event still passes.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_BYTES_MAX", default_value_t = 8 << 20)]
    pub subscription_uncompleted_bytes_max: usize,
    /// The same bytes of all upstream subscriptions together. Those of one client address may have as many as
    /// nobody uses. 16 KiB of each always find room, and of events that are larger than all of it, one at a
    /// time.
    #[arg(long, env = "SUBSCRIPTION_UNCOMPLETED_ALL_BYTES_MAX", default_value_t = 128 << 20)]
    pub subscription_uncompleted_all_bytes_max: usize,
    /// How long the gateway tries to reach a subgraph again before the affected subscriptions end
    /// with `SUBSCRIPTION_UPSTREAM_LOST`.
    #[arg(long, env = "SUBSCRIPTION_RETRY_TIME", default_value = "60s", value_parser = duration)]
    pub subscription_retry_time: Duration,
    /// The longest pause between two attempts; each pause is random, and their bound doubles from
    /// 100 ms up to this.
    #[arg(long, env = "SUBSCRIPTION_RETRY_PAUSE_MAX", default_value = "5s", value_parser = duration)]
    pub subscription_retry_pause_max: Duration,
    /// How often subgraph sockets and streaming clients are sent a sign of life.
    #[arg(long, env = "SUBSCRIPTION_KEEP_ALIVE", default_value = "10s", value_parser = duration)]
    pub subscription_keep_alive: Duration,
    /// Subgraphs that speak subscriptions over server-sent events instead of a WebSocket.
    #[arg(long, env = "SUBSCRIPTION_SSE_SUBGRAPHS", value_delimiter = ',')]
    pub subscription_sse_subgraphs: Vec<String>,
    /// The largest request for a subscription, in bytes of JSON. It has to be below what subgraphs
    /// accept as a WebSocket message: many close the connection of all subscriptions otherwise.
    #[arg(
        long,
        env = "SUBSCRIPTION_REQUEST_BYTES_MAX",
        default_value_t = 1_000_000
    )]
    pub subscription_request_bytes_max: usize,
    /// Different subscriptions of all clients together; clients with equal ones count once. One more
    /// is refused with `SUBSCRIPTION_LIMIT_REACHED`.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_MAX", default_value_t = 5_000)]
    pub subscription_upstream_max: usize,
    /// Different subscriptions that one client (a WebSocket) may begin. One more is refused with
    /// `TOO_MANY_SUBSCRIPTIONS`. One that another client has begun does not count.
    #[arg(long, env = "SUBSCRIPTION_UPSTREAM_CLIENT_MAX", default_value_t = 100)]
    pub subscription_upstream_client_max: usize,
    /// Different subscriptions that the clients of one address may begin. One more is refused with
    /// `TOO_MANY_SUBSCRIPTIONS`. Behind a proxy, set it to `SUBSCRIPTION_UPSTREAM_MAX`.
    #[arg(
        long,
        env = "SUBSCRIPTION_UPSTREAM_ADDRESS_MAX",
        default_value_t = 1_000
    )]
    pub subscription_upstream_address_max: usize,
    /// Subscriptions of one address that share WebSockets to a subgraph with those of others. For more,
    /// WebSockets of its own are opened, so that their events keep nobody else's waiting.
    #[arg(
        long,
        env = "SUBSCRIPTION_SHARED_SOCKETS_ADDRESS_MAX",
        default_value_t = 50
    )]
    pub subscription_shared_sockets_address_max: usize,
    /// Subscriptions on one WebSocket to a subgraph; for more, another is opened. It has to be below
    /// what subgraphs accept on one connection.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_OPERATIONS_MAX", default_value = "500", value_parser = at_least_one)]
    pub subscription_socket_operations_max: usize,
    /// Operations that are remembered because a subgraph ended the connection on which they arrived.
    /// Such an operation goes over a connection of its own, or is refused.
    #[arg(long, env = "SUBSCRIPTION_QUARANTINE_MAX", default_value_t = 1_000)]
    pub subscription_quarantine_max: usize,
    /// WebSockets to one subgraph for such operations. Where more are needed at a time, operations wait
    /// for a later attempt.
    #[arg(long, env = "SUBSCRIPTION_ALONE_SOCKETS_MAX", default_value_t = 64)]
    pub subscription_alone_sockets_max: usize,
    /// Pings of a subgraph on one WebSocket between two of the gateway's own (`SUBSCRIPTION_KEEP_ALIVE`).
    /// Each is answered; with more, the WebSocket is closed.
    #[arg(long, env = "SUBSCRIPTION_SOCKET_PINGS_MAX", default_value_t = 1_000)]
    pub subscription_socket_pings_max: usize,
}

/// Reads a bound that an empty text leaves open.
fn count_if_any(text: &str) -> Result<usize, ParseIntError> {
    match text {
        "" => Ok(usize::MAX),
        count => count.parse(),
    }
}

/// Reads a count that must not be 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be 1 or more".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{text:?} is not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::config::Config;

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
