//! `@tag` at the field of a subscription, which async-graphql's own attribute does not reach.

use async_graphql::TypeDirective;

/// A name that this schema gives to a field, for programs that read it.
#[TypeDirective(name = "tag", location = "FieldDefinition", repeatable)]
pub fn tag(name: String) {}

/// The tag of a field whose value depends on who asks: a gateway with `VIEWER_TAGS` shares it with nobody else.
pub const VIEWER: &str = "viewer";
