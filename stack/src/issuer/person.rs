//! Who asks for a token: a name, and whether that person moderates.

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::{Form, Json};
use serde::Deserialize;

use super::Refused;

/// The longest claim `sub`, in bytes, as OpenID Connect has it: subgraphs refuse longer ones.
const SUBJECT_BYTES_MAX: usize = 255;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub name: String,
    pub moderator: bool,
}

#[derive(Deserialize)]
struct JsonBody {
    name: String,
    #[serde(default)]
    moderator: bool,
}

/// As `curl -d name=Ada -d moderator=true` sends it.
#[derive(Deserialize)]
struct FormBody {
    name: String,
    #[serde(default)]
    moderator: Option<String>,
}

impl Person {
    /// Reads a JSON body or a form.
    pub(super) async fn read(request: Request) -> Result<Self, Refused> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if is_json {
            let Json(JsonBody { name, moderator }) = Json::from_request(request, &()).await?;
            return Self::checked(name, moderator);
        }
        let Form(FormBody { name, moderator }) = Form::from_request(request, &()).await?;
        let moderator = match moderator.as_deref() {
            None | Some("" | "false") => false,
            Some("true" | "on") => true,
            Some(_) => return Err(bad("moderator has to be true or false".to_owned())),
        };
        Self::checked(name, moderator)
    }

    fn checked(name: String, moderator: bool) -> Result<Self, Refused> {
        // Blanks in a row would make two people whose names look the same.
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = subgraph::author::check(Some(name))
            .map_err(|error| bad(format!("the name is the author of what you write: {error}")))?;
        let person = Self { name, moderator };
        let bytes = person.subject().len();
        if bytes > SUBJECT_BYTES_MAX {
            return Err(bad(format!(
                "the name has {bytes} bytes as an id: at most {SUBJECT_BYTES_MAX} are accepted"
            )));
        }
        Ok(person)
    }

    /// The claim `sub`: the same for a name each time, in whatever case.
    pub(super) fn subject(&self) -> String {
        format!("dev:{}", self.name.to_lowercase())
    }
}

fn bad(reason: String) -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        reason,
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: rejection.status(),
            reason: rejection.body_text(),
        }
    }
}

impl From<FormRejection> for Refused {
    fn from(rejection: FormRejection) -> Self {
        Self {
            status: rejection.status(),
            reason: rejection.body_text(),
        }
    }
}
