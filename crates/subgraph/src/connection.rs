//! The Relay connection types of the graph: `XConnection`, `XEdge` and `PageInfo`.

use std::borrow::Cow;

use async_graphql::{OutputType, SimpleObject, TypeName};

use crate::page::Position;
use crate::{Page, PageRequest};

/// One page of a list.
#[derive(Debug, SimpleObject)]
#[graphql(name_type)]
pub struct Connection<T: OutputType> {
    /// The page's items, each with its cursor, in the order that was asked for.
    pub edges: Vec<Edge<T>>,
    /// Whether there are more items before and after this page, and the cursors to request them.
    pub page_info: PageInfo,
}

/// One item of a page.
#[derive(Debug, SimpleObject)]
#[graphql(name_type)]
pub struct Edge<T: OutputType> {
    /// Opaque: the item's position in the list, for `after` and `before`. It stays valid when the
    /// item is deleted.
    pub cursor: String,
    /// The item at this position of the list.
    pub node: T,
}

/// Whether a list continues before and after a page, and the page's first and last cursor.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(shareable)]
pub struct PageInfo {
    /// Whether the list has more items after `endCursor`.
    pub has_next_page: bool,
    /// Whether the list has more items before `startCursor`.
    pub has_previous_page: bool,
    /// The cursor of the page's first item; null when the page is empty.
    pub start_cursor: Option<String>,
    /// The cursor of the page's last item; null when the page is empty. Pass it as `after` to get
    /// the next page.
    pub end_cursor: Option<String>,
}

impl<T: OutputType> Connection<T> {
    /// Gives each item of a page its cursor.
    pub fn new<P: Position>(
        request: &PageRequest<P>,
        page: Page<T>,
        position: impl Fn(&T) -> P,
    ) -> Self {
        Self::with_cursors(page, |node| request.cursor(&position(node)))
    }

    /// The same of items that come with their positions.
    pub fn positioned<P: Position>(request: &PageRequest<P>, page: Page<(P, T)>) -> Self {
        Self::of_pairs(page.map(|(position, node)| (request.cursor(&position), node)))
    }

    /// Gives each item of a page the cursor that `cursor` makes of it.
    pub fn with_cursors(page: Page<T>, cursor: impl Fn(&T) -> String) -> Self {
        Self::of_pairs(page.map(|node| (cursor(&node), node)))
    }

    fn of_pairs(page: Page<(String, T)>) -> Self {
        let edges: Vec<_> = page
            .items
            .into_iter()
            .map(|(cursor, node)| Edge { cursor, node })
            .collect();
        let page_info = PageInfo {
            has_next_page: page.has_next,
            has_previous_page: page.has_previous,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        Self { edges, page_info }
    }
}

impl<T: OutputType> TypeName for Connection<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", T::type_name()).into()
    }
}

impl<T: OutputType> TypeName for Edge<T> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", T::type_name()).into()
    }
}
