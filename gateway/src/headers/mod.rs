//! Decides which headers pass between clients and subgraphs.

pub(crate) mod claims;
mod rule;
pub(crate) mod trace_context;

use std::sync::Arc;

use anyhow::{Context, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};

use crate::config::{HeaderConfig, listed};
use claims::{CLAIMS, ClaimRules, ForwardedClaims};
use rule::{Inserted, Rule};
use trace_context::{REQUEST_ID, TRACEPARENT};

/// Headers that every subgraph receives: the W3C trace context, and the request's id. Not `baggage`: what clients put into it
/// is for those subgraphs that a rule names, and may decide what they answer.
static TRACE_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    REQUEST_ID,
];

/// The approximate size of the trace context and the request's id as header lines, in bytes.
const LINES_BYTES: usize = 160;

/// Headers that belong to one connection or one body, which no rule may name.
const OWN_OF_A_CONNECTION: [HeaderName; 11] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// The forwarding rules, and the header that enables labels of progressive overrides; none by
/// default.
#[derive(Debug, Default)]
pub struct HeaderRules {
    override_labels: Option<HeaderName>,
    forward: Vec<Rule>,
    give_back: Vec<Rule>,
    /// What subgraphs get, whatever the client sends.
    insert: Vec<Inserted>,
    /// What subgraphs do not get, though other rules say so.
    withhold: Vec<Rule>,
    claims: ClaimRules,
}

impl HeaderRules {
    /// Parses the rules in the settings.
    ///
    /// # Errors
    /// If a rule or `OVERRIDE_LABELS_HEADER` is not a header's name, or names a header of the
    /// connection itself.
    pub fn new(config: &HeaderConfig) -> anyhow::Result<Self> {
        let override_labels = config.override_labels_header.as_deref().map(str::trim);
        let override_labels = override_labels.filter(|name| !name.is_empty());
        let override_labels = override_labels.map(header_name).transpose();
        let override_labels = override_labels.context("OVERRIDE_LABELS_HEADER")?;
        let rules = |texts: &[String]| -> anyhow::Result<Vec<Rule>> {
            let texts = texts
                .iter()
                .map(|text| text.trim())
                .filter(|text| !text.is_empty());
            texts.map(Rule::read).collect()
        };
        let mut forward = rules(&config.forward)?;
        // These are forwarded without a rule, in normalised form.
        forward.retain(|rule| rule.is_renaming() || !TRACE_HEADERS.contains(&rule.name));
        let inserted: anyhow::Result<_> = listed(&config.insert).map(Inserted::read).collect();
        let withhold = rules(&config.withhold).context("WITHHOLD_HEADERS")?;
        if let Some(rule) = withhold.iter().find(|rule| rule.is_renaming()) {
            anyhow::bail!("WITHHOLD_HEADERS: {} cannot be renamed there", rule.name);
        }
        Ok(Self {
            override_labels,
            forward,
            give_back: rules(&config.give_back)?,
            insert: inserted.context("SUBGRAPH_HEADERS")?,
            withhold,
            claims: ClaimRules::new(&config.claims)?,
        })
    }

    /// Whether there are no rules, so that responses' headers need not be kept.
    pub fn is_empty(&self) -> bool {
        self.forward.is_empty() && self.give_back.is_empty()
    }

    /// The headers to send to a subgraph for a client's request: those of the rules, the trace
    /// context and the request's id.
    pub fn request(&self, subgraph: &str, client: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let named = Named::by(client);
        for (name, sent_as) in self.names_to(subgraph) {
            if !named.has(name) {
                copy(name, client, sent_as, &mut headers);
            }
        }
        for inserted in self.insert.iter().filter(|it| it.is_for(subgraph)) {
            headers.insert(inserted.name.clone(), inserted.value.clone());
        }
        if let Some(value) = self.claims_to(subgraph, client) {
            headers.insert(CLAIMS, value.clone());
        }
        headers
    }

    /// The same as lines of an HTTP/1.1 head, which saves building a map for each request.
    pub fn request_lines(&self, subgraph: &str, client: &HeaderMap) -> Vec<u8> {
        let mut lines = Vec::with_capacity(LINES_BYTES);
        let named = Named::by(client);
        for (name, sent_as) in self.names_to(subgraph) {
            if named.has(name) {
                continue;
            }
            for value in client.get_all(name) {
                line(sent_as, value, &mut lines);
            }
        }
        for inserted in self.insert.iter().filter(|it| it.is_for(subgraph)) {
            line(&inserted.name, &inserted.value, &mut lines);
        }
        if let Some(value) = self.claims_to(subgraph, client) {
            line(&CLAIMS, value, &mut lines);
        }
        lines
    }

