//! The request pipeline, shared by all transports.

use std::sync::Arc;

use futures_util::FutureExt;
use graphql_transport::{
    ClientContext, Code as TransportCode, Delivery, GraphqlRequest, GraphqlResponse, Outcome,
};

use crate::{
    admission::Admission,
    authorization::Claims,
    coerce::{self, Variables},
    error::{Code, RequestError},
    execute,
    gateway::Gateway,
    identity::Identity,
    prepare::{self, Asker, OperationKind, OperationRequest, Prepared, Serving},
    rate_limit::{Account, RateLimits},
    subscriptions::Accepted,
    watch::OperationNote,
};

/// Answers one request. A refusal becomes a response, too.
pub async fn run(
    gateway: &Arc<Gateway>,
    request: GraphqlRequest,
    client: ClientContext,
) -> Outcome {
    let note = gateway.watch().operation(&client);
    let outcome = match answer(gateway, request, client, note.as_ref()).await {
        Ok(outcome) => outcome,
        Err(refusal) => Outcome::Single(refusal.into_response()),
    };
    match (&outcome, note) {
        (Outcome::Single(response), Some(note)) => note.answered(response),
        (Outcome::Stream(_), Some(note)) => note.subscribed(),
        // It notes its end itself.
        (Outcome::Deferred(_), _) | (_, None) => {}
    }
    outcome
}

async fn answer(
    gateway: &Arc<Gateway>,
    request: GraphqlRequest,
    mut client: ClientContext,
    note: Option<&Arc<OperationNote>>,
) -> Result<Outcome, RequestError> {
    let serving = gateway.served().ok_or_else(no_supergraph)?;
    let identity = match gateway.identities() {
        Some(identities) => {
            let attempt = gateway.rate_limits().map(|it| it.attempt(client.key));
            let identity = identities.admit(&mut client).await;
            let is_to_blame = |error: &RequestError| error.code != Code::IdentityUnavailable;
            if let Some(attempt) = attempt {
                attempt.ended(identity.as_ref().is_err_and(is_to_blame));
            }
            identity?
        }
        None => None,
    };
    let account = match gateway.rate_limits() {
        Some(limits) => {
            let subject = identity.as_deref();
            Some(arrives(
                gateway, limits, &serving, subject, &request, &client,
            )?)
        }
        None => None,
    };
    let document = gateway.persisted().document(&request)?;

    let name = request.operation_name.as_deref();
    let claims = Claims::of(identity.as_deref());
    let asker = match gateway.policies() {
        Some(service) => Asker::Asking(claims, service.asked_for(identity.as_deref(), client.key)),
        None => Asker::Client(claims),
    };
    let wanted = OperationRequest::new(&serving, &document, name, client.key, &client.headers)
        .from_asker(asker);
    let prepared = prepare::operation(&serving, &wanted).await?;

    let given = request.variables.as_ref();
    let variables = coerce::variables(&serving.graph, prepared.declared(), given)?;
    let variables = variables.with_uploads(request.uploads.as_ref());

    let prepared = prepare::decided(&serving, &wanted, prepared, &variables).await?;
    if let Some(note) = note {
        note.is_known(&serving, &prepared, &document);
    }
    let cost = prepare::check(&serving.graph, &prepared, &variables)?;
    check_transport(prepared.kind(), &client)?;

    if prepared.kind() == OperationKind::Subscription {
        if request.uploads.is_some() {
            let message = "a subscription cannot have files";
            return Err(RequestError::new(Code::BadUserInput, message));
        }
        let delivery = Delivery::of(request.extensions.as_deref(), &client.headers)
            .map_err(|refusal| RequestError::new(refusal.code, refusal.message))?;
        // A WebSocket was admitted with its connection.
        if client.socket.is_none() {
            let admitted = gateway.admit_live_client(client.key);
            admitted.map_err(Admission::refusal)?;
        }
        let meter = match gateway.rate_limits().zip(account) {
            Some((limits, account)) => Some(limits.events(account, cost)?),
            None => None,
        };
        let authorization = serving.graph.supergraph.authorization();
        let is_decided_by_service = gateway.policies().is_some()
            && !claims
                .open_policies(authorization, &prepared.requirements)
                .is_empty();
        let accepted = Accepted {
            serving,
            prepared,
            variables,
            document,
            request: &request,
            client: &client,
            identity,
            is_decided_by_service,
            delivery,
            meter,
            turns: gateway.transport().turns.of(client.key),
        };
        let events = gateway.subscriptions().subscribe(accepted)?;
        return Ok(Outcome::Stream(events));
    }
    let charge = account.map(|account| (account, cost));
    if client.answers_deferred {
        let (gateway, note) = (Arc::clone(gateway), note.cloned());
        let work = async move {
            let asked = (&*serving, &prepared, &variables, &client);
            let response = execute(&gateway, charge, asked, note.as_deref()).await;
            if let Some(note) = note {
                note.answered(&response);
            }
            response
        };
        return Ok(Outcome::Deferred(work.boxed()));
    }
    let asked = (&*serving, &prepared, &variables, &client);
    let response = execute(gateway, charge, asked, note.map(|it| &**it)).await;
    Ok(Outcome::Single(response))
}

