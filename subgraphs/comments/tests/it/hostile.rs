//! Requests that are meant to stop the service: each is refused with its code, and the service goes on.

use crate::service::Comments;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hostile_requests_are_refused_over_every_transport() {
    let service = Comments::start().await;
    service.refuses_hostile_requests().await;
    service.stop().await;
}
