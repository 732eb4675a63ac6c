//! In development, reports the estimated cost of an operation and the cost of its response, as
//! `extensions.cost` and as a header.

use graphql_transport::response::GraphqlResponse;
use http::{HeaderName, HeaderValue};

use crate::{coerce::Variables, graph::Graph, prepare::Prepared};

/// The response header, such as `estimated=21, actual=17`.
const HEADER: HeaderName = HeaderName::from_static("x-graphql-cost");

/// Adds the header and returns the member of `extensions`; `None` if costs are not reported.
pub fn member(
    response: &mut GraphqlResponse,
    graph: &Graph,
    prepared: &Prepared,
    variables: &Variables,
) -> Option<String> {
    let counted = prepared.counted.as_ref()?;
    let estimated = prepared.cost.estimate(graph, variables).cost;
    let actual = counted.cost(graph, variables, response.body.trim_ascii_end())?;
    let header = format!("estimated={estimated}, actual={actual}");
    if let Ok(header) = HeaderValue::try_from(header) {
        response.headers.insert(HEADER, header);
    }
    Some(format!(
        "\"cost\":{{\"estimated\":{estimated},\"actual\":{actual}}}"
    ))
}
