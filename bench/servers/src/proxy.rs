//! The lower bound: a plain hyper reverse proxy that forwards without reading.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type Upstream = Client<HttpConnector, Incoming>;

/// Forwards every request to `target` until the process ends.
///
/// # Errors
/// When the socket fails.
pub fn serve(listener: TcpListener, target: Uri) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(accept(listener, target))
}

async fn accept(listener: TcpListener, target: Uri) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let upstream: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _peer): (_, SocketAddr) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (upstream, target) = (upstream.clone(), target.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| forward(upstream.clone(), target.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no event here.
            let _ = connection
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn forward(
    upstream: Upstream,
    target: Uri,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, hyper::Error>>, Infallible> {
    *request.uri_mut() = target;
    Ok(match upstream.request(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(_) => {
            let empty = Full::default()
                .map_err(|never: Infallible| match never {})
                .boxed();
            let mut response = Response::new(empty);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}
