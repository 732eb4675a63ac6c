//! Which headers travel between clients and subgraphs.

use http::HeaderMap;

/// The forwarding rules; none by default.
#[derive(Debug, Default)]
pub struct HeaderRules {}

impl HeaderRules {
    /// True where no rule exists, so that the executor need not ask.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// The headers to send to a subgraph for this client.
    pub fn request(&self, _subgraph: &str, _client: &HeaderMap) -> HeaderMap {
        HeaderMap::new()
    }

    /// Adds what a subgraph's answer hands on to the client.
    pub fn response(&self, _subgraph: &str, _answer: &HeaderMap, _to_client: &mut HeaderMap) {}
}
