//! Relay pages over a list ordered by creation time: arguments in, MongoDB filters and pages out.
//!
//! The list's order is `(createdAt, _id)`, or another date in its place ([`ListId::DATE`]), so that every item has a
//! position of its own. A cursor is such a position; it stays valid when its item is deleted. A document without a date
//! comes before all dates, where MongoDB sorts it, until it is given one ([`crate::undated`]). Source of the semantics:
//! <https://relay.dev/graphql/connections.htm>.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

use crate::{DateTime, FieldCost, InputError};

/// The size of a page when neither `first` nor `last` is given.
pub const DEFAULT_PAGE_SIZE: usize = 20;
/// The largest `first` or `last`. More is an error, not a smaller page.
pub const MAX_PAGE_SIZE: usize = 100;

/// The order of a list by creation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The newest item first.
    NewestFirst,
    /// The oldest item first.
    OldestFirst,
}

/// The kind of `_id` that a list's documents have.
pub trait ListId: Clone + Into<Bson> {
    /// The field with the date by which the list is ordered first.
    const DATE: &'static str;

    /// Its bytes, for cursors.
    fn to_bytes(&self) -> Vec<u8>;

    /// Reads [`ListId::to_bytes`].
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl ListId for ObjectId {
    const DATE: &'static str = "createdAt";

    fn to_bytes(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes.try_into().ok()?))
    }
}

/// An item's position in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListPosition<I = ObjectId> {
    /// The date of the item's document.
    pub created_at: Option<DateTime>,
    /// The item's id, which orders items that were created in the same millisecond.
    pub id: I,
}

/// The arguments of a Relay connection, as the client sent them.
#[derive(Clone, Debug, Default)]
pub struct PageArguments {
    /// How many items from the start of the list (after `after`).
    pub first: Option<i32>,
    /// The cursor after which the page starts.
    pub after: Option<String>,
    /// How many items from the end of the list (before `before`).
    pub last: Option<i32>,
    /// The cursor before which the page ends.
    pub before: Option<String>,
}

/// Which list a cursor belongs to: a cursor of one list is refused by the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListTag(pub u8);

/// Checked arguments: what to read of a list whose items have positions `P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRequest<P = ListPosition> {
    tag: ListTag,
    order: Order,
    from_end: bool,
    size: usize,
    after: Option<P>,
    before: Option<P>,
}

/// A position that can be written as a cursor.
pub trait Position: Clone {
    /// Writes the cursor of this position in a list.
    fn to_cursor(&self, tag: ListTag) -> String;

    /// Reads a cursor; none if it is not one of this list.
    fn from_cursor(tag: ListTag, cursor: &str) -> Option<Self>;
}

/// The items of a page, in the list's order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Whether the list goes on after the last item.
    pub has_next: bool,
    /// Whether the list has items before the first one.
    pub has_previous: bool,
}

/// Whether the list has items beyond the cursors of a request, in the direction in which the page is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeyondCursors {
    /// Whether [`PageRequest::filter_behind`] matches anything.
    pub behind: bool,
    /// Whether [`PageRequest::filter_ahead`] matches anything.
    pub ahead: bool,
}

impl<T> Default for Page<T> {
    /// The page of an empty list.
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_next: false,
            has_previous: false,
        }
    }
}

impl<T> Page<T> {
    /// The part of the page that was read first (by `request`) and whose items have at most `bytes_max` bytes together,
    /// but at least one item.
    pub fn within<P: Position>(
        mut self,
        request: &PageRequest<P>,
        bytes_max: usize,
        bytes_of: impl Fn(&T) -> usize,
    ) -> Self {
        let mut bytes = 0_usize;
        let mut fits = |item: &T| {
            bytes = bytes.saturating_add(bytes_of(item));
            bytes <= bytes_max
        };
        let fitting = match request.from_end {
            true => self.items.iter().rev().take_while(|it| fits(it)).count(),
            false => self.items.iter().take_while(|it| fits(it)).count(),
        };
        let left_out = self.items.len().saturating_sub(fitting.max(1));
        if left_out > 0 && request.from_end {
            self.items.drain(..left_out);
            self.has_previous = true;
        } else if left_out > 0 {
            self.items.truncate(fitting.max(1));
            self.has_next = true;
        }
        self
    }

