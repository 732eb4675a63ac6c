//! The GraphQL endpoint of a subgraph: POST, GET, WebSocket and SSE on one path.

use async_graphql::{ObjectType, SDLExportOptions, Schema, SchemaBuilder, SubscriptionType};

/// The deepest selection accepted; the introspection query of GraphiQL needs 15.
pub const MAX_DEPTH: usize = 20;
/// The most fields that one operation may ask for, list sizes multiplied in.
pub const MAX_COMPLEXITY: usize = 50_000;

/// Federation 2 with the limits that every subgraph has.
pub fn limited<Q, M, S>(builder: SchemaBuilder<Q, M, S>) -> SchemaBuilder<Q, M, S>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    builder
        .enable_federation()
        .enable_subscription_in_federation()
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
}

/// A schema in Federation 2's schema language, for composition.
pub fn sdl<Q, M, S>(schema: &Schema<Q, M, S>) -> String
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    let options =
        SDLExportOptions::new().federation().include_specified_by().use_space_ident();
    schema.sdl_with_options(options)
}