    /// The claims that a subgraph gets of a client whose headers have them.
    pub(crate) fn claims_to<'c>(
        &self,
        subgraph: &str,
        client: &'c HeaderMap,
    ) -> Option<&'c HeaderValue> {
        client.get(self.claims.carrier(subgraph)?)
    }

    /// The names of the headers that are forwarded to a subgraph, and as what they are sent.
    fn names_to<'r>(
        &'r self,
        subgraph: &'r str,
    ) -> impl Iterator<Item = (&'r HeaderName, &'r HeaderName)> {
        let trace = TRACE_HEADERS.iter().map(|name| (name, name));
        let names = trace.chain(self.rules_to(subgraph));
        names.filter(move |(_, sent_as)| self.may_be_sent(subgraph, sent_as))
    }

    /// The same by the rules alone.
    fn rules_to<'r>(
        &'r self,
        subgraph: &'r str,
    ) -> impl Iterator<Item = (&'r HeaderName, &'r HeaderName)> {
        let rules = self.forward.iter();
        let rules = rules.filter(move |rule| rule.is_for(subgraph));
        rules.map(|rule| (&rule.name, &rule.becomes))
    }

    /// Whether this subgraph receives the trace context of the gateway: no setting withholds or replaces it.
    pub fn sends_trace_context(&self, subgraph: &str) -> bool {
        let mut renamed = self.forward.iter();
        self.may_be_sent(subgraph, &TRACEPARENT)
            && !renamed.any(|rule| rule.becomes == TRACEPARENT && rule.is_for(subgraph))
    }

    /// Whether a client's header may be sent under this name: it is not withheld, and no other one is in its place.
    fn may_be_sent(&self, subgraph: &str, name: &HeaderName) -> bool {
        let mut withheld = self.withhold.iter();
        let mut inserted = self.insert.iter();
        !withheld.any(|rule| rule.name == *name && rule.is_for(subgraph))
            && !inserted.any(|it| it.name == *name && it.is_for(subgraph))
    }

    /// The client's headers that can affect this subgraph's response. Queries for which they are
    /// equal may share a request.
    pub fn relevant_to(&self, subgraph: &str, client: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let named = Named::by(client);
        for (name, sent_as) in self.rules_to(subgraph) {
            if !named.has(name) && self.may_be_sent(subgraph, sent_as) {
                copy(name, client, name, &mut headers);
            }
        }
        if let Some(value) = self.claims_to(subgraph, client) {
            headers.insert(CLAIMS, value.clone());
        }
        headers
    }

    /// Whether cookies that this subgraph sets reach the client: then clients must not share its
    /// responses.
    pub fn gives_back_cookies(&self, subgraph: &str) -> bool {
        self.give_back.iter().any(|rule| {
            let names = [&rule.name, &rule.becomes];
            names.contains(&&header::SET_COOKIE) && rule.is_for(subgraph)
        })
    }

    /// Adds the headers of a subgraph's response that are returned to the client. If several
    /// subgraphs send the same header, the first one is kept; of `set-cookie`, all are.
    pub fn response(&self, subgraph: &str, answer: &HeaderMap, to_client: &mut HeaderMap) {
        for rule in self.give_back.iter().filter(|rule| rule.is_for(subgraph)) {
            if rule.becomes == header::SET_COOKIE || !to_client.contains_key(&rule.becomes) {
                copy(&rule.name, answer, &rule.becomes, to_client);
            }
        }
    }

    /// The labels of progressive overrides that a client's header enables.
    pub fn override_labels<'c>(&self, client: &'c HeaderMap) -> impl Iterator<Item = &'c str> {
        let name = self.override_labels.as_ref().into_iter();
        let values = name.flat_map(|name| client.get_all(name));
        let values = values.filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',').map(str::trim))
    }

    /// The client's headers that can affect any subgraph's response, or the plan. Clients for which
    /// they are equal may share a subscription.
    pub fn relevant(&self, client: &HeaderMap) -> HeaderMap {
        let mut headers = self.relevant_to_all(client);
        for name in self.claims.carriers() {
            copy(name, client, name, &mut headers);
        }
        headers
    }

    /// The same without the client's claims, for what does not depend on who asks.
    pub fn relevant_to_all(&self, client: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let named = Named::by(client);
        if let Some(name) = &self.override_labels {
            copy(name, client, name, &mut headers);
        }
        for rule in &self.forward {
            if !headers.contains_key(&rule.name) && !named.has(&rule.name) {
                copy(&rule.name, client, &rule.name, &mut headers);
            }
        }
        headers
    }

    /// Whether subgraphs get any claims of verified tokens.
    pub fn forwards_claims(&self) -> bool {
        !self.claims.is_empty()
    }

    /// The headers for the claims of one token.
    pub(crate) fn forwarded_claims(&self, claims: &Map<String, Value>) -> ForwardedClaims {
        self.claims.values(claims)
    }

    /// Puts a verified client's claims into its headers, from where subgraphs get them; what the client itself
    /// sent in their place is removed. `None`: a client that is not known.
    pub(crate) fn set_claims(&self, client: &mut Arc<HeaderMap>, claims: Option<&ForwardedClaims>) {
        self.claims.set(client, claims);
    }

    /// The names of the headers of subgraphs' responses as they are returned to clients.
    pub fn returned(&self) -> impl Iterator<Item = &HeaderName> {
        self.give_back.iter().map(|rule| &rule.becomes)
    }

    /// Whether a client's header of this name is used by a subgraph or by the gateway.
    pub fn takes(&self, name: &HeaderName) -> bool {
        self.override_labels.as_ref() == Some(name) || self.forwards(name)
    }

    /// Whether a client's header of this name reaches any subgraph.
    pub fn forwards(&self, name: &HeaderName) -> bool {
        self.forward.iter().any(|rule| rule.name == name)
    }
}

