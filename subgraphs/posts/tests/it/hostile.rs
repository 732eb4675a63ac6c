//! Hostile requests: each is refused with its code, and the service keeps running.

use crate::service::Posts;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hostile_requests_are_refused_over_every_transport() {
    let service = Posts::start().await;
    service.refuses_hostile_requests().await;
    service.stop().await;
}
