//! Files of clients, by the [GraphQL multipart request specification](https://github.com/jaydenseric/graphql-multipart-request-spec).
//!
//! A form has the request (`operations`), the paths of variables that stand for files (`map`), and the files. The whole form is
//! in memory, within `upload_bytes_max`, and counts among the request bodies on the way until its operation has ended. In
//! the variables, a text that nobody can guess takes the place of each file; a service finds the files by it.

use std::{collections::BTreeMap, convert::Infallible, fmt};

use bytes::Bytes;
use futures_util::stream;
use multer::Multipart;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    code::{Code, Refusal},
    http::request_json,
    in_flight::Share,
    request::GraphqlRequest,
    settings::HttpSettings,
};

/// The longest `map`, in bytes.
const MAP_BYTES_MAX: usize = 64 * 1024;
/// How deep in the variables a file may be.
const DEPTH_MAX: usize = 32;

/// A file of a client.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name at the client, which may be anything.
    pub file_name: Option<String>,
    /// Its media type, as the client says.
    pub content_type: Option<String>,
    /// Its content.
    pub bytes: Bytes,
}

/// The files of one request.
pub struct Uploads {
    token: String,
    files: Vec<Upload>,
    /// They count as a body that is on the way.
    _share: Share,
}

impl fmt::Debug for Uploads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uploads = formatter.debug_struct("Uploads");
        uploads
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl Uploads {
    /// The files, in the order of the form.
    pub fn files(&self) -> &[Upload] {
        &self.files
    }

    /// What stands in the variables for each file begins with this, and ends with the file's index.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// Reads a form.
///
/// # Errors
/// `BAD_REQUEST` where it is not as specified; `TOO_MANY_UPLOADS`; `REQUEST_TOO_LARGE` where `operations` is larger than a
/// request may be; `TOO_MANY_REQUEST_BYTES`.
pub(crate) async fn read(
    body: Bytes,
    boundary: String,
    settings: &HttpSettings,
    mut share: Share,
) -> Result<GraphqlRequest, Refusal> {
    // The form, and its parts.
    let room = share.grow_to(2 * body.len());
    room.map_err(|_full| {
        let message = "too many request bodies are on the way: send the request again";
        Refusal::new(Code::TooManyRequestBytes, message)
    })?;
    let body = stream::iter([Ok::<_, Infallible>(body)]);
    let mut form = Multipart::new(body, boundary);
    let operations = part(&mut form, "operations", settings.request_bytes_max).await?;
    let map = part(&mut form, "map", MAP_BYTES_MAX).await?;
    let mut request = request_json::read(&operations)?;
    let map: Result<BTreeMap<String, Vec<String>>, _> = serde_json::from_slice(&map);
    let mut map = map.map_err(|error| {
        refused(format!(
            "`map` is not a JSON object of lists of paths: {error}"
        ))
    })?;
    let paths: usize = map.values().map(Vec::len).sum();
    if map.len().max(paths) > settings.uploads_max {
        return Err(Refusal::new(
            Code::TooManyUploads,
            format!("the form has more than {} files", settings.uploads_max),
        ));
    }
    let token = format!("upload-{:032x}-", u128::from_ne_bytes(random()));
    let (mut files, mut places) = (Vec::new(), Vec::new());
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let Some(paths) = map.remove(&name) else {
            return Err(refused(format!("`map` has no paths for the part {name:?}")));
        };
        let placeholder = format!("{token}{}", files.len());
        places.extend(paths.into_iter().map(|path| (path, placeholder.clone())));
        files.push(Upload {
            file_name: field.file_name().map(str::to_owned),
            content_type: field.content_type().map(ToString::to_string),
            bytes: field.bytes().await.map_err(malformed)?,
        });
    }
    if let Some(name) = map.keys().next() {
        return Err(refused(format!(
            "the form has no part {name:?}, which `map` names"
        )));
    }
    if !places.is_empty() {
        request.variables = Some(placed(request.variables.as_ref(), &places)?);
    }
    request.uploads = Some(
        Uploads {
            token,
            files,
            _share: share,
        }
        .into(),
    );
    Ok(request)
}

/// Not to be guessed: `RandomState` is keyed by the system's random numbers.
fn random() -> [u8; 16] {
    use std::hash::{BuildHasher, RandomState};
    let half = || RandomState::new().hash_one(0).to_ne_bytes();
    let mut random = [0; 16];
    random[..8].copy_from_slice(&half());
    random[8..].copy_from_slice(&half());
    random
}

async fn part(form: &mut Multipart<'_>, name: &str, bytes_max: usize) -> Result<Bytes, Refusal> {
    let field = form.next_field().await.map_err(malformed)?;
    let field = field.filter(|field| field.name() == Some(name));
    let Some(field) = field else {
        return Err(refused(format!(
            "the form has to begin with the parts `operations` and `map`: {name} is missing"
        )));
    };
    let bytes = field.bytes().await.map_err(malformed)?;
    match bytes.len() {
        length if length > bytes_max => Err(Refusal::new(
            Code::RequestTooLarge,
            format!("`{name}` is larger than {bytes_max} bytes"),
        )),
        _ => Ok(bytes),
    }
}