fn header_name(text: &str) -> anyhow::Result<HeaderName> {
    let name: HeaderName = text.parse().context("it is not the name of a header")?;
    ensure!(
        !name.as_str().starts_with(CLAIMS.as_str()),
        "the header {name} has the claims of verified tokens and cannot be named: SUBGRAPH_CLAIMS chooses them"
    );
    ensure!(
        !OWN_OF_A_CONNECTION.contains(&name),
        "the header {name} belongs to one connection and cannot be forwarded"
    );
    Ok(name)
}

/// The headers that a request's `Connection` header names, which must not be forwarded (RFC 9110,
/// section 7.6.1).
struct Named<'c>(Option<&'c HeaderMap>);

impl<'c> Named<'c> {
    fn by(client: &'c HeaderMap) -> Self {
        Self(client.contains_key(header::CONNECTION).then_some(client))
    }

    fn has(&self, name: &HeaderName) -> bool {
        let values = self.0.into_iter();
        let values = values.flat_map(|client| client.get_all(header::CONNECTION));
        let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // The request's id is always forwarded: the gateway itself sets it.
        *name != REQUEST_ID
            && options.any(|option| {
                let option = option.trim_ascii();
                option.eq_ignore_ascii_case(name.as_str().as_bytes())
            })
    }
}

/// Copies the values of one header, under another name.
fn copy(name: &HeaderName, from: &HeaderMap, becomes: &HeaderName, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(becomes, value.clone());
    }
}

