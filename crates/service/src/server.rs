//! The listening socket: bind, serve with TCP_NODELAY and time limits, drain at shutdown.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use socket_outlet::{OutletPlace, ThroughOutlet};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::Service;
use traces::Tracer;

use crate::client_stream::ClientStream;
use crate::connections::{ConnectionPermit, Connections, Tracked};
use crate::shared_socket::{ConnectionSocket, SharedSocket};
use crate::tls::Tls;
use crate::tracing_requests::traced;
use crate::write_limit::{WriteLimit, WriteLimits};
use crate::{ConnectionLimits, Health, Lifecycle, Metrics, Settings, health};

/// A connection that has not sent its request headers by then is closed.
const HEADER_READ_TIME_LIMIT: Duration = Duration::from_secs(30);
/// Connections to the operations port.
const OPERATORS_LIMITS: ConnectionLimits = ConnectionLimits {
    max: 64,
    per_address_max: 64,
    first_request: Duration::from_secs(10),
};
/// How many bytes of headers an HTTP/2 request may have; each of a connection's streams may have as many.
const HTTP2_HEAD_BYTES_MAX: usize = 16 * 1024;
/// How often a quiet HTTP/2 connection is asked whether it still lives.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// Connections that may wait to be accepted. A crowd comes at once, and whoever finds no room waits for a second or more
/// before the kernel tries again. The kernel allows no more than `net.core.somaxconn`: 4,096 by default.
const BACKLOG: u32 = 4_096;
/// The share of the grace period after which nobody is waited for with what clients are served from: it needs time, too.
/// Live clients have been told to leave by then.
const DRAINED_SHARE: f64 = 0.9;
/// How much longer than the requests the background tasks may take: they may wait for the last request.
const TASKS_TIME_MORE: Duration = Duration::from_millis(500);
/// How much longer than its grace period a process may hold its operations port.
const OPERATIONS_PORT_TIME_MORE: Duration = Duration::from_secs(4);
/// How long the last spans may take to be sent: at least, and where much of the grace period is left.
const LAST_TIME_MIN: Duration = Duration::from_millis(300);
const LAST_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two tries to take the operations port.
const OPERATIONS_PORT_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a failed accept, because the process has no file descriptor left, for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds a listener, with an error that names the address and the way out.
///
/// # Errors
/// When the address is taken or not this machine's.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| {
        format!("cannot listen on {address}: is another process using the port? Choose another one with PORT")
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Connections of a process before this one may be left on the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// `/health/live` and `/health/ready`, for the public port. `/metrics`, with `pages` below it, is served
/// on `OPERATIONS_PORT`; without that setting it comes back with the routes in development, and is
/// nowhere otherwise: what it says is not for the public.
///
/// A process that this one replaces holds its operations port until it has ended. So a port that is taken is tried again
/// in the background, for as long as a grace period. Then the process ends.
///
/// # Errors
/// When the operations port cannot be bound for another reason.
pub async fn operations_routes(
    settings: &Settings,
    health: &Health,
    metrics: &Metrics,
    pages: Router,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Router> {
    let (health, metrics, life) = (health.clone(), metrics.clone(), lifecycle.clone());
    let ready = move || health::ready(health.clone(), life.is_leaving());
    let public = Router::new()
        .route("/health/live", get(health::live))
        .route("/health/ready", get(ready));
    let pages = pages.route("/metrics", get(move || async move { metrics.render() }));
    let Some(port) = settings.operations_port else {
        return Ok(match settings.development {
            true => public.merge(pages),
            false => public,
        });
    };
    let address = SocketAddr::new(settings.host, port);
    let bound = match listen(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            tracing::warn!(%address, "the operations port is taken, will retry: metrics are not served until then");
            None
        }
        bound => Some(bound.with_context(|| no_operations_port(address))?),
    };
    if let Some(listener) = &bound {
        serves_operations(listener, lifecycle)?;
    }
    let (life, wait) = (
        lifecycle.clone(),
        settings.shutdown_grace + OPERATIONS_PORT_TIME_MORE,
    );
    let served = lifecycle.served().clone();
    let limits = settings.serve_limits();
    // The metrics show how far a shutdown is.
    lifecycle.spawn_until_served("operations server", async move {
        let listener = match bound {
            Some(listener) => listener,
            None => {
                let freed = tokio::select! {
                    freed = listen_when_free(address, wait) => freed,
                    () = served.cancelled() => return Ok(()),
                };
                let listener = freed.with_context(|| no_operations_port(address))?;
                serves_operations(&listener, &life)?;
                listener
            }
        };
        let connections = Connections::new(OPERATORS_LIMITS, None);
        // A reader of the last metrics may be cut off.
        let make = with_peer(pages);
        // Its connections stay until the end.
        let leaving = CancellationToken::new();
        drop(accept(listener, make, &leaving, &served, limits, None, connections).await);
        Ok(())
    });
    Ok(public)
}

fn no_operations_port(address: SocketAddr) -> String {
    format!("cannot listen on {address} for metrics: choose another port with OPERATIONS_PORT")
}

