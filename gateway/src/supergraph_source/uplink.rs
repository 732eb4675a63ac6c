//! Apollo's Uplink, which is asked for the supergraph by GraphQL.
//!
//! <https://www.apollographql.com/docs/graphos/routing/uplink>. A question names the last answer, so that an unchanged
//! supergraph is not sent again. Each answer says after how many seconds Uplink may be asked again.

use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Failure, Known, Limits, Reading, Reason,
    addresses::{self, Address},
    seconds,
};
use crate::{
    config::SupergraphConfig,
    subgraphs::{HttpResponse, Tls, Wanted, download},
};

const QUERY: &str = "query SupergraphSdl($apiKey: String!, $ref: String!, $ifAfterId: ID) { \
    routerConfig(ref: $ref, apiKey: $apiKey, ifAfterId: $ifAfterId) { __typename \
    ... on RouterConfigResult { id supergraphSDL minDelaySeconds } \
    ... on Unchanged { id minDelaySeconds } \
    ... on FetchError { code message minDelaySeconds } } }";

/// JSON adds escapes to the supergraph, and the names around it.
const JSON_BYTES: usize = 64 * 1024;
/// The longest message of Uplink in the log, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Uplink, and the graph that it is asked for.
pub(super) struct Uplink {
    endpoints: Vec<Address>,
    graph_ref: String,
    key: Box<str>,
}

#[derive(Deserialize)]
struct Response {
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<Error>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "routerConfig")]
    router_config: RouterConfig,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(tag = "__typename")]
enum RouterConfig {
    #[serde(rename = "RouterConfigResult")]
    New {
        id: String,
        #[serde(rename = "supergraphSDL")]
        sdl: String,
        #[serde(rename = "minDelaySeconds", default)]
        pause: f64,
    },
    Unchanged {
        #[serde(rename = "minDelaySeconds", default)]
        pause: f64,
    },
    FetchError {
        code: String,
        message: String,
        #[serde(rename = "minDelaySeconds", default)]
        pause: f64,
    },
}

impl Uplink {
    pub(super) fn new(config: &SupergraphConfig) -> Result<Self, Vec<String>> {
        let (endpoints, other_mistakes) = addresses::listed(
            "APOLLO_UPLINK_ENDPOINTS",
            &config.apollo_endpoints,
            config.http,
            |url| url.to_owned(),
        );
        let graph_ref = config.apollo_graph_ref.as_deref().map_or("", str::trim);
        let key = config.apollo_key.value().unwrap_or_default();
        let mut mistakes = Vec::new();
        if graph_ref.is_empty() {
            mistakes.push("SUPERGRAPH=uplink needs APOLLO_GRAPH_REF: my-graph@current".to_owned());
        }
        if key.is_empty() {
            mistakes.push("SUPERGRAPH=uplink needs APOLLO_KEY, an API key of the graph".to_owned());
        }
        if config.header.value().is_some() {
            mistakes.push(
                "SUPERGRAPH_HEADER needs an address in SUPERGRAPH: Uplink's key is APOLLO_KEY"
                    .to_owned(),
            );
        }
        if endpoints.is_empty() && other_mistakes.is_empty() {
            mistakes.push("APOLLO_UPLINK_ENDPOINTS lists no address".to_owned());
        }
        mistakes.extend(other_mistakes);
        match mistakes.is_empty() {
            true => Ok(Self {
                endpoints,
                graph_ref: graph_ref.to_owned(),
                key: key.into(),
            }),
            false => Err(mistakes),
        }
    }

    pub(super) fn shown(&self) -> String {
        format!(
            "{} at {}",
            self.graph_ref,
            addresses::shown(&self.endpoints)
        )
    }

    /// Asks the endpoint that answered last, and then the others in turn until one answers.
    pub(super) async fn read(&self, limits: Limits, tls: &Tls, known: &mut Known) -> Answer {
        let variables = json!({
            "apiKey": self.key,
            "ref": self.graph_ref,
            "ifAfterId": known.id,
        });
        let question = json!({"query": QUERY, "variables": variables}).to_string();
        let wanted = Wanted {
            accept: "application/json",
            json: Some(question.as_bytes()),
            ..Wanted::default()
        };
        let bytes_max = limits
            .bytes_max
            .saturating_mul(2)
            .saturating_add(JSON_BYTES);
        let count = self.endpoints.len();
        let mut failures = Vec::new();
        for turn in 0..count {
            let number = (known.endpoint + turn) % count;
            let Address { endpoint, shown } = &self.endpoints[number];
            let response = download(endpoint, wanted, tls, bytes_max, limits.time).await;
            let answer = response
                .map_err(Failure::from)
                .and_then(|response| self.answer_in(&response, limits, known));
            match answer {
                Ok(mut answer) => {
                    known.endpoint = number;
                    answer.outcome = answer.outcome.map_err(|failure| failure.at(shown));
                    return answer;
                }
                Err(failure) => failures.push(failure.at(shown)),
            }
        }
        Err(Failure::of_all(failures)).into()
    }

    /// What Uplink says.
    ///
    /// # Errors
    /// If it says nothing of use: another endpoint may.
    fn answer_in(
        &self,
        response: &HttpResponse,
        limits: Limits,
        known: &mut Known,
    ) -> Result<Answer, Failure> {
        if response.status != 200 {
            let message = format!("it answers with HTTP status {}", response.status);
            return Err(Failure::new(Reason::Status, message));
        }
        // Serde's message may quote what it does not expect.
        let response: Response = serde_json::from_slice(&response.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = format!("its answer is not one of Uplink, at {line}:{column}");
            Failure::new(Reason::Broken, message)
        })?;
        let Some(Data { router_config }) = response.data else {
            let errors = response.errors.first();
            let said = errors.map_or("no data", |error| &*error.message);
            let message = format!("it answers with an error: {}", self.safe(said));
            return Err(Failure::new(Reason::Refused, message));
        };
        let (outcome, pause) = match router_config {
            RouterConfig::Unchanged { pause } if known.id.is_some() => {
                (Ok(Reading::Unchanged), pause)
            }
            RouterConfig::Unchanged { .. } => {
                let message = "it says that nothing has changed, and has sent nothing before";
                return Err(Failure::new(Reason::Broken, message));
            }
            RouterConfig::New { id, sdl, pause } => {
                let bytes_max = limits.bytes_max;
                let outcome = if sdl.len() > bytes_max {
                    let message = format!("the supergraph is larger than {bytes_max} bytes");
                    Err(Failure::new(Reason::TooLarge, message))
                } else {
                    known.id = Some(id);
                    Ok(Reading::Text(sdl))
                };
                (outcome, pause)
            }
            // The same at all endpoints.
            RouterConfig::FetchError {
                code,
                message,
                pause,
            } => {
                let message = format!("{}: {}", self.safe(&code), self.safe(&message));
                (Err(Failure::new(Reason::Refused, message)), pause)
            }
        };
        Ok(Answer {
            outcome,
            pause: seconds(pause),
        })
    }

    /// A text from elsewhere, which might repeat the key.
    fn safe(&self, text: &str) -> String {
        let text = text.replace(&*self.key, "***");
        let visible = text.chars().filter(|letter| !letter.is_control());
        visible.take(MESSAGE_CHARS_MAX).collect()
    }
}