    /// The same page of what a function makes of each item.
    pub fn map<U>(self, make: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(make).collect(),
            has_next: self.has_next,
            has_previous: self.has_previous,
        }
    }
}

impl PageArguments {
    /// Checks sizes and cursors.
    ///
    /// # Errors
    /// When both ends are asked for, a size is negative or above [`MAX_PAGE_SIZE`], or a cursor is
    /// not one of this list.
    pub fn check<P: Position>(
        &self,
        tag: ListTag,
        order: Order,
    ) -> Result<PageRequest<P>, InputError> {
        let (argument, size, from_end) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(InputError::BothEnds),
            (None, Some(last)) => ("last", Some(last), true),
            (first, None) => ("first", first, false),
        };
        let size = match size {
            None => DEFAULT_PAGE_SIZE,
            Some(size) => checked_size(argument, size, MAX_PAGE_SIZE)?,
        };
        let cursor = |argument, cursor: &Option<String>| match cursor {
            None => Ok(None),
            Some(text) => match P::from_cursor(tag, text) {
                Some(position) => Ok(Some(position)),
                None => Err(InputError::Cursor { argument }),
            },
        };
        Ok(PageRequest {
            tag,
            order,
            from_end,
            size,
            after: cursor("after", &self.after)?,
            before: cursor("before", &self.before)?,
        })
    }
}

/// Checks a number of items that a client asks for.
///
/// # Errors
/// When it is negative or above `max`.
pub fn checked_size(argument: &'static str, size: i32, max: usize) -> Result<usize, InputError> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= max)
        .ok_or(InputError::PageSize {
            argument,
            size,
            max,
        })
}

/// What a list of pages costs, where one item costs `item` before anything is asked of it.
pub const fn page_cost(item: usize) -> FieldCost {
    FieldCost::List {
        sizes: &["first", "last"],
        default: DEFAULT_PAGE_SIZE,
        max: MAX_PAGE_SIZE,
        item,
    }
}

impl<I: ListId> PageRequest<ListPosition<I>> {
    /// Restricts a filter to what lies between the cursors.
    pub fn filter(&self, mut filter: Document) -> Document {
        let mut bounds = Vec::new();
        if let Some(after) = &self.after {
            bounds.push(bound(
                after,
                self.order == Order::OldestFirst,
                Reach::Beyond,
            ));
        }
        if let Some(before) = &self.before {
            bounds.push(bound(
                before,
                self.order == Order::NewestFirst,
                Reach::Beyond,
            ));
        }
        if !bounds.is_empty() {
            filter.insert("$and", bounds);
        }
        filter
    }

    /// The direction in which the page is read: from the end of the list for `last`.
    pub fn sort(&self) -> Document {
        let direction = match (self.order, self.from_end) {
            (Order::OldestFirst, false) | (Order::NewestFirst, true) => 1,
            (Order::NewestFirst, false) | (Order::OldestFirst, true) => -1,
        };
        doc! { I::DATE: direction, "_id": direction }
    }

    /// Restricts a filter to what a cursor cut off before the position where the page's reading
    /// starts; none without such a cursor.
    pub fn filter_behind(&self, filter: impl FnOnce() -> Document) -> Option<Document> {
        let (cursor, ascending) = if self.from_end {
            (self.before.as_ref()?, self.order == Order::OldestFirst)
        } else {
            (self.after.as_ref()?, self.order == Order::NewestFirst)
        };
        let mut filter = filter();
        filter.insert("$and", vec![bound(cursor, ascending, Reach::From)]);
        Some(filter)
    }

    /// Restricts a filter to what a cursor cut off at the far end of the page's reading: when all
    /// before it fits the page, the list can continue only there.
    pub fn filter_ahead(&self, filter: impl FnOnce() -> Document) -> Option<Document> {
        self.reversed().filter_behind(filter)
    }
}

