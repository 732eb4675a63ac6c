//! Requests as a gateway sends them: signed, with the claims of its client.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use graphql_transport::signature::{CLAIMS, Secrets};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{Socket, TestService, code_of, data_of};

/// The secret of the subgraphs under test that accept only signed requests.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A client of a gateway that knows the secret.
#[derive(Clone)]
pub struct Signed<'s> {
    service: &'s TestService,
    /// The subgraph's name, which the signature has.
    name: &'static str,
    /// What the gateway sends as claims, whatever it is; nothing for a guest.
    claims: Option<String>,
}

impl TestService {
    /// A gateway's client without a token. The service was started with [`SECRET`] and this name.
    pub fn guest(&self, name: &'static str) -> Signed<'_> {
        Signed {
            service: self,
            name,
            claims: None,
        }
    }

    /// A gateway's client with a token that has these claims.
    pub fn person(&self, name: &'static str, claims: &Value) -> Signed<'_> {
        self.with_claims(name, claims.to_string())
    }

    /// The same with any text in the place of the claims.
    pub fn with_claims(&self, name: &'static str, claims: String) -> Signed<'_> {
        Signed {
            claims: Some(claims),
            ..self.guest(name)
        }
    }
}

impl Signed<'_> {
    /// Runs a query or mutation and returns the whole response.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let mut headers = HeaderMap::new();
        if let Some(claims) = &self.claims {
            let claims = BASE64_URL_SAFE_NO_PAD.encode(claims);
            headers.insert(CLAIMS, HeaderValue::try_from(claims).expect("a value"));
        }
        self.sign(&Method::POST, Some(body.as_bytes()), &mut headers);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let request = self.service.http.post(self.service.url("/graphql"));
        let response = request.headers(headers).body(body).send().await;
        response.expect("an answer").json().await.expect("JSON")
    }

    /// Runs a query or mutation that must not fail and returns its data.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        data_of(self.graphql(query, variables).await)
    }

    /// Runs a query or mutation that must fail and returns the code of its first error.
    pub async fn error_code(&self, query: &str, variables: Value) -> String {
        code_of(&self.graphql(query, variables).await)
    }

    /// Opens a WebSocket and says hello.
    pub async fn websocket(&self) -> Socket {
        let mut headers = HeaderMap::new();
        self.sign(&Method::GET, None, &mut headers);
        let headers = ["signature-input", "signature"]
            .map(|name| (name, headers[name].to_str().expect("text")));
        let mut socket = Socket::open(self.service.address, &headers).await;
        socket.init(json!({})).await;
        socket
    }

    /// Starts an operation of this client on a gateway's WebSocket, which it may share with others.
    pub async fn subscribe(&self, socket: &mut Socket, id: &str, query: &str, variables: Value) {
        self.subscribe_with(socket, id, query, variables, None)
            .await;
    }

    /// The same, with `extensions.delivery`.
    pub async fn subscribe_with(
        &self,
        socket: &mut Socket,
        id: &str,
        query: &str,
        variables: Value,
        delivery: Option<Value>,
    ) {
        let claims = self.claims.as_ref();
        let claims = claims.map(|claims| format!("\"claims\":{claims}"));
        let delivery = delivery.map(|delivery| format!("\"delivery\":{delivery}"));
        let extensions: Vec<_> = claims.into_iter().chain(delivery).collect();
        let request = json!({ "query": query, "variables": variables }).to_string();
        let request = match extensions.join(",") {
            none if none.is_empty() => request,
            extensions => {
                let request = request.strip_suffix('}').expect("an object");
                format!("{request},\"extensions\":{{{extensions}}}}}")
            }
        };
        let message = format!("{{\"id\":\"{id}\",\"type\":\"subscribe\",\"payload\":{request}}}");
        socket.send_text(&message).await;
    }

    fn sign(&self, method: &Method, body: Option<&[u8]>, headers: &mut HeaderMap) {
        let secrets = Secrets::new(SECRET).expect("a long secret");
        let signature = secrets.signer(self.name);
        let signature = signature.sign(method, "/graphql", body, headers);
        signature.expect("a secret").add_to(headers);
    }
}
