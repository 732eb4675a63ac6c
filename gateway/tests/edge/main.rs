//! The gateway as its clients meet it: whole, over real sockets, in front of real subgraphs.

mod defects;
mod http_protocol;
mod life;
mod pages;
mod persisted;
mod slow_clients;
mod streaming;
mod subscriptions;
mod support;
mod tls;
mod websocket_protocol;