fn serves_operations(listener: &TcpListener, lifecycle: &Lifecycle) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "metrics are served");
    lifecycle.serve_operations(address);
    Ok(())
}

/// Takes a port as soon as it is free, within `wait`.
async fn listen_when_free(address: SocketAddr, wait: Duration) -> std::io::Result<TcpListener> {
    let deadline = Instant::now() + wait;
    loop {
        match listen(address) {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(OPERATIONS_PORT_PAUSE).await,
            bound => return bound,
        }
    }
}

/// Answers the requests of one connection. A boxed function and not a type parameter: so hyper's server is
/// compiled once, in this crate, and not for each service.
pub type Responder = Box<
    dyn Fn(Request<Incoming>) -> BoxFuture<'static, Result<Response, Infallible>> + Send + Sync,
>;

/// Makes the [`Responder`] of a new connection, by its remote address.
pub type MakeResponder = Box<dyn Fn(SocketAddr) -> Responder + Send + Sync>;

/// What bounds a server's clients, and its own end.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Time for running requests and background tasks at a shutdown.
    pub grace: Duration,
    /// What clients have to take of what is written to them, WebSockets included.
    pub write: WriteLimits,
    /// How many connections there may be.
    pub connections: ConnectionLimits,
    /// How many requests and streams one HTTP/2 connection may have open at a time.
    pub http2_streams_max: u32,
    /// How many bytes the head of a request may have; also of what is read and not processed yet.
    pub request_head_bytes_max: usize,
}

/// [`serve_within`] the limits of the settings.
///
/// # Errors
/// The reason of a background task that died.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    lifecycle: &Lifecycle,
    settings: &Settings,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    serve_traced(
        listener,
        router,
        &Tracer::off(),
        lifecycle,
        settings,
        metrics,
    )
    .await
}

/// [`serve`] with a span for each request.
///
/// # Errors
/// The reason of a background task that died.
pub async fn serve_traced(
    listener: TcpListener,
    router: Router,
    tracer: &Tracer,
    lifecycle: &Lifecycle,
    settings: &Settings,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    let (make, limits) = (traced(tracer, with_peer(router)), settings.serve_limits());
    serve_within(listener, make, lifecycle, limits, metrics).await
}

/// A router for each connection, whose requests have its remote address as [`ConnectInfo`].
fn with_peer(router: Router) -> MakeResponder {
    Box::new(move |peer| {
        let router = router.clone();
        Box::new(move |mut request| {
            request.extensions_mut().insert(ConnectInfo(peer));
            Box::pin(router.clone().call(request))
        })
    })
}

/// [`serve_tls_within`] without TLS.
///
/// # Errors
/// The reason of a background task that died.
pub async fn serve_within(
    listener: TcpListener,
    make: MakeResponder,
    lifecycle: &Lifecycle,
    limits: ServeLimits,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    serve_tls_within(listener, make, lifecycle, limits, None, metrics).await
}

/// Serves with what `make` returns for the remote address of each connection, until shutdown, then lets
/// running requests finish for the grace period and drops the rest.
/// Upgraded connections (WebSockets) belong to their handlers, which watch for the shutdown themselves.
///
/// # Errors
/// The reason of a background task that died.
pub async fn serve_tls_within(
    listener: TcpListener,
    make: MakeResponder,
    lifecycle: &Lifecycle,
    limits: ServeLimits,
    tls: Option<Arc<Tls>>,
    metrics: &Metrics,
) -> anyhow::Result<()> {
    lifecycle.serve();
    let grace = limits.grace;
    let connections = Connections::new(limits.connections.within_descriptors(), Some(metrics));
    let shutdown = lifecycle.shutdown();
    let leaving = lifecycle.leaving();
    let running = accept(listener, make, leaving, shutdown, limits, tls, connections).await;
    // One period for all: the background tasks wind up while the requests finish.
    let began = Instant::now();
    let deadline = began + grace;
    let served = async {
        if timeout_at(deadline, running.shutdown()).await.is_err() {
            tracing::warn!(
                grace_s = grace.as_secs(),
                "some requests did not finish in time and were dropped"
            );
        }
        let _ = timeout_at(deadline, lifecycle.clients_end()).await;
        lifecycle.drained().cancel();
    };
    let nearly_over = async {
        let until = began + grace.mul_f64(DRAINED_SHARE);
        let _ = timeout_at(until, lifecycle.drained().cancelled()).await;
        lifecycle.drained().cancel();
    };
    tokio::join!(served, nearly_over);
    let finished = timeout_at(deadline + TASKS_TIME_MORE, lifecycle.finish()).await;
    lifecycle.served().cancel();
    let left = deadline.saturating_duration_since(Instant::now());
    lifecycle
        .last_end(left.clamp(LAST_TIME_MIN, LAST_TIME_MAX))
        .await;
    match finished {
        Ok(result) => result,
        Err(_) => anyhow::bail!(
            "the background tasks did not stop within {} s",
            grace.as_secs()
        ),
    }
}

