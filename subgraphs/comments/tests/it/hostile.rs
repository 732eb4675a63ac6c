//! Requests that are meant to stop the service: each is refused with its code, and the service goes on.

use std::time::{Duration, Instant};

use subgraph::hostile::{self, Hostile};

use crate::service::Comments;

/// Generous, for debug builds on busy machines. Without a limit most of the requests never end.
const TIME_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hostile_requests_are_refused_over_every_transport() {
    let service = Comments::start().await;
    let mut socket = service.websocket().await;
    for (number, hostile) in hostile::requests().into_iter().enumerate() {
        let Hostile {
            name,
            query,
            variables,
            code,
        } = hostile;
        let start = Instant::now();
        let refused = service.error_code(&query, variables.clone()).await;
        assert_eq!(refused, code, "{name}");
        socket
            .subscribe_with(&number.to_string(), &query, variables)
            .await;
        let message = socket.receive().await;
        let first = &message["payload"][0]["extensions"]["code"];
        assert_eq!(first, code, "{name}: {message}");
        assert!(start.elapsed() < TIME_MAX, "{name}: {:?}", start.elapsed());
        let live = service.http().get(service.url("/health/live")).send().await;
        assert!(live.expect("an answer").status().is_success(), "{name}");
    }
    service.stop().await;
}
