//! HTTP bodies: a request read and checked, a response written in the accepted media type.

use std::time::Duration;

use async_graphql::{Request, Response, ServerError};
use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::response::Response as HttpResponse;
use futures_util::StreamExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::endpoint::{MAX_BODY_BYTES, coded};
use crate::limits::json_size::has_too_many_values;
use crate::{Code, JsonText, Overloaded};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GRAPHQL_RESPONSE: HeaderValue = HeaderValue::from_static("application/graphql-response+json");
/// Seconds after which a client may try again where the service had too much to do.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
const EVENT_STREAM: &str = "text/event-stream";
/// The most that is read of a body that is refused for its size, in bytes.
const DRAINED_BYTES_MAX: usize = 32 << 20;
/// What an answer gets at first, in bytes.
const ANSWER_BYTES: usize = 4096;

/// The form of answer that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// `application/json`: status 200 for every GraphQL response, but 503 where nothing was begun
    /// because the service has too much to do.
    Json,
    /// `application/graphql-response+json`: status 400 when nothing was executed.
    GraphqlResponse,
    /// `text/event-stream`: server-sent events.
    EventStream,
}

impl Accepted {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        match accept {
            Some(accept) if accept.contains(EVENT_STREAM) => Self::EventStream,
            Some(accept) if accept.contains("application/graphql-response+json") => {
                Self::GraphqlResponse
            }
            _ => Self::Json,
        }
    }
}

/// A request that is not run, with the HTTP status that says why.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: Code::BadRequest,
            message: message.into(),
            header: None,
        }
    }

    pub(crate) fn mutation_over_get() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: Code::Forbidden,
            message: "a mutation needs POST: GET must not change anything".to_owned(),
            header: Some((header::ALLOW, HeaderValue::from_static("POST"))),
        }
    }

    pub(crate) fn subscription_without_stream() -> Self {
        Self {
            status: StatusCode::NOT_ACCEPTABLE,
            ..Self::bad_request(
                "a subscription needs a stream: connect by WebSocket (graphql-transport-ws) or \
                 send `Accept: text/event-stream`",
            )
        }
    }

    pub(crate) fn cross_site() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: Code::Forbidden,
            message: "pages of other sites may not use this service: the gateway is for them"
                .to_owned(),
            header: None,
        }
    }

    pub(crate) fn overloaded(reason: Overloaded) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: Code::Overloaded,
            message: reason.to_string(),
            header: Some((header::RETRY_AFTER, RETRY_AFTER)),
        }
    }

    fn too_slow(limit: Duration) -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            ..Self::bad_request(format!(
                "the body was not complete within {} s",
                limit.as_secs()
            ))
        }
    }

    fn too_large() -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Self::bad_request(format!(
                "the body is too large: at most {MAX_BODY_BYTES} bytes"
            ))
        }
    }

    fn too_many_values() -> Self {
        Self {
            code: Code::MaxVariablesExceeded,
            ..Self::bad_request("the body has too many values: send fewer at a time")
        }
    }

    fn unsupported_media_type() -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..Self::bad_request("send the request as `Content-Type: application/json`")
        }
    }

    /// The refusal as a GraphQL response.
    pub(crate) fn response(&self) -> Response {
        coded(ServerError::new(&self.message, None), self.code)
    }
}

impl From<Refusal> for HttpResponse {
    fn from(refusal: Refusal) -> Self {
        let mut response = write(refusal.status, &refusal.response(), JSON);
        response.headers_mut().extend(refusal.header);
        response
    }
}

/// Reads a GraphQL request from a query string (GET) or a JSON body (POST).
pub(crate) async fn read_request(
    request: HttpRequest,
    limit: Duration,
) -> Result<Request, Refusal> {
    let graphql = if request.method() == Method::GET {
        async_graphql::http::parse_query_string(request.uri().query().unwrap_or_default())
            .map_err(|error| Refusal::bad_request(format!("the query string: {error}")))?
    } else {
        read_body(request, limit).await?
    };
    if graphql.query.is_empty() {
        return Err(Refusal::bad_request("there is no `query` in the request"));
    }
    Ok(graphql)
}

async fn read_body(request: HttpRequest, limit: Duration) -> Result<Request, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().starts_with("application/json"));
    if !is_json {
        return Err(Refusal::unsupported_media_type());
    }
    let body = tokio::time::timeout(limit, read_bytes(request.into_body()))
        .await
        .map_err(|_| Refusal::too_slow(limit))??;
    if body.is_empty() {
        return Err(Refusal::bad_request(
            "the body is empty: send {\"query\": \"...\"}",
        ));
    }
    if has_too_many_values(&body) {
        return Err(Refusal::too_many_values());
    }
    serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body is not a GraphQL request in JSON: {error}"
        ))
    })
}

/// Writes a GraphQL response. `is_overload`: nothing of the operation was begun, as the service has
/// too much to do.
pub(crate) fn write_response(
    response: &Response,
    is_overload: bool,
    accepted: Accepted,
) -> HttpResponse {
    if is_overload {
        let content_type = match accepted {
            Accepted::GraphqlResponse => GRAPHQL_RESPONSE,
            _ => JSON,
        };
        let mut http = write(StatusCode::SERVICE_UNAVAILABLE, response, content_type);
        http.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        return http;
    }
    match accepted {
        Accepted::GraphqlResponse => {
            // Without a path, an error came before execution.
            let executed = response.errors.is_empty()
                || response.errors.iter().any(|error| !error.path.is_empty());
            let status = if executed {
                StatusCode::OK
            } else {
                StatusCode::BAD_REQUEST
            };
            write(status, response, GRAPHQL_RESPONSE)
        }
        _ => write(StatusCode::OK, response, JSON),
    }
}

/// The whole body. What is too large is taken in and thrown away up to a limit: a client that writes
/// its whole body before it reads would else see a broken connection instead of the refusal.
async fn read_bytes(body: Body) -> Result<Vec<u8>, Refusal> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            Refusal::bad_request(format!("the body did not arrive whole: {error}"))
        })?;
        length += piece.len();
        if length <= MAX_BODY_BYTES {
            bytes.extend_from_slice(&piece);
        } else if length > DRAINED_BYTES_MAX {
            break;
        }
    }
    match length > MAX_BODY_BYTES {
        true => Err(Refusal::too_large()),
        false => Ok(bytes),
    }
}

/// The response's JSON: of a plain one, which most are, without another look at what is JSON already.
fn json(response: &Response) -> serde_json::Result<Vec<u8>> {
    if !response.errors.is_empty() || !response.extensions.is_empty() {
        return serde_json::to_vec(response);
    }
    let mut json = JsonText::with_capacity(ANSWER_BYTES);
    json.object([&response.data], |json, data| {
        json.key("data");
        json.value(data);
    });
    Ok(json.into_bytes())
}

fn write(status: StatusCode, response: &Response, content_type: HeaderValue) -> HttpResponse {
    match json(response) {
        Ok(body) => {
            let mut http = HttpResponse::new(Body::from(body));
            *http.status_mut() = status;
            http.headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            http
        }
        Err(error) => {
            tracing::error!(%error, "a response could not be written");
            let mut http = HttpResponse::new(Body::empty());
            *http.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            http
        }
    }
}