/// Serves each connection until `shutdown`, and returns those that are left. The port is free then. From `leaving` on,
/// each connection is closed after its next answer.
///
/// A function that returns a boxed future, because an `async fn` is compiled again in each crate that awaits it.
fn accept<'a>(
    listener: TcpListener,
    make: MakeResponder,
    leaving: &'a CancellationToken,
    shutdown: &'a CancellationToken,
    limits: ServeLimits,
    tls: Option<Arc<Tls>>,
    connections: Connections,
) -> BoxFuture<'a, GracefulShutdown> {
    Box::pin(accept_connections(
        listener,
        make,
        leaving,
        shutdown,
        limits,
        tls,
        connections,
    ))
}

async fn accept_connections(
    listener: TcpListener,
    make: MakeResponder,
    leaving: &CancellationToken,
    shutdown: &CancellationToken,
    limits: ServeLimits,
    tls: Option<Arc<Tls>>,
    connections: Connections,
) -> GracefulShutdown {
    let running = GracefulShutdown::new();
    let builder = Arc::new(connection_builder(limits));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return running,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted, will retry");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(permit) = connections.admit(peer.ip()) else {
            // If the answer does not fit the socket's buffer, the client gets none. One that speaks TLS would not read it.
            if tls.is_none() {
                let _ = stream.try_write(too_many_connections().as_bytes());
            }
            continue;
        };
        let permit = Arc::new(permit);
        let activity = Arc::clone(&permit.activity);
        let take_limit = limits.write.time;
        let task = match &tls {
            None => {
                let (socket, outlet) = (SharedSocket::new(stream), OutletPlace::default());
                let direct = Some((Arc::clone(&socket), outlet.clone()));
                let service = Tracked::new(
                    make(peer),
                    Arc::clone(&activity),
                    take_limit,
                    direct,
                    leaving.clone(),
                );
                let stream = ConnectionSocket(Arc::clone(&socket));
                let stream = WriteLimit::new(stream, limits.write, Some(Arc::clone(&permit)))
                    .counting(socket);
                let stream = ClientStream::Plain(ThroughOutlet::new(stream, outlet));
                let connection = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .into_owned();
                tokio::spawn(run(permit, running.watch(connection)))
            }
            Some(tls) => {
                let service = Tracked::new(
                    make(peer),
                    Arc::clone(&activity),
                    take_limit,
                    None,
                    leaving.clone(),
                );
                let (tls, shutdown) = (Arc::clone(tls), shutdown.clone());
                let (builder, watcher) = (Arc::clone(&builder), running.watcher());
                let counted = Arc::clone(&permit);
                let connection = async move {
                    let handshake = shutdown.run_until_cancelled(tls.handshake(stream));
                    let Some(Some(stream)) = handshake.await else {
                        return Ok(());
                    };
                    let stream = WriteLimit::new(stream, limits.write, Some(counted));
                    let stream = ClientStream::Tls(Box::new(stream));
                    let connection = builder
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .into_owned();
                    watcher.watch(connection).await
                };
                tokio::spawn(run(permit, connection))
            }
        };
        activity.runs_in(task.abort_handle());
    }
}

/// Runs a connection to its end.
async fn run(
    permit: Arc<ConnectionPermit>,
    connection: impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>>,
) {
    match permit.run(connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            let error_of_http = error.downcast_ref::<hyper::Error>();
            if error_of_http.is_some_and(hyper::Error::is_parse_too_large) {
                permit.head_was_too_large();
            }
            let error = anyhow::Error::from_boxed(error);
            tracing::debug!(error = format!("{error:#}"), "a client connection failed");
        }
        None => {
            tracing::debug!("a connection was closed because it sent no request in time")
        }
    }
}

/// HTTP/1.1 and HTTP/2 with the limits of every connection.
fn connection_builder(limits: ServeLimits) -> auto::Builder<TokioExecutor> {
    let head_bytes_max = limits.request_head_bytes_max;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIME_LIMIT)
        .max_buf_size(head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(head_bytes_max.min(HTTP2_HEAD_BYTES_MAX) as u32)
        .keep_alive_interval(HTTP2_PING_INTERVAL);
    builder
}

/// The code of the answer to a connection above the limits.
pub const TOO_MANY_CONNECTIONS: &str = "TOO_MANY_CONNECTIONS";

/// The answer to a connection above the limits.
fn too_many_connections() -> String {
    let body = format!(
        r#"{{"errors":[{{"message":"too many connections are open; try again","extensions":{{"code":"{TOO_MANY_CONNECTIONS}"}}}}]}}"#
    );
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    /// More than twice the 128 that the standard library would let wait.
    const CROWD: usize = 300;

    #[tokio::test]
    async fn a_crowd_waits_to_be_accepted() {
        let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
        let somaxconn: usize = somaxconn.trim().parse().expect("a number");
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        // Nobody accepts: whoever finds no room is tried again after a second.
        let limit = Duration::from_millis(900);
        let connect = |_| TcpStream::connect_timeout(&address, limit).expect("room");
        let waiting: Vec<TcpStream> = (0..CROWD.min(somaxconn)).map(connect).collect();
        drop(waiting);
    }
}
