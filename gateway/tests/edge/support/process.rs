//! The gateway as a process of its own, for what it writes.

use std::{
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{counts::Counts, eventually, gateway::SUPERGRAPH, news::News};

/// A gateway that runs, with its two subgraphs.
pub struct GatewayProcess {
    _news: News,
    _counts: Counts,
    pub address: SocketAddr,
    pub operations: SocketAddr,
    pub http: reqwest::Client,
    pub output: Option<Lines<BufReader<ChildStdout>>>,
    pub log: Option<Lines<BufReader<ChildStderr>>>,
    child: Child,
    _folder: TempDir,
}

impl GatewayProcess {
    /// With these settings of the environment.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let (news, counts) = (News::start(), Counts::start());
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("supergraph.graphql"), SUPERGRAPH).expect("written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .current_dir(folder.path())
            .env_clear()
            .env("SUPERGRAPH", "supergraph.graphql")
            .env("SUBGRAPH_URL_NEWS", news.server.url())
            .env("SUBGRAPH_URL_COUNTS", counts.server.url())
            .env("PORT", "0")
            .env("OPERATIONS_PORT", "0")
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut address_after = |beginning: &str| {
            let line = output.next().expect("a line").expect("text");
            let address = line.strip_prefix(beginning).expect(beginning);
            address.parse().expect("an address")
        };
        let address = address_after("listening on http://");
        let operations = address_after("operations on http://");
        let http = reqwest::Client::builder();
        let gateway = Self {
            _news: news,
            _counts: counts,
            address,
            operations,
            http: http.timeout(super::PATIENCE).build().expect("a client"),
            output: Some(output),
            log: child.stderr.take().map(|log| BufReader::new(log).lines()),
            child,
            _folder: folder,
        };
        eventually("it is ready", || async {
            let ready = gateway.http.get(gateway.url("/health/ready")).send().await;
            ready.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        gateway
    }

    pub fn url(&self, path: &str) -> String {
        let address = match path.starts_with("/metrics") {
            true => self.operations,
            false => self.address,
        };
        format!("http://{address}{path}")
    }

    pub fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(self.url("/graphql"))
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// The next line of standard output that contains this text.
    pub fn printed(&mut self, text: &str) -> String {
        let lines = self.output.as_mut().expect("it is read");
        let mut lines = lines.map(|line| line.expect("text"));
        let found = lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("it ended before it printed {text}"))
    }

    /// The next line of the log that contains this text.
    pub fn logged(&mut self, text: &str) -> Value {
        let lines = self.log.as_mut().expect("it is read");
        let mut lines = lines.map(|line| line.expect("text"));
        let found = lines.find(|line| line.contains(text));
        let found = found.unwrap_or_else(|| panic!("it ended before it logged {text}"));
        serde_json::from_str(&found).expect("JSON")
    }

    /// Ends it in its own way, and returns whether it ended well.
    pub fn end(&mut self) -> bool {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, Signal::INT).expect("a running process");
        self.child.wait().expect("its state").success()
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
