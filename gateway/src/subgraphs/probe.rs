//! Asks an address that is down whether it is up again, and one that may hang whether it answers.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    HttpResponse,
    attempt::Addresses,
    balancer::Balancer,
    http_connection::ResponseLimits,
    instance::{Instance, Outcome},
    origin::Origin,
    pool::Pool,
};

/// A query that every GraphQL server answers, without looking at anything.
const QUERY: &[u8] = br#"{"query":"{__typename}"}"#;
/// The mean of the longest pause, unless the address is up and down all the time.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// So many addresses are probed to find out whether a subgraph is available.
const PROBES_MAX: usize = 8;
const LIMITS: ResponseLimits = ResponseLimits {
    body_bytes_max: 64 * 1024,
    overhead_bytes_max: 16 * 1024,
    may_be_encoded: true,
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

/// Whether a subgraph answers a probe at any of the addresses where requests would go now.
pub(super) async fn any_answers(addresses: &Addresses) -> bool {
    let balancer = match addresses {
        Addresses::One(one) => return is_answered(&one.0, &one.1, TIME_LIMIT).await,
        Addresses::Several(balancer) => balancer,
    };
    // No request resolves them while the subgraph is unavailable.
    balancer.resolve_after_failure().await;
    let (_, candidates) = balancer.candidates(&[]);
    let probes = candidates.iter().take(PROBES_MAX);
    let mut probes: FuturesUnordered<_> = probes.map(|it| answers(balancer, it)).collect();
    while let Some(answers) = probes.next().await {
        if answers {
            return true;
        }
    }
    false
}

async fn answers(balancer: &Balancer, instance: &Arc<Instance>) -> bool {
    let time_limit = TIME_LIMIT.min(balancer.settings.timeout);
    is_answered(&instance.origin, &instance.pool, time_limit).await
}

async fn is_answered(origin: &Origin, pool: &Pool, time_limit: Duration) -> bool {
    let exchange = async {
        let mut connection = pool.connect().await?;
        let head = origin.signed_head(QUERY, b"");
        let answer = connection.exchange(&head, QUERY, false, LIMITS).await?;
        pool.put_back(connection);
        Ok::<_, super::FetchError>(answer)
    };
    match tokio::time::timeout(time_limit, exchange).await {
        // One that refuses the query is up, too, and so is one that asks for patience: it has too much to do.
        Ok(Ok(answer)) => answer.status < 500 || sheds_load(&answer),
        _ => false,
    }
}

/// Whether an answer is that of a server which works, and has too much to do: 503 with `Retry-After`.
pub(super) fn sheds_load(answer: &HttpResponse) -> bool {
    answer.status == 503 && answer.retry_after.is_some()
}
