//! The budget of one operation for all its subgraph requests: bytes of responses, and objects.
//!
//! Both are counted as responses arrive. An operation that exceeds its budget ends: no further
//! requests are sent, running ones are cancelled, and the client gets an error instead of data.

use bytes::Bytes;
use graphql_transport::response::GraphqlResponse;

use super::Execution;
use crate::{config::Limits, error::Code, json::write};

impl Execution<'_> {
    /// Takes a response's bytes from the budget. Returns false if the operation has ended.
    pub fn may_take(&mut self, bytes: usize) -> bool {
        match self.bytes_left.checked_sub(bytes) {
            Some(left) => self.bytes_left = left,
            None => self.ended = Some(Code::MaxAnswerBytes),
        }
        self.ended.is_none()
    }

    /// Ends the operation if it has exceeded `LIMIT_OBJECTS_MAX`.
    pub fn count_objects(&mut self) {
        if self.store.is_full() {
            self.ended = Some(Code::MaxObjects);
        }
    }

    /// The response of an operation that has exceeded its budget, with `code`.
    pub fn ended_with(&self, code: Code) -> GraphqlResponse {
        self.graph.settings.prepare_metrics.over_budget.inc();
        if let Some(note) = self.note {
            note.has_errors(std::iter::once(code.as_str()));
        }
        let Limits {
            answer_bytes_max,
            objects_max,
            ..
        } = self.graph.settings.limits;
        let message = match code {
            Code::MaxObjects => {
                format!("the operation's responses have more than {objects_max} objects")
            }
            _ => format!("the operation's responses have more than {answer_bytes_max} bytes"),
        };
        let mut body = String::from("{\"data\":null,\"errors\":[{\"message\":");
        write::string(&mut body, &format!("{message}: request smaller pages"));
        body.push_str(",\"extensions\":{\"code\":\"");
        body.push_str(code.as_str());
        body.push_str("\"}}]}");
        GraphqlResponse {
            headers: self.to_client.clone(),
            ..GraphqlResponse::executed(Bytes::from(body))
        }
    }
}