impl<P: Position> PageRequest<P> {
    /// How many items to read: one more than the page has, to see whether the list continues.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// Whether it reads a list in this order from its start.
    pub fn is_start_of(&self, order: Order) -> bool {
        self.order == order && !self.from_end && self.after.is_none() && self.before.is_none()
    }

    /// Makes the page of what was read between the cursors, in the direction in which the page is read, up to
    /// [`PageRequest::limit`].
    pub fn page<T>(&self, mut items: Vec<T>, beyond: BeyondCursors) -> Page<T> {
        let goes_on = items.len() > self.size || beyond.ahead;
        items.truncate(self.size);
        if self.from_end {
            items.reverse();
            Page {
                items,
                has_next: beyond.behind,
                has_previous: goes_on,
            }
        } else {
            Page {
                items,
                has_next: goes_on,
                has_previous: beyond.behind,
            }
        }
    }

    /// The position after which the page starts.
    pub(crate) fn after(&self) -> Option<&P> {
        self.after.as_ref()
    }

    /// The position before which the page ends.
    pub(crate) fn before(&self) -> Option<&P> {
        self.before.as_ref()
    }

    /// Whether the page is read from the end of the list.
    pub(crate) fn is_from_end(&self) -> bool {
        self.from_end
    }

    /// The same request, read from the other end.
    pub(crate) fn reversed(&self) -> Self {
        Self {
            from_end: !self.from_end,
            ..self.clone()
        }
    }

    /// The cursor of an item at that position.
    pub fn cursor(&self, position: &P) -> String {
        position.to_cursor(self.tag)
    }
}

/// Whether a bound leaves out the position itself.
#[derive(Clone, Copy)]
enum Reach {
    From,
    Beyond,
}

/// What lies on one side of a position. The bound on the date alone lets the index do the work;
/// `_id` decides between items of the same millisecond.
fn bound<I: ListId>(position: &ListPosition<I>, ascending: bool, reach: Reach) -> Document {
    let date = I::DATE;
    let ListPosition { created_at, id } = position;
    let (created_at, id) = (*created_at, id.clone());
    let of_id = match (reach, ascending) {
        (Reach::From, true) => doc! { "$gte": id },
        (Reach::From, false) => doc! { "$lte": id },
        (Reach::Beyond, true) => doc! { "$gt": id },
        (Reach::Beyond, false) => doc! { "$lt": id },
    };
    match (created_at, ascending) {
        (Some(created_at), true) => doc! {
            date: { "$gte": created_at },
            "$or": [{ date: { "$gt": created_at } }, { "_id": of_id }],
        },
        // `$lt` of a date matches dates alone, and the undated items are on this side too.
        (Some(created_at), false) => doc! {
            date: { "$not": { "$gt": created_at } },
            "$or": [{ date: { "$not": { "$gte": created_at } } }, { "_id": of_id }],
        },
        (None, true) => doc! {
            "$or": [{ date: { "$ne": Bson::Null } }, { "_id": of_id }],
        },
        (None, false) => doc! { date: Bson::Null, "_id": of_id },
    }
}

/// Version 1: version, list, milliseconds (big endian; the least of all for none), id.
const CURSOR_VERSION: u8 = 1;

impl<I: ListId> ListPosition<I> {
    /// Milliseconds and id.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let millis = self.created_at.map_or(i64::MIN, DateTime::timestamp_millis);
        [&millis.to_be_bytes()[..], &self.id.to_bytes()].concat()
    }

    /// Reads [`ListPosition::to_bytes`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (millis, id) = bytes.split_first_chunk::<8>()?;
        let millis = i64::from_be_bytes(*millis);
        Some(Self {
            created_at: (millis != i64::MIN).then(|| DateTime::from_millis(millis)),
            id: I::from_bytes(id)?,
        })
    }
}

