//! Sends a request to one of several addresses, and to another one if that is safe.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{
    FetchError, HttpResponse,
    attempt::{HANGS_AFTER, Outgoing},
    balancer::Balancer,
    http_connection::{HttpConnection, is_broken},
    instance::{Instance, Outcome, Rank},
};

/// So often a request tries an address that is down: each may take the whole time to connect.
const TRIES_DOWN_MAX: u32 = 2;
/// How often a query is sent again after it may have been taken.
const REPEATS_MAX: u32 = 1;

/// What an attempt ended with, without an answer.
struct Failure {
    error: FetchError,
    /// Whether the connection had served another request before.
    was_used: bool,
    /// Whether it is certain that the address has not taken the request.
    is_untaken: bool,
}

impl Failure {
    fn unreachable(error: FetchError) -> Self {
        Self {
            error,
            was_used: false,
            is_untaken: true,
        }
    }

    fn outcome(&self) -> Outcome {
        match (&self.error, self.is_untaken) {
            (FetchError::ClosedBeforeRequest, _) | (_, false) => {
                Outcome::of_error(&self.error, self.was_used)
            }
            (error, true) => Outcome::of_connecting(error),
        }
    }
}

/// An address for the next attempt.
struct Chosen {
    instance: Arc<Instance>,
    idle: Option<HttpConnection>,
}

/// Has an address probed if an attempt ends without an answer after a long time: nobody else would notice that it hangs
/// where all clients leave before the time limit.
struct Watched<'b> {
    balancer: &'b Arc<Balancer>,
    instance: &'b Arc<Instance>,
    since: Instant,
    is_answered: bool,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if !self.is_answered && self.since.elapsed() >= HANGS_AFTER {
            self.balancer.suspect(self.instance);
        }
    }
}

