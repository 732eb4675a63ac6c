//! The variables that make two subscriptions equal or different.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{
    coerce::Variables,
    prepare::{Prepared, UpstreamSubscription},
};

/// The values of the variables that the normal form uses. Variables that only decide conditions are
/// not among them, because the normal form has the conditions decided. A variable without a value
/// counts with its default, which is not a part of the normal form.
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
        // Different marks for GraphQL and JSON text: their escapes differ.
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

/// The names after each `$`. A `$` inside a string only adds names.
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
