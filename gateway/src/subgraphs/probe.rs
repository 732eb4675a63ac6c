//! Asks an address that is down whether it is up again, and one that may hang whether it answers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    balancer::Balancer,
    http_connection::ResponseLimits,
    instance::{Instance, Outcome},
};

/// A query that every GraphQL server answers, without looking at anything.
const QUERY: &[u8] = br#"{"query":"{__typename}"}"#;
/// The mean of the longest pause, unless the address is up and down all the time.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const TIME_LIMIT: Duration = Duration::from_secs(5);
const LIMITS: ResponseLimits = ResponseLimits {
    body_bytes_max: 64 * 1024,
    overhead_bytes_max: 16 * 1024,
};

/// Probes until the address answers, after pauses that double. Ends with the subgraph.
pub(super) async fn run(balancer: Weak<Balancer>, instance: Weak<Instance>) {
    let mut last_pause = Duration::ZERO;
    loop {
        let Some(first_pause) = instance.upgrade().map(|it| it.probe_pause()) else {
            return;
        };
        let pause = first_pause.max(PAUSE_MAX.min(last_pause * 2));
        last_pause = pause;
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        let (Some(balancer), Some(instance)) = (balancer.upgrade(), instance.upgrade()) else {
            return;
        };
        let began = instance.turn();
        // A request may have got an answer, when all were down.
        if instance.is_down() && answers(&balancer, &instance).await {
            balancer.restore(&instance, began);
        }
        if !instance.is_down() && instance.end_probes() {
            return;
        }
    }
}

/// Probes an address that is up and does not answer. It is ejected if it does not answer this, either.
pub(super) async fn once(balancer: Weak<Balancer>, instance: Weak<Instance>) {
    let (Some(balancer), Some(instance)) = (balancer.upgrade(), instance.upgrade()) else {
        return;
    };
    let began = instance.turn();
    if !answers(&balancer, &instance).await {
        balancer.report(&instance, Outcome::Hung, began);
    }
    instance.end_suspicion();
}

async fn answers(balancer: &Balancer, instance: &Arc<Instance>) -> bool {
    let exchange = async {
        let mut connection = instance.pool.connect().await?;
        let head = instance.origin.signed_head(QUERY, b"");
        let answer = connection.exchange(&head, QUERY, false, LIMITS).await?;
        instance.pool.put_back(connection);
        Ok::<_, super::FetchError>(answer.status)
    };
    let time_limit = TIME_LIMIT.min(balancer.settings.timeout);
    match tokio::time::timeout(time_limit, exchange).await {
        // One that refuses the query is up, too.
        Ok(Ok(status)) => status < 500,
        _ => false,
    }
}
