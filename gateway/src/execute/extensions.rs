//! Adds the gateway's own members to a response's `extensions`.

use bytes::Bytes;
use graphql_transport::response::GraphqlResponse;

/// Adds the members (`"name":value`) to a response that has no `extensions` yet.
pub fn with(mut response: GraphqlResponse, members: &[String]) -> GraphqlResponse {
    if members.is_empty() {
        return response;
    }
    if let [begin @ .., b'}'] = response.body.trim_ascii_end() {
        let members = format!(",\"extensions\":{{{}}}}}", members.join(","));
        response.body = Bytes::from([begin, members.as_bytes()].concat());
    }
    response
}
