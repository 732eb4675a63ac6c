//! Sends files on, with the request whose variables stand for them.

use bytes::Bytes;
use graphql_transport::uploads::{Upload, Uploads};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::subgraphs::CONTENT_TYPE;

/// Lets the servers of others accept a form, which a page of another site could send to them.
const PREFLIGHT: &[u8] =
    b"\r\napollo-require-preflight: true\r\ngraphql-require-preflight: true\r\n";

/// A request to a subgraph as a form.
pub struct Form {
    /// Lines of its head; the first has its content type.
    pub lines: Vec<u8>,
    pub body: Bytes,
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    variables: Option<&'a RawValue>,
}

/// The form for a request, if its variables have files.
pub fn form(request: &[u8], uploads: &Uploads) -> Option<Form> {
    let text = std::str::from_utf8(request).ok()?;
    if !text.contains(uploads.token()) {
        return None;
    }
    let sent: Sent = serde_json::from_str(text).ok()?;
    let mut found = Vec::new();
    find(sent.variables?, "variables", uploads, &mut found);
    let (mut operations, mut rest) = (String::with_capacity(text.len()), text);
    let mut map = Map::new();
    for (number, (path, index)) in found.iter().enumerate() {
        let placeholder = format!("\"{}{index}\"", uploads.token());
        // They were found in the order of the text.
        let (before, after) = rest.split_once(&*placeholder)?;
        operations.push_str(before);
        operations.push_str("null");
        rest = after;
        map.insert(number.to_string(), Value::from(vec![path.clone()]));
    }
    operations.push_str(rest);
    let files: Vec<&Upload> = found
        .iter()
        .filter_map(|(_, index)| uploads.files().get(*index))
        .collect();
    Some(written(
        &operations,
        &Value::Object(map).to_string(),
        &files,
        uploads,
    ))
}

/// Collects the paths of the texts that stand for files, in their order.
fn find(json: &RawValue, path: &str, uploads: &Uploads, found: &mut Vec<(String, usize)>) {
    let text = json.get();
    // Only what has one is looked into.
    if !text.contains(uploads.token()) {
        return;
    }
    if text.starts_with('"') {
        let index = text.trim_matches('"').strip_prefix(uploads.token());
        let index = index.and_then(|index| index.parse().ok());
        found.extend(index.map(|index| (path.to_owned(), index)));
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) {
        for (number, item) in items.into_iter().enumerate() {
            find(item, &format!("{path}.{number}"), uploads, found);
        }
    } else if let Ok(Members(members)) = serde_json::from_str(text) {
        for (name, member) in members {
            find(member, &format!("{path}.{name}"), uploads, found);
        }
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn written(operations: &str, map: &str, files: &[&Upload], uploads: &Uploads) -> Form {
    // Nobody can guess it, so no file has it.
    let boundary = uploads.token().trim_matches('-');
    let size: usize = files.iter().map(|file| file.bytes.len() + 512).sum();
    let mut body = Vec::with_capacity(operations.len() + map.len() + size + 512);
    let mut part = |disposition: &str, content_type: Option<&str>, content: &[u8]| {
        let head =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{disposition}\"\r\n");
        body.extend_from_slice(head.as_bytes());
        if let Some(content_type) = content_type {
            body.extend_from_slice(format!("content-type: {content_type}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part("operations", None, operations.as_bytes());
    part("map", None, map.as_bytes());
    for (number, file) in files.iter().enumerate() {
        let name = file.file_name.as_deref().unwrap_or("file");
        let disposition = format!("{number}\"; filename=\"{}", escaped(name));
        let content_type = file.content_type.as_deref();
        let content_type = content_type.unwrap_or("application/octet-stream");
        part(&disposition, Some(content_type), &file.bytes);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let mut lines = CONTENT_TYPE.to_vec();
    lines.extend_from_slice(format!("multipart/form-data; boundary={boundary}").as_bytes());
    lines.extend_from_slice(PREFLIGHT);
    Form {
        lines,
        body: body.into(),
    }
}

/// As browsers write a file's name (<https://html.spec.whatwg.org/#multipart-form-data>).
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' => escaped.push_str("%22"),
            '\r' => escaped.push_str("%0D"),
            '\n' => escaped.push_str("%0A"),
            c => escaped.push(c),
        }
    }
    escaped
}