/// The variables with texts in the places of the nulls at paths such as `variables.input.files.0`.
fn placed(variables: Option<&Bytes>, places: &[(String, String)]) -> Result<Bytes, Refusal> {
    let wrong =
        || refused("`map` has a path where the variables have no null, or twice the same path");
    let mut split: Vec<(Vec<&str>, &str)> = Vec::with_capacity(places.len());
    for (path, text) in places {
        let path = path.strip_prefix("variables.").ok_or_else(wrong)?;
        let path: Vec<&str> = path.split('.').take(DEPTH_MAX + 1).collect();
        if path.len() > DEPTH_MAX {
            return Err(wrong());
        }
        split.push((path, text));
    }
    let places: Vec<Place<'_>> = split
        .iter()
        .map(|(path, text)| (&path[..], *text))
        .collect();
    let variables = variables.ok_or_else(wrong)?;
    let variables: &RawValue = serde_json::from_slice(variables).map_err(|_| wrong())?;
    let replaced = replaced(variables, &places).ok_or_else(wrong)?;
    Ok(Bytes::from(replaced.get().to_owned()))
}

/// The rest of a path, and the text for its end.
type Place<'p> = (&'p [&'p str], &'p str);

/// Each part of the value is written once on each level, however many places are in it.
fn replaced(json: &RawValue, places: &[Place<'_>]) -> Option<Box<RawValue>> {
    if let [([], text)] = places {
        return (json.get() == "null")
            .then(|| to_raw_value(text).ok())
            .flatten();
    }
    let mut inner: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for (path, text) in places {
        let (first, rest) = path.split_first()?;
        inner.entry(first).or_default().push((rest, text));
    }
    if json.get().starts_with('[') {
        let mut items: Vec<Box<RawValue>> = serde_json::from_str(json.get()).ok()?;
        for (index, places) in inner {
            let item = items.get_mut(index.parse::<usize>().ok()?)?;
            *item = replaced(item, &places)?;
        }
        return to_raw_value(&items).ok();
    }
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json.get()).ok()?;
    for (name, places) in inner {
        let member = members.get_mut(name)?;
        *member = replaced(member, &places)?;
    }
    to_raw_value(&members).ok()
}

fn malformed(error: multer::Error) -> Refusal {
    refused(format!("the form cannot be read: {error}"))
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::{ClientKey, in_flight::InFlight};

    async fn reading(parts: &[(&str, &str)]) -> Result<GraphqlRequest, Refusal> {
        let mut body = String::new();
        for (name, content) in parts {
            let file = if name.len() == 1 {
                "; filename=\"a.txt\""
            } else {
                ""
            };
            body.push_str(&format!(
                "--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n{content}\r\n"
            ));
        }
        body.push_str("--b--\r\n");
        let settings = HttpSettings {
            uploads_max: 2,
            ..HttpSettings::default()
        };
        let bodies = InFlight::bodies(&settings, Gauge::default());
        let share = bodies.share(ClientKey::default());
        read(body.into(), "b".to_owned(), &settings, share).await
    }

    const ONE: &str = r#"{"query":"mutation($f:Upload!){a(f:$f)}","variables":{"n":1.0,"f":null}}"#;
    const LIST: &str = r#"{"query":"{a}","variables":{"i":{"files":[null,null]}}}"#;

    #[tokio::test]
    async fn a_text_stands_for_each_file() {
        let request = reading(&[
            ("operations", LIST),
            (
                "map",
                r#"{"x":["variables.i.files.1"],"y":["variables.i.files.0"]}"#,
            ),
            ("y", "first"),
            ("x", "second"),
        ])
        .await
        .expect("well-formed");
        let uploads = request.uploads.expect("files");
        let contents: Vec<&[u8]> = uploads.files().iter().map(|it| &it.bytes[..]).collect();
        assert_eq!(contents, [b"first".as_slice(), b"second"]);
        assert_eq!(uploads.files()[0].file_name.as_deref(), Some("a.txt"));
        let token = uploads.token();
        let expected = format!(r#"{{"i":{{"files":["{token}0","{token}1"]}}}}"#);
        assert_eq!(request.variables.as_deref(), Some(expected.as_bytes()));
        let request = reading(&[
            ("operations", ONE),
            ("map", r#"{"x":["variables.f"]}"#),
            ("x", ""),
        ]);
        let variables = request.await.expect("well-formed").variables.expect("some");
        assert!(
            variables.windows(7).any(|it| it == b"\"n\":1.0"),
            "every digit"
        );
    }

    #[tokio::test]
    async fn what_is_not_as_specified_is_refused() {
        let map = r#"{"x":["variables.f"]}"#;
        let batch = r#"[{"query":"{a}"}]"#;
        for parts in [
            &[][..],
            &[("map", map), ("operations", ONE), ("x", "")],
            &[("operations", ONE), ("x", "")],
            &[("operations", ONE), ("map", map)],
            &[("operations", ONE), ("map", "[]"), ("x", "")],
            &[("operations", ONE), ("map", "{}"), ("x", "")],
            &[("operations", ONE), ("map", r#"{"x":["f"]}"#), ("x", "")],
            &[
                ("operations", ONE),
                ("map", r#"{"x":["variables"]}"#),
                ("x", ""),
            ],
            &[
                ("operations", ONE),
                ("map", r#"{"x":["variables.n"]}"#),
                ("x", ""),
            ],
            &[
                ("operations", ONE),
                ("map", r#"{"x":["variables.f.g"]}"#),
                ("x", ""),
            ],
            &[
                ("operations", LIST),
                ("map", r#"{"x":["variables.i.files.2"]}"#),
                ("x", ""),
            ],
            &[("operations", batch), ("map", map), ("x", "")],
        ] {
            let refusal = reading(parts).await.expect_err("refused");
            assert_eq!(refusal.code, Code::BadRequest, "{parts:?}");
        }
        for map in [
            r#"{"x":[],"y":[],"z":[]}"#,
            r#"{"x":["variables.f","variables.f","variables.f"]}"#,
        ] {
            let refusal = reading(&[("operations", ONE), ("map", map)]).await;
            assert_eq!(refusal.expect_err("refused").code, Code::TooManyUploads);
        }
    }
}
