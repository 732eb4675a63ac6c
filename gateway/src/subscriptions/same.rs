//! What two subscriptions have in common that get equal events.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{
    coerce::Variables,
    prepare::{Prepared, UpstreamSubscription},
};

/// The values of the variables that are left in the normal form, where conditions are decided: those
/// that only decided a condition make no difference any more. A variable without a value has that of
/// its default, which is no part of the normal form.
pub(super) fn variables(
    prepared: &Prepared,
    upstream: &UpstreamSubscription,
    variables: &Variables,
) -> Bytes {
    let used = names(&upstream.normal_form);
    let mut values = Vec::new();
    for (index, definition) in prepared.variables.iter().enumerate() {
        let name = definition.name.as_str();
        if !used.contains(name) {
            continue;
        }
        let default = definition.default_value.as_ref();
        let default = default.map(|value| value.serialize().no_indent().to_string());
        // GraphQL's text and JSON's are kept apart: their escapes differ.
        let (mark, value) = match (variables.get(index), &default) {
            (Some(value), _) => (b':', value),
            (None, Some(default)) => (b'=', default.as_bytes()),
            (None, None) => continue,
        };
        values.extend_from_slice(name.as_bytes());
        values.push(mark);
        values.extend_from_slice(value);
        values.push(b',');
    }
    values.into()
}

/// What stands after a `$`. A text with a `$` in it only adds names.
fn names(normal_form: &str) -> HashSet<&str> {
    let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let after = normal_form.split('$').skip(1);
    after
        .map(|rest| rest.split(|c| !is_part(c)).next().unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_by_their_names() {
        let found = names("{ a(b: $topic, c: [$x_1,$y]) { d } }");
        assert_eq!(found, HashSet::from(["topic", "x_1", "y"]));
    }
}
