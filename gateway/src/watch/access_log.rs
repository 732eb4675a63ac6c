//! The access log: one line per request, as text or JSON. Texts of clients are [`plain`](super::plain) in it.

use std::{
    fmt::{Display, Write as _},
    time::{Duration, SystemTime},
};

use super::operation::Summary;
use crate::{
    config::{AccessLog, WatchConfig},
    json::write,
};

/// Which lines are written, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccessLogRules {
    format: AccessLog,
    sample: f64,
}

/// What a line says. What is not known is left out of it.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) method: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    /// Absent if the client left before a response, and for an operation on a WebSocket.
    pub(super) status: Option<u16>,
    /// Whether it is an operation on a WebSocket.
    pub(super) is_on_socket: bool,
    pub(super) client: [&'a str; 2],
    pub(super) took: Duration,
    pub(super) bytes: Option<u64>,
    pub(super) trace_id: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    pub(super) operation: Option<&'a Summary>,
}

impl AccessLogRules {
    pub(super) fn new(config: &WatchConfig) -> Option<Self> {
        (config.access_log != AccessLog::Off).then_some(Self {
            format: config.access_log,
            sample: config.access_log_sample,
        })
    }

    /// Writes the line, or not, if it is not in the sample. Never waits.
    pub(super) fn write(self, line: &Line<'_>) {
        if line.has_error() || self.sample >= 1.0 || fastrand::f64() < self.sample {
            service::print_line(&line.text(self.format, SystemTime::now()));
        }
    }
}

impl Line<'_> {
    fn has_error(&self) -> bool {
        let codes = self.operation.is_some_and(|it| !it.codes.is_empty());
        let status = match self.is_on_socket {
            true => self.operation.is_some_and(|it| it.is_unfinished()),
            false => self.status.is_none_or(|status| status >= 400),
        };
        codes || status
    }

    fn text(&self, format: AccessLog, time: SystemTime) -> String {
        let mut fields = Fields::new(format);
        fields.text("time", &humantime::format_rfc3339_millis(time).to_string());
        if self.is_on_socket {
            fields.text("transport", "websocket");
        }
        for (name, text) in [("method", self.method), ("path", self.path)] {
            fields.text_if_any(name, text.unwrap_or_default());
        }
        if let Some(status) = self.status {
            fields.number("status", status);
        }
        if let Some(operation) = self.operation {
            fields.text_if_any("operation", &operation.shown_name().unwrap_or_default());
            fields.text_if_any("type", operation.kind().unwrap_or_default());
            if let Some(hash) = operation.hash() {
                fields.text("hash", &hash);
            }
            fields.text("outcome", operation.ending.as_str());
        }
        let [client, version] = self.client;
        fields.text_if_any("client", client);
        fields.text_if_any("client_version", version);
        fields.number("duration_ms", Milliseconds(self.took));
        if let Some(bytes) = self.bytes {
            fields.number("bytes", bytes);
        }
        if let Some(operation) = self.operation.filter(|it| !it.codes.is_empty()) {
            fields.list("errors", &operation.codes);
        }
        fields.text_if_any("trace_id", self.trace_id.unwrap_or_default());
        fields.text_if_any("request_id", self.request_id.unwrap_or_default());
        fields.end()
    }
}

/// A duration in milliseconds, with three decimals.
pub(super) struct Milliseconds(pub(super) Duration);

impl Display for Milliseconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.3}", self.0.as_secs_f64() * 1e3)
    }
}

/// A line that is being written. All texts in it are plain.
struct Fields {
    out: String,
    is_json: bool,
}

impl Fields {
    fn new(format: AccessLog) -> Self {
        let mut out = String::with_capacity(512);
        let is_json = format == AccessLog::Json;
        if is_json {
            out.push('{');
        }
        Self { out, is_json }
    }

    fn name(&mut self, name: &str) {
        match self.is_json {
            true => {
                if self.out.len() > 1 {
                    self.out.push(',');
                }
                self.out.push('"');
                self.out.push_str(name);
                self.out.push_str("\":");
            }
            false => {
                if !self.out.is_empty() {
                    self.out.push(' ');
                }
                self.out.push_str(name);
                self.out.push('=');
            }
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        if self.is_json {
            write::string(&mut self.out, text);
            return;
        }
        let is_quoted = text.contains([' ', '=']);
        self.out.push_str(if is_quoted { "\"" } else { "" });
        self.out.push_str(text);
        self.out.push_str(if is_quoted { "\"" } else { "" });
    }

    fn text_if_any(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: impl Display) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{number}");
    }

    fn list(&mut self, name: &str, texts: &[String]) {
        if !self.is_json {
            return self.text(name, &texts.join(","));
        }
        self.name(name);
        for (index, text) in texts.iter().enumerate() {
            self.out.push(if index == 0 { '[' } else { ',' });
            write::string(&mut self.out, text);
        }
        self.out.push(']');
    }

    fn end(mut self) -> String {
        self.out.push_str(if self.is_json { "}\n" } else { "\n" });
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Ending;

    fn line(operation: Option<&Summary>) -> Line<'_> {
        Line {
            method: Some("POST"),
            path: Some("/graphql"),
            status: Some(200),
            client: ["my web", "1.2"],
            took: Duration::from_micros(3_214),
            bytes: Some(512),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            request_id: Some("r-1"),
            operation,
            ..Line::default()
        }
    }

    #[test]
    fn a_line_says_what_is_known() {
        let summary = Summary {
            prepared: None,
            ending: Ending::Refused,
            codes: vec!["GRAPHQL_PARSE_FAILED".to_owned(), "OTHER".to_owned()],
        };
        let line = line(Some(&summary));
        let time = SystemTime::UNIX_EPOCH;
        assert_eq!(
            line.text(AccessLog::Text, time),
            "time=1970-01-01T00:00:00.000Z method=POST path=/graphql status=200 outcome=refused \
             client=\"my web\" client_version=1.2 duration_ms=3.214 bytes=512 \
             errors=GRAPHQL_PARSE_FAILED,OTHER trace_id=4bf92f3577b34da6a3ce929d0e0e4736 request_id=r-1\n"
        );
        let json = line.text(AccessLog::Json, time);
        let json: serde_json::Value = serde_json::from_str(&json).expect("one object");
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:00.000Z",
            "method": "POST",
            "path": "/graphql",
            "status": 200,
            "outcome": "refused",
            "client": "my web",
            "client_version": "1.2",
            "duration_ms": 3.214,
            "bytes": 512,
            "errors": ["GRAPHQL_PARSE_FAILED", "OTHER"],
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "request_id": "r-1",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_met_an_error_is_always_written() {
        let with = |status| Line {
            status,
            ..Line::default()
        };
        assert!(!with(Some(200)).has_error() && !with(Some(304)).has_error());
        assert!(with(Some(400)).has_error() && with(None).has_error());
        let summary = |codes: &[&str]| Summary {
            prepared: None,
            ending: Ending::Executed,
            codes: codes.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert!(line(Some(&summary(&["NOT_FOUND"]))).has_error());
        assert!(!line(Some(&summary(&[]))).has_error());
    }
}