impl Balancer {
    /// Sends a request, until the deadline. Addresses that are `tried` are avoided as long as another one is up; one that
    /// answers with 502, 503 or 504 is added to them.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        tried: &mut Vec<Arc<Instance>>,
    ) -> Result<HttpResponse, FetchError> {
        if !tried.is_empty() && self.candidates(tried).0 != Rank::Up {
            tried.clear();
        }
        let (mut is_first, mut repeats, mut tries_down) = (true, 0, 0);
        loop {
            // Another kept connection may be closed as well.
            let is_fresh = !std::mem::take(&mut is_first);
            let chosen = timeout_at(deadline, self.choose(tried, deadline, is_fresh)).await;
            let Chosen { instance, idle } = chosen.unwrap_or(Err(self.took_too_long()))?;
            let began = instance.turn();
            let failure = match self.attempt(&instance, idle, outgoing, deadline).await {
                Ok((answer, is_kept)) => {
                    let status = answer.status;
                    self.report(&instance, Outcome::Answered { status, is_kept }, began);
                    if matches!(status, 502..=504) {
                        tried.push(instance);
                    }
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.report(&instance, failure.outcome(), began);
            let may_repeat = match failure.is_untaken {
                true => {
                    tries_down += u32::from(began.was_down());
                    tries_down < TRIES_DOWN_MAX
                }
                false => {
                    repeats += 1;
                    !outgoing.is_mutation && repeats <= REPEATS_MAX && is_broken(&failure.error)
                }
            };
            if !may_repeat {
                return Err(failure.error);
            }
            tried.push(instance);
            let (mut rank, mut others) = self.candidates(tried);
            if rank == Rank::Down && failure.is_untaken && !failure.was_used {
                // Its name may stand for another address by now.
                let _ = timeout_at(deadline, self.resolve_after_failure()).await;
                (rank, others) = self.candidates(tried);
            }
            match others.is_empty() || rank == Rank::Down {
                // No other is up, and this one may only have closed an idle connection.
                true if failure.was_used => {
                    tried.pop();
                }
                true if others.is_empty() => return Err(failure.error),
                _ => {}
            }
            self.metrics.sent_again(&self.subgraph);
        }
    }

    /// An address to try next, with a kept connection unless a fresh one is wanted.
    async fn choose(
        self: &Arc<Self>,
        tried: &[Arc<Instance>],
        deadline: Instant,
        is_fresh: bool,
    ) -> Result<Chosen, FetchError> {
        self.keep_resolved();
        let take_idle = |instance: &Instance| match is_fresh {
            true => None,
            false => instance.pool.take_idle(),
        };
        if let Some((_, instance)) = self.pick(tried) {
            let idle = take_idle(&instance);
            if idle.is_some() {
                return Ok(Chosen { instance, idle });
            }
            // A connection has to be opened: its name may stand for another address by now.
            self.resolve_again().await;
            if self.is_known(&instance) && instance.rank() == Rank::Up {
                return Ok(Chosen { instance, idle });
            }
        } else if tried.is_empty() {
            let time_left = deadline.saturating_duration_since(Instant::now());
            let time_limit = self.settings.connect_timeout.min(time_left);
            self.until_known(time_limit).await;
        }
        let (_, instance) = self.pick(tried).ok_or_else(|| self.nowhere())?;
        let idle = take_idle(&instance);
        Ok(Chosen { instance, idle })
    }

    /// Sends a request to one address. Returns also whether the connection is kept.
    async fn attempt(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        idle: Option<HttpConnection>,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
    ) -> Result<(HttpResponse, bool), Failure> {
        let mut watched = Watched {
            balancer: self,
            instance,
            since: Instant::now(),
            is_answered: false,
        };
        let attempt = timeout_at(deadline, attempt(instance, idle, outgoing)).await;
        watched.is_answered = matches!(attempt, Ok(Ok(_)));
        attempt.unwrap_or(Err(Failure {
            error: self.took_too_long(),
            was_used: false,
            is_untaken: false,
        }))
    }

    fn took_too_long(&self) -> FetchError {
        FetchError::Timeout(self.settings.timeout)
    }
}

async fn attempt(
    instance: &Instance,
    idle: Option<HttpConnection>,
    outgoing: &Outgoing<'_>,
) -> Result<(HttpResponse, bool), Failure> {
    let _running = instance.run();
    let mut connection = match idle {
        Some(connection) => connection,
        None => instance
            .pool
            .connect()
            .await
            .map_err(Failure::unreachable)?,
    };
    let was_used = connection.was_used();
    let head = instance.origin.signed_head(outgoing.body, outgoing.lines);
    let answer = connection
        .exchange(&head, outgoing.body, outgoing.want_headers, outgoing.limits)
        .await;
    match answer {
        Ok(answer) => {
            let is_kept = connection.can_be_kept();
            instance.pool.put_back(connection);
            Ok((answer, is_kept))
        }
        Err(error) => Err(Failure {
            is_untaken: matches!(error, FetchError::ClosedBeforeRequest),
            was_used,
            error,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use graphql_transport::signature::Signer;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        config::SubgraphSettings,
        metrics::SubgraphMetrics,
        subgraphs::{Endpoint, Tls, http_connection::ResponseLimits, origin::Origin},
    };

    fn balancer(urls: &[&str], settings: &SubgraphSettings) -> Arc<Balancer> {
        let origins = urls.iter().map(|url| {
            let endpoint = Endpoint::parse(url).expect("an address");
            Origin::new(endpoint, "identity", &Signer::default())
        });
        let (tls, metrics) = (Tls::default(), SubgraphMetrics::default());
        Balancer::new("posts", origins.collect(), settings, &tls, &metrics)
    }

    fn at(octet: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, octet], port))
    }

    #[tokio::test]
    async fn a_late_answer_is_waited_for_where_nothing_else_is_left() {
        let listener = TcpListener::bind(at(1, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.expect("a request") > 0);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.expect("sent");
        });
        let url = format!("http://name.invalid:{port}/");
        let balancer = balancer(&[&url], &SubgraphSettings::default());
        // Nothing listens there.
        balancer.set_addresses(0, &[at(2, port)]);
        let resolving = balancer.resolving(0);
        let late = async {
            // Longer than a fresh answer is waited for before a connection is opened.
            tokio::time::sleep(Duration::from_millis(200)).await;
            balancer.take_answer(0, Ok(vec![at(1, port)]));
            drop(resolving);
        };
        let outgoing = Outgoing {
            body: b"{}",
            lines: b"",
            is_mutation: true,
            want_headers: false,
            limits: ResponseLimits {
                body_bytes_max: 1024,
                overhead_bytes_max: 1024,
                may_be_encoded: false,
            },
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut tried = Vec::new();
        let exchange = balancer.exchange(&outgoing, deadline, &mut tried);
        let (answer, ()) = tokio::join!(exchange, late);
        assert_eq!(answer.map(|it| it.status).ok(), Some(200));
    }

    #[tokio::test]
    async fn one_that_hangs_is_found_by_a_probe() {
        let silent = TcpListener::bind(at(1, 0)).await.expect("a free port");
        let url = format!("http://{}/", silent.local_addr().expect("an address"));
        let settings = SubgraphSettings {
            timeout: Duration::from_millis(50),
            ..SubgraphSettings::default()
        };
        let balancer = balancer(&[&url, "http://127.0.0.1:9/"], &settings);
        let hangs = Arc::clone(&balancer.known()[0]);
        balancer.suspect(&hangs);
        balancer.suspect(&hangs);
        while !hangs.is_down() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_address_that_some_answers_lack_stays_for_a_while() {
        let settings = SubgraphSettings {
            resolve_interval: Duration::from_millis(300),
            ..SubgraphSettings::default()
        };
        let balancer = balancer(&["http://name.invalid:4001/"], &settings);
        balancer.set_addresses(0, &[at(1, 4001), at(2, 4001)]);
        let before = balancer.known();
        balancer.set_addresses(0, &[at(2, 4001), at(3, 4001)]);
        assert_eq!(balancer.known().len(), 3);
        assert_eq!(before[0].rank(), Rank::Leaving);
        assert!(balancer.is_missing_from_answers(before[0].label()));
        balancer.set_addresses(0, &[at(1, 4001), at(3, 4001)]);
        assert!(balancer.is_known(&before[0]) && before[0].rank() == Rank::Up);
        while balancer.is_known(&before[1]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            balancer.set_addresses(0, &[at(1, 4001), at(3, 4001)]);
        }
        assert_eq!(balancer.known().len(), 2);
    }
}
