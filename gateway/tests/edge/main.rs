//! Tests of the whole gateway over real sockets, with real subgraphs.

mod after_a_limit;
mod defects;
mod distinct_subscriptions;
mod event_buffers;
mod every_transport;
mod hostile_subgraphs;
mod http_protocol;
mod identity;
mod identity_live;
mod life;
mod metrics_pages;
mod pages;
mod persisted;
mod prepared;
mod shared_sockets;
mod signed_requests;
mod slow_clients;
mod streaming;
mod subgraph_connections;
mod subgraph_errors;
mod subscriptions;
mod support;
mod tls;
mod upstream_protocols;
mod user_information;
mod websocket_protocol;
