//! In development, what an operation was estimated to cost and what its answer did cost: as
//! `extensions.cost` and as a header.

use bytes::Bytes;
use graphql_transport::response::{GraphqlResponse, ResponseKind};
use http::{HeaderName, HeaderValue};

use crate::{coerce::Variables, graph::Graph, prepare::Prepared};

/// `estimated=21, actual=17`
const HEADER: HeaderName = HeaderName::from_static("x-graphql-cost");

/// The response with its cost, where costs are reported.
pub fn with_cost(
    mut response: GraphqlResponse,
    graph: &Graph,
    prepared: &Prepared,
    variables: &Variables,
) -> GraphqlResponse {
    let Some(counted) = &prepared.counted else {
        return response;
    };
    if response.kind != ResponseKind::Executed {
        return response;
    }
    let Ok(estimated) = prepared.cost.estimate(graph, variables) else {
        return response;
    };
    let body = response.body.trim_ascii_end();
    let actual = counted.cost(graph, variables, body);
    let (Some(actual), [begin @ .., b'}']) = (actual, body) else {
        return response;
    };
    let cost =
        format!(",\"extensions\":{{\"cost\":{{\"estimated\":{estimated},\"actual\":{actual}}}}}}}");
    response.body = Bytes::from([begin, cost.as_bytes()].concat());
    let header = format!("estimated={estimated}, actual={actual}");
    if let Ok(header) = HeaderValue::try_from(header) {
        response.headers.insert(HEADER, header);
    }
    response
}
