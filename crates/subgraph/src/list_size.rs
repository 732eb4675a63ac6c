//! `@listSize` in a subgraph's schema: how long a list is, for those who count an operation's cost before they
//! ask for it. Source: Federation 2.9, the specification `https://specs.apollo.dev/cost/v0.1`.

use async_graphql::TypeDirective;

use crate::page::DEFAULT_PAGE_SIZE;

/// How long the field's list is, or the lists below it.
#[TypeDirective(name = "listSize", location = "FieldDefinition")]
pub fn list_size(
    assumed_size: Option<i32>,
    slicing_arguments: Option<Vec<String>>,
    sized_fields: Option<Vec<String>>,
    require_one_slicing_argument: Option<bool>,
) {
}

/// How many items a page has without `first` and `last`.
pub const PAGE: Option<i32> = Some(DEFAULT_PAGE_SIZE as i32);

/// A list of names as the directive's arguments take it.
pub fn names<const N: usize>(names: [&str; N]) -> Option<Vec<String>> {
    Some(names.map(str::to_owned).into())
}