/// Appends a line of an HTTP/1.1 head.
fn line(name: &HeaderName, value: &HeaderValue, lines: &mut Vec<u8>) {
    for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        lines.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(forward: &[&str], give_back: &[&str]) -> HeaderRules {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        HeaderRules::new(&HeaderConfig {
            forward: owned(forward),
            give_back: owned(give_back),
            ..HeaderConfig::default()
        })
        .expect("well-formed rules")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_what_a_rule_names_reaches_its_subgraph() {
        let rules = rules(&["authorization", "x-tenant@posts"], &[]);
        let client = headers(&[("authorization", "a"), ("x-tenant", "t"), ("cookie", "c")]);
        assert_eq!(
            rules.request("posts", &client),
            headers(&[("authorization", "a"), ("x-tenant", "t")])
        );
        assert_eq!(
            rules.request("users", &client),
            headers(&[("authorization", "a")])
        );
        assert_eq!(
            rules.request_lines("posts", &client),
            b"authorization: a\r\nx-tenant: t\r\n"
        );
    }

    #[test]
    fn headers_are_renamed_inserted_and_withheld_by_subgraph() {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let rules = HeaderRules::new(&HeaderConfig {
            forward: owned(&["x-user=x-account@accounts", "authorization", "x-env"]),
            give_back: owned(&["x-took=x-accounts-took@accounts"]),
            insert: owned(&[" x-env: prod", "x-api-key@posts: k%2C3%25: y"]),
            withhold: owned(&["authorization@posts", "tracestate"]),
            ..HeaderConfig::default()
        })
        .expect("well-formed rules");
        let client = headers(&[
            ("x-user", "1"),
            ("x-account", "forged"),
            ("authorization", "a"),
            ("x-env", "test"),
            ("x-api-key", "forged"),
            ("tracestate", "s"),
        ]);
        for (subgraph, expected) in [
            (
                "accounts",
                &[
                    ("x-account", "1"),
                    ("authorization", "a"),
                    ("x-env", "prod"),
                ][..],
            ),
            ("posts", &[("x-env", "prod"), ("x-api-key", "k,3%: y")]),
        ] {
            assert_eq!(rules.request(subgraph, &client), headers(expected));
            let lines: String = expected
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"))
                .collect();
            let sent = rules.request_lines(subgraph, &client);
            assert_eq!(String::from_utf8(sent).expect("text"), lines);
        }
        let relevant = rules.relevant_to("accounts", &client);
        assert_eq!(
            relevant,
            headers(&[("x-user", "1"), ("authorization", "a")])
        );
        assert!(rules.relevant_to("posts", &client).is_empty());
        let mut returned = HeaderMap::new();
        rules.response("accounts", &headers(&[("x-took", "5")]), &mut returned);
        assert_eq!(returned, headers(&[("x-accounts-took", "5")]));
        assert!(rules.takes(&HeaderName::from_static("x-user")));
        assert!(!rules.takes(&HeaderName::from_static("x-account")));
    }

    #[test]
    fn malformed_rules_are_refused() {
        let refused = |change: fn(&mut HeaderConfig)| {
            let mut config = HeaderConfig::default();
            change(&mut config);
            let error = HeaderRules::new(&config).expect_err("refused");
            let error = format!("{error:#}");
            assert!(!error.contains("s3cret"), "{error}");
            error
        };
        for (error, expected) in [
            (
                refused(|it| it.insert = vec!["x-key s3cret".to_owned()]),
                "SUBGRAPH_HEADERS: it is not NAME: VALUE",
            ),
            (
                refused(|it| it.insert = vec!["x-key: s3cret%0a".to_owned()]),
                "SUBGRAPH_HEADERS: the value of x-key",
            ),
            (
                refused(|it| it.insert = vec!["content-length: 1".to_owned()]),
                "SUBGRAPH_HEADERS: ",
            ),
            (
                refused(|it| it.withhold = vec!["a=b".to_owned()]),
                "WITHHOLD_HEADERS: a cannot be renamed",
            ),
            (
                refused(|it| it.forward = vec!["a=b=c".to_owned()]),
                "the header rule",
            ),
            (
                refused(|it| it.forward = vec!["a=host".to_owned()]),
                "the header rule",
            ),
        ] {
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn trace_context_needs_no_rule_and_does_not_part_subscribers() {
        let client = headers(&[("traceparent", "00-1-2-01"), ("x-request-id", "7")]);
        let rules = rules(&[], &[]);
        assert_eq!(rules.request("posts", &client), client);
        assert!(rules.relevant(&client).is_empty());
        assert_eq!(
            rules.request_lines("posts", &client),
            b"traceparent: 00-1-2-01\r\nx-request-id: 7\r\n"
        );
    }

    #[test]
    fn a_rule_for_the_trace_context_does_not_send_it_twice() {
        let client = headers(&[("traceparent", "00-1-2-01")]);
        let rules = rules(&["traceparent"], &[]);
        assert_eq!(rules.request("posts", &client), client);
        assert_eq!(
            rules.request_lines("posts", &client),
            b"traceparent: 00-1-2-01\r\n"
        );
    }

    #[test]
    fn what_the_connection_header_names_stays_here() {
        let rules = rules(&["authorization", "x-tenant"], &[]);
        let mut client = headers(&[
            ("authorization", "a"),
            ("x-tenant", "t"),
            ("traceparent", "00-1-2-01"),
            ("x-request-id", "7"),
            ("connection", "keep-alive, X-Tenant"),
        ]);
        let second = HeaderValue::from_static("traceparent,x-request-id");
        client.append(header::CONNECTION, second);
        let expected = headers(&[("authorization", "a"), ("x-request-id", "7")]);
        assert_eq!(rules.request("posts", &client), expected);
        assert_eq!(
            rules.request_lines("posts", &client),
            b"x-request-id: 7\r\nauthorization: a\r\n"
        );
        let expected = headers(&[("authorization", "a")]);
        assert_eq!(rules.relevant(&client), expected);
        assert_eq!(rules.relevant_to("posts", &client), expected);
    }

    #[test]
    fn labels_of_overrides_are_those_of_the_header_that_a_setting_names() {
        let client = headers(&[("x-labels", "a, b"), ("x-other", "c")]);
        assert_eq!(rules(&[], &[]).override_labels(&client).count(), 0);
        let rules = HeaderRules::new(&HeaderConfig {
            forward: Vec::new(),
            give_back: Vec::new(),
            override_labels_header: Some("X-Labels".to_owned()),
            ..HeaderConfig::default()
        })
        .expect("well-formed rules");
        let labels: Vec<&str> = rules.override_labels(&client).collect();
        assert_eq!(labels, ["a", "b"]);
        // Clients with other labels have other plans, and share no subscription.
        assert_eq!(rules.relevant(&client), headers(&[("x-labels", "a, b")]));
        assert!(rules.request("posts", &client).is_empty());
        assert!(rules.takes(&HeaderName::from_static("x-labels")));
    }

    #[test]
    fn every_cookie_reaches_the_client_and_else_the_first_answer_counts() {
        let rules = rules(&[], &["set-cookie", "x-cost"]);
        let mut to_client = HeaderMap::new();
        rules.response(
            "posts",
            &headers(&[("set-cookie", "a=1"), ("x-cost", "1")]),
            &mut to_client,
        );
        rules.response(
            "users",
            &headers(&[("set-cookie", "b=2"), ("x-cost", "2")]),
            &mut to_client,
        );
        assert_eq!(to_client.get_all("set-cookie").iter().count(), 2);
        assert_eq!(to_client["x-cost"], "1");
    }

    #[test]
    fn claims_reach_subgraphs_under_one_name_and_part_subscribers() {
        let rules = HeaderRules::new(&HeaderConfig {
            claims: vec!["sub".to_owned(), "email@accounts".to_owned()],
            ..HeaderConfig::default()
        })
        .expect("well-formed rules");
        let claims: Map<String, Value> =
            serde_json::from_str(r#"{"sub":"1","email":"e"}"#).expect("an object");
        // A client's own header of that name, and one that would keep the claims here.
        let mut client = Arc::new(headers(&[
            ("rejoinder-claims", "forged"),
            ("connection", "rejoinder-claims, rejoinder-claims-0"),
        ]));
        assert!(rules.request("posts", &client).is_empty());
        rules.set_claims(&mut client, Some(&rules.forwarded_claims(&claims)));
        let to = |subgraph| rules.request(subgraph, &client);
        assert_eq!(
            to("posts"),
            headers(&[("rejoinder-claims", "eyJzdWIiOiIxIn0")])
        );
        assert_eq!(
            to("accounts"),
            headers(&[("rejoinder-claims", "eyJzdWIiOiIxIiwiZW1haWwiOiJlIn0")])
        );
        assert_eq!(
            rules.request_lines("posts", &client),
            b"rejoinder-claims: eyJzdWIiOiIxIn0\r\n"
        );
        assert_eq!(rules.relevant_to("posts", &client), to("posts"));
        let relevant = rules.relevant(&client);
        assert_eq!(relevant.len(), 2);
        // A feed sends them from what is relevant.
        assert_eq!(rules.request("accounts", &relevant), to("accounts"));
    }

    #[test]
    fn a_header_of_the_connection_is_refused() {
        assert!(Rule::read("content-length").is_err());
        assert!(Rule::read("no header").is_err());
        assert!(Rule::read("rejoinder-claims").is_err());
        assert!(Rule::read("Rejoinder-Claims-0@posts").is_err());
    }
}