impl<I: ListId> Position for ListPosition<I> {
    fn to_cursor(&self, tag: ListTag) -> String {
        let bytes = [&[CURSOR_VERSION, tag.0][..], &self.to_bytes()].concat();
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn from_cursor(tag: ListTag, cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (head, position) = bytes.split_first_chunk::<2>()?;
        let is_its = *head == [CURSOR_VERSION, tag.0];
        is_its.then(|| Self::from_bytes(position)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: ListTag = ListTag(7);

    fn position() -> ListPosition {
        ListPosition {
            created_at: Some(DateTime::from_millis(1_700_000_000_123)),
            id: ObjectId::new(),
        }
    }

    fn arguments(first: Option<i32>, last: Option<i32>) -> PageArguments {
        PageArguments {
            first,
            last,
            ..PageArguments::default()
        }
    }

    #[test]
    fn a_page_ends_where_its_items_are_too_large_together() {
        let lengths = [3, 4, 5];
        let within = |arguments: PageArguments, bytes_max| {
            let request: PageRequest = arguments.check(TAG, Order::NewestFirst).expect("valid");
            let page = Page {
                items: lengths.to_vec(),
                ..Page::default()
            };
            let page = page.within(&request, bytes_max, |length| *length);
            (page.items, page.has_previous, page.has_next)
        };
        let forwards = |bytes_max| within(arguments(Some(3), None), bytes_max);
        assert_eq!(forwards(12), (vec![3, 4, 5], false, false));
        assert_eq!(forwards(11), (vec![3, 4], false, true));
        assert_eq!(forwards(0), (vec![3], false, true));
        let backwards = |bytes_max| within(arguments(None, Some(3)), bytes_max);
        assert_eq!(backwards(12), (vec![3, 4, 5], false, false));
        assert_eq!(backwards(9), (vec![4, 5], true, false));
        assert_eq!(backwards(4), (vec![5], true, false));
        let request: PageRequest = arguments(Some(0), None)
            .check(TAG, Order::NewestFirst)
            .expect("valid");
        let empty = Page::<usize>::default();
        assert_eq!(empty.clone().within(&request, 0, |length| *length), empty);
    }

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_alone() {
        let undated = ListPosition {
            created_at: None,
            ..position()
        };
        for position in [position(), undated] {
            let cursor = position.to_cursor(TAG);
            assert_eq!(<ListPosition>::from_cursor(TAG, &cursor), Some(position));
        }
        let cursor = position().to_cursor(TAG);
        let of_another = <ListPosition>::from_cursor(ListTag(8), &cursor);
        assert_eq!(of_another, None);
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        let cursor = position().to_cursor(TAG);
        for forged in [
            "",
            "x",
            "5",
            "ünïcödé",
            &cursor[1..],
            &format!("{cursor}AAAA"),
        ] {
            let arguments = PageArguments {
                after: Some(forged.to_owned()),
                ..PageArguments::default()
            };
            assert_eq!(
                arguments.check::<ListPosition>(TAG, Order::NewestFirst),
                Err(InputError::Cursor { argument: "after" }),
                "{forged:?}"
            );
        }
    }

    #[test]
    fn page_sizes_have_limits() {
        let check =
            |first, last| arguments(first, last).check::<ListPosition>(TAG, Order::NewestFirst);
        assert_eq!(check(None, None).expect("accepted").size, DEFAULT_PAGE_SIZE);
        assert_eq!(check(Some(0), None).expect("accepted").size, 0);
        assert_eq!(check(None, Some(100)).expect("accepted").size, 100);
        assert_eq!(check(Some(1), Some(1)), Err(InputError::BothEnds));
        for size in [-1, 101, 1_000_000, i32::MIN, i32::MAX] {
            assert!(check(Some(size), None).is_err(), "first: {size}");
            assert!(check(None, Some(size)).is_err(), "last: {size}");
        }
    }

    #[test]
    fn a_page_from_the_end_is_turned_around() {
        let request = arguments(None, Some(2))
            .check::<ListPosition>(TAG, Order::OldestFirst)
            .expect("accepted");
        let page = request.page(vec![5, 4, 3], BeyondCursors::default());
        assert_eq!(page.items, [4, 5]);
        assert!(page.has_previous && !page.has_next);
    }
}