/// Charges the request to its client: to the subject of its token, or to its address if it has none.
fn arrives(
    gateway: &Gateway,
    limits: &RateLimits,
    serving: &Serving,
    subject: Option<&Identity>,
    request: &GraphqlRequest,
    client: &ClientContext,
) -> Result<Account, RequestError> {
    let mut account = limits.account(subject, client.key);
    limits.arrives(&mut account, || {
        let document = gateway.persisted().known(request)?;
        let name = request.operation_name.as_deref();
        let wanted = OperationRequest::new(serving, &document, name, client.key, &client.headers);
        prepare::known_cost(serving, &wanted, request.variables.as_ref())
    })?;
    Ok(account)
}

/// An operation that is ready, and who asks for it.
type Asked<'a> = (
    &'a Serving,
    &'a Arc<Prepared>,
    &'a Variables,
    &'a ClientContext,
);

/// Executes a query or a mutation if there is room for a response as large as its last one. It is charged its cost
/// once nothing else can refuse it.
async fn execute(
    gateway: &Gateway,
    charge: Option<(Account, u64)>,
    (serving, prepared, variables, client): Asked<'_>,
    note: Option<&OperationNote>,
) -> GraphqlResponse {
    let bytes = prepared.sizes.answer.last();
    let _room = match gateway.transport().room_for_answer(client.key, bytes) {
        Ok(room) => room,
        Err(refusal) => {
            // The size was a guess from an earlier response: halving it lets the operation run
            // again later.
            prepared.sizes.answer.was(bytes / 2);
            return RequestError::new(refusal.code, refusal.message).into_response();
        }
    };
    if let Some((limits, (account, cost))) = gateway.rate_limits().zip(charge)
        && let Err(refusal) = limits.costs(&account, cost)
    {
        return refusal.into_response();
    }
    execute::noted_operation(&serving.graph, prepared, variables, client, note).await
}

fn no_supergraph() -> RequestError {
    RequestError::new(
        Code::SupergraphUnavailable,
        "the gateway has not loaded a supergraph yet: try again later",
    )
}

/// Checks that the transport allows an operation of this kind.
fn check_transport(kind: OperationKind, client: &ClientContext) -> Result<(), RequestError> {
    match kind {
        OperationKind::Mutation if !client.mutations_allowed => Err(RequestError::new(
            TransportCode::MutationForbidden,
            "a mutation needs a POST request",
        )),
        OperationKind::Subscription if !client.subscriptions_allowed => Err(RequestError::new(
            TransportCode::SubscriptionForbidden,
            "this transport cannot stream a subscription: use a WebSocket, server-sent events or multipart",
        )),
        _ => Ok(()),
    }
}
