//! The gateway's own members of an answer's `extensions`.

use bytes::Bytes;
use graphql_transport::response::GraphqlResponse;

/// The response with these members (`"name":value`); the body ends as it was written, without extensions.
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
