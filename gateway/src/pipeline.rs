//! The way of every request.

use futures_util::stream::BoxStream;

use crate::response::GraphqlResponse;

/// What a request leads to.
pub enum Outcome {
    /// One answer: a query, a mutation, or an error.
    Single(GraphqlResponse),
    /// A subscription's events, each a whole GraphQL response.
    Stream(BoxStream<'static, GraphqlResponse>),
}
