//! GraphQL over HTTP (POST, GET), WebSocket, server-sent events and multipart, for any service.
//!
#![doc = include_str!("../README.md")]
//!
//! # Layout of the source
//!
//! | module | gives | protocol |
//! |---|---|---|
//! | [`service`] | the trait, what all transports of a process share, the outcome of a request | |
//! | [`request`], [`response`], [`event`] | what goes in, what comes out | |
//! | [`delivery`] | the contract of resumable subscriptions | `docs/resumable-subscriptions.md` |
//! | [`code`] | the codes of what transports refuse, and the HTTP status of each | |
//! | [`settings`] | every limit, once, with its default | |
//! | [`signature`] | requests that a gateway signs for its services | [RFC 9421](https://www.rfc-editor.org/rfc/rfc9421) |
//! | [`metrics`] | counters by transport and code | |
//! | [`http`] | POST and GET: reading, `Accept`, status codes, CSRF, CORS, compression | [GraphQL over HTTP](https://graphql.github.io/graphql-over-http/draft/) |
//! | [`websocket`] | subscriptions, queries and mutations over one socket | [graphql-transport-ws](https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md) |
//! | `sse` | one operation an event stream | [graphql-sse](https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md), distinct connections |
//! | `multipart` | the same for Apollo Client | [multipart subscriptions](https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol) |
//! | `streaming` | what event streams have in common | |
//! | `direct_sender`, `direct_event` | events for many clients, around the tasks of their connections | |
//! | [`coding`] | bodies in gzip, br and zstd | [RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#name-content-codings) |
//! | [`uploads`] | files of clients | [multipart requests](https://github.com/jaydenseric/graphql-multipart-request-spec) |
//! | `isolation` | deadline, panic isolation and counters around each request | |
//! | [`counted`] | a stream whose reads are counted, for bounds on what is not whole yet | |
//! | `in_flight` | bounds on unfinished request bodies and on answers that are not taken | |
//! | `drain` | when each live client is told of a shutdown | |
//! | `trusted_proxies` | the address of a client behind proxies | |
//! | [`turns`] | the tasks of each client take turns at the processors | |
//!
//! `client`, with the feature of that name, is the other end of the same protocols, for gateways, tests and
//! tools; it shares each message and close code with the server. `testing`, with the feature of that name,
//! has clients that do what no client should.
//!
//! A service has codes of its own. It gives the crate their text, and an HTTP status for those that
//! need one ([`code::Refused`]).
//!
//! To add a transport: read a [`GraphqlRequest`], hand it to `isolation::answer`, write the outcome,
//! and add its rules to the conformance tests in `tests/`, which run against both services.

#[cfg(feature = "client")]
pub mod client;
mod client_key;
pub mod code;
pub mod coding;
pub mod counted;
pub mod delivery;
mod direct_event;
mod direct_sender;
mod drain;
pub mod event;
pub mod http;
mod in_flight;
mod isolation;
pub mod metrics;
mod multipart;
mod per_client;
pub mod request;
pub mod response;
pub mod service;
pub mod settings;
pub mod signature;
mod sse;
mod streaming;
#[cfg(feature = "testing")]
pub mod testing;
mod trusted_proxies;
pub mod turns;
pub mod uploads;
pub mod websocket;

pub use client_key::ClientKey;
pub use code::{Code, Refusal, Refused};
pub use delivery::{Delivery, Guarantee, Stands, Status};
pub use direct_event::DirectEvent;
pub use direct_sender::DirectSender;
pub use event::{Event, EventStream};
pub use http::{Front, routes};
pub use metrics::{GaugeGuard, Transport, TransportMetrics};
pub use per_client::PerClient;
pub use request::{
    Admitted, ClientContext, ClientSocket, EventStreamSocket, GraphqlRequest, NotAdmitted,
};
pub use response::{GraphqlResponse, ResponseKind};
pub use service::{Outcome, Service, Serving};
pub use settings::{HttpSettings, Settings, WebSocketSettings};
pub use signature::{SecretSetting, Secrets, Signer, Verifier};
pub use socket_outlet::{Outlet, Sent};
pub use trusted_proxies::{Network, NoNetwork, TrustedProxies};
pub use turns::{ClientTurns, tasks_per_client_max};

pub use axum;
pub use prometheus_client;
