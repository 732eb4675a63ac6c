//! JSON with sorted keys and the unchanged bytes of every value: two answers have equal texts if they differ
//! only in the order of their keys.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// The canonical text of `json`.
///
/// # Errors
/// When it is not JSON.
pub fn canonical(json: &[u8]) -> serde_json::Result<String> {
    let mut text = String::with_capacity(json.len());
    write(serde_json::from_slice(json)?, &mut text)?;
    Ok(text)
}

fn write(value: &RawValue, text: &mut String) -> serde_json::Result<()> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json)?;
            let mut separator = '{';
            for (key, value) in &members {
                text.push(separator);
                text.push_str(&serde_json::to_string(key)?);
                text.push(':');
                write(value, text)?;
                separator = ',';
            }
            text.push_str(if members.is_empty() { "{}" } else { "}" });
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            let mut separator = '[';
            for value in &items {
                text.push(separator);
                write(value, text)?;
                separator = ',';
            }
            text.push_str(if items.is_empty() { "[]" } else { "]" });
        }
        _ => text.push_str(json),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_key_order_and_space_are_forgiven() {
        let of = |json: &str| canonical(json.as_bytes()).expect("JSON");
        assert_eq!(
            of(r#"{"b": [1, {}, []], "a": "x"}"#),
            of(r#"{"a":"x","b":[1,{},[]]}"#)
        );
        assert_ne!(of("[1.0]"), of("[1]"));
        assert_ne!(of(r#"["\u00e9"]"#), of(r#"["é"]"#));
        assert_ne!(of("[1,2]"), of("[2,1]"));
    }
}
