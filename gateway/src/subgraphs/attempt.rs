//! One attempt at a subgraph, at one of its addresses.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    FetchError, HttpResponse, Subgraph, balancer::Balancer, http_connection::ResponseLimits,
    instance::Instance, origin::Origin, pool::Pool,
};

/// After so long without an answer, a request that ends says that its subgraph may hang.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(3);

/// Where a subgraph is.
pub(super) enum Addresses {
    /// At one IP address: nothing is chosen, and nothing is counted.
    One(Box<(Origin, Pool)>),
    /// At several, or at names, which may stand for several.
    Several(Arc<Balancer>),
}

/// A request as it is sent, at each attempt.
pub(super) struct Outgoing<'r> {
    pub(super) body: &'r [u8],
    /// Further headers, as lines of the request's head.
    pub(super) lines: &'r [u8],
    pub(super) is_mutation: bool,
    pub(super) want_headers: bool,
    pub(super) limits: ResponseLimits,
}

impl Subgraph {
    /// Sends a request, and elsewhere if that is safe and there are others. Addresses that are `tried` are avoided as
    /// long as another one is up; one that answers with 502, 503 or 504 is added to them.
    pub(super) async fn attempt(
        &self,
        outgoing: &Outgoing<'_>,
        deadline: Instant,
        tried: &mut Vec<Arc<Instance>>,
    ) -> Result<HttpResponse, FetchError> {
        let attempt = self.breaker.attempt(&self.addresses);
        let answer = match &*self.addresses {
            Addresses::One(one) => {
                let exchange = pin!(outgoing.exchange(one));
                timeout_at(deadline, exchange)
                    .await
                    .unwrap_or(Err(FetchError::Timeout(self.timeout)))
            }
            Addresses::Several(balancer) => {
                Box::pin(balancer.exchange(outgoing, deadline, tried)).await
            }
        };
        attempt.ended(&answer);
        answer
    }
}

impl Outgoing<'_> {
    /// Sends it to the only address.
    async fn exchange(&self, (origin, pool): &(Origin, Pool)) -> Result<HttpResponse, FetchError> {
        let mut head = origin.signed_head(self.body, self.lines);
        let mut connection = pool.take().await?;
        loop {
            let was_used = connection.was_used();
            let answer = connection
                .exchange(&head, self.body, self.want_headers, self.limits)
                .await;
            let may_repeat = match &answer {
                Err(FetchError::ClosedBeforeRequest) => was_used,
                Err(FetchError::ClosedBeforeResponse) => was_used && !self.is_mutation,
                _ => false,
            };
            match answer {
                // The new connection has not been used before, so there is no third attempt.
                Err(_) if may_repeat => {
                    connection = Box::pin(pool.connect()).await?;
                    // The subgraph may have accepted the signature before it closed, and does so once.
                    head = origin.signed_head(self.body, self.lines);
                }
                Err(error) => return Err(error),
                Ok(answer) => {
                    pool.put_back(connection);
                    return Ok(answer);
                }
            }
        }
    }
}
