//! The three services as processes on one database, to be killed and started again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use embedded_mongo::{TestDatabase, test_database};
use graphql_transport::testing::HeldPort;
use mongodb::{Client, Database};
use stack::process::Signal;
use stack::{Service, ServiceProcess};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Graphql, eventually};

const READY_TIME_LIMIT: Duration = Duration::from_secs(60);
/// Lines of each log that a failing test shows.
const LOG_LINES_SHOWN: usize = 40;
const SUPERGRAPH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/supergraph.graphql");

/// A running Rejoinder. Everything ends with it.
pub struct System {
    program: PathBuf,
    mongo_uri: String,
    instances: HashMap<&'static str, Instance>,
    /// The ports stay when services are started again, and nobody else gets them meanwhile.
    ports: HashMap<&'static str, HeldPort>,
    graphql: Graphql,
    is_in_development: bool,
    logs: TempDir,
    /// Dropped last: the services use it.
    database: Option<TestDatabase>,
}

/// One process of one service, and its log.
pub struct Instance {
    process: ServiceProcess,
    log: PathBuf,
}

impl System {
    /// Starts all services on an empty database. `program` has `stack::main` as its `main`.
    ///
    /// # Panics
    /// When one does not get ready.
    pub async fn start(program: &str) -> Self {
        let database = test_database().await;
        let mut system = Self::new(program, database.uri().to_owned());
        system.database = Some(database);
        system.run_all().await;
        system
    }

    /// As [`System::start`], with a gateway as it is outside of development: it masks the subgraphs'
    /// own error texts, and answers no introspection.
    ///
    /// # Panics
    /// When one does not get ready.
    pub async fn start_in_production(program: &str) -> Self {
        let database = test_database().await;
        let mut system = Self::new(program, database.uri().to_owned());
        system.database = Some(database);
        system.is_in_development = false;
        system.run_all().await;
        system
    }

    /// Starts all services on a database of the caller's.
    ///
    /// # Panics
    /// When one does not get ready.
    pub async fn start_on(program: &str, mongo_uri: String) -> Self {
        let mut system = Self::new(program, mongo_uri);
        system.run_all().await;
        system
    }

    /// A system on a database of the caller's in which nothing runs yet.
    pub fn new(program: &str, mongo_uri: String) -> Self {
        Self {
            program: program.into(),
            mongo_uri,
            instances: HashMap::new(),
            ports: HashMap::new(),
            graphql: Graphql::new(String::new()),
            is_in_development: true,
            logs: tempfile::tempdir().expect("a folder for the logs"),
            database: None,
        }
    }

    /// Starts every service that does not run and waits until all are ready.
    pub async fn run_all(&mut self) {
        // The gateway last: its settings have the ports of the others.
        for service in [Service::Posts, Service::Comments, Service::Gateway] {
            if !self.instances.contains_key(service.name()) {
                self.run_with(service, &[]).await;
            }
        }
        for service in [Service::Posts, Service::Comments, Service::Gateway] {
            self.ready(service).await;
        }
        self.graphql = Graphql::new(self.instances["gateway"].process.url("/graphql"));
    }

    /// The gateway's endpoint.
    pub fn graphql(&self) -> &Graphql {
        &self.graphql
    }

    /// The connection string of the services' database.
    pub fn mongo_uri(&self) -> &str {
        &self.mongo_uri
    }

    /// The services' database, for tests that change it without the services.
    ///
    /// # Panics
    /// When the connection string names none.
    pub async fn database(&self) -> Database {
        let client = Client::with_uri_str(&self.mongo_uri)
            .await
            .expect("a client");
        client
            .default_database()
            .expect("a database in the connection string")
    }

    /// The process of a service.
    pub fn process(&mut self, service: Service) -> &mut ServiceProcess {
        &mut self.running(service).process
    }

    /// Ends a service with SIGKILL.
    pub async fn kill(&mut self, service: Service) {
        let mut instance = self
            .instances
            .remove(service.name())
            .expect("a running service");
        instance.process.kill().await.expect("its end");
    }

    /// Starts a service again, on its port, and waits until it is ready.
    pub async fn run(&mut self, service: Service) {
        self.run_with(service, &[]).await;
        self.ready(service).await;
    }

    /// Ends a service with SIGTERM and starts it again, on its port, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn restart(&mut self, service: Service) {
        self.restart_with(service, &[]).await;
    }

    /// The same with more settings.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn restart_with(&mut self, service: Service, settings: &[(&str, &str)]) {
        let instance = self.instances.remove(service.name());
        let mut instance = instance.expect("a running service");
        instance.process.stop().await.expect("its end");
        self.run_with(service, settings).await;
        self.ready(service).await;
    }

    /// Starts a service again, on its port, with more settings, and waits only until it listens.
    pub async fn run_with(&mut self, service: Service, settings: &[(&str, &str)]) {
        self.ports
            .entry(service.name())
            .or_insert_with(HeldPort::any);
        let instance = self.instance(service, settings).await;
        self.instances.insert(service.name(), instance);
    }

    /// Waits until a service says that it is ready.
    pub async fn ready(&mut self, service: Service) {
        let ready = self.running(service).process.ready(READY_TIME_LIMIT).await;
        ready.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Waits until a service has logged a text.
    pub async fn logged(&mut self, service: Service, text: &str) {
        self.running(service).logged(text).await;
    }

    /// The value of a service's metric; the first one of this name, whatever its labels.
    ///
    /// # Panics
    /// When the service has no such metric.
    pub async fn metric(&self, service: Service, name: &str) -> f64 {
        let url = self.instances[service.name()].process.url("/metrics");
        let text = reqwest::get(url)
            .await
            .expect("an answer")
            .text()
            .await
            .expect("the whole answer");
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && !line.starts_with('#'));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }

    /// Stops a service where it stands: its sockets stay open and answer nothing.
    pub fn pause(&mut self, service: Service) {
        self.running(service).process.signal(Signal::STOP);
    }

    /// Lets a paused service go on.
    pub fn resume(&mut self, service: Service) {
        self.running(service).process.signal(Signal::CONT);
    }

    /// Starts one more process of a service, which the gateway does not know of.
    ///
    /// # Panics
    /// When it does not come to listen.
    pub async fn instance(&self, service: Service, settings: &[(&str, &str)]) -> Instance {
        let own = self
            .port(service)
            .filter(|_| !self.instances.contains_key(service.name()));
        let mut all = self.settings(service, own.unwrap_or(0));
        all.extend(
            settings
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned())),
        );
        let log = tempfile::Builder::new()
            .prefix(service.name())
            .tempfile_in(self.logs.path());
        let (file, log) = log
            .expect("a log file")
            .keep()
            .expect("a log file that stays");
        let process = ServiceProcess::start(&self.program, service, &all, Stdio::from(file)).await;
        match process {
            Ok(process) => Instance { process, log },
            Err(error) => panic!("{error:#}\n{}", tail(&log)),
        }
    }

    /// Runs a service's program with flags that make it end by itself, and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub async fn command(&self, service: Service, flags: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command
            .arg0(service.name())
            .args(flags)
            .envs(self.settings(service, 0))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().expect("a process");
        // It knows its owner by standard input, which stays open until it has ended.
        let _owner = process.stdin.take();
        let output = timeout(READY_TIME_LIMIT, process.wait_with_output())
            .await
            .expect("its end in time")
            .expect("its output");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{flags:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn settings(&self, service: Service, port: u16) -> Vec<(&'static str, String)> {
        let url = |service: Service| {
            let port = self.port(service).expect("a service that has run");
            format!("http://127.0.0.1:{port}/graphql")
        };
        let mut settings = vec![("HOST", "127.0.0.1".to_owned()), ("PORT", port.to_string())];
        match service {
            Service::Posts | Service::Comments => settings.extend([
                ("MONGO_URI", self.mongo_uri.clone()),
                // Most tests are about something else than who may write.
                ("ANONYMOUS_WRITES", "change".to_owned()),
                // Metrics.
                ("DEVELOPMENT", "true".to_owned()),
                // A killed leader is replaced soon.
                ("PROJECTION_LEASE", "1s".to_owned()),
                // It would mend what the tests look for.
                ("PROJECTION_AUDIT_INTERVAL", "0s".to_owned()),
            ]),
            Service::Gateway => settings.extend([
                ("SUPERGRAPH", SUPERGRAPH.to_owned()),
                ("SUBGRAPH_URL_POSTS", url(Service::Posts)),
                ("SUBGRAPH_URL_COMMENTS", url(Service::Comments)),
                ("DEVELOPMENT", self.is_in_development.to_string()),
                ("SHOWN_ERROR_CODES", subgraph::Code::shown_to_clients()),
                ("SUBSCRIPTION_RETRY_PAUSE_MAX", "250ms".to_owned()),
            ]),
            Service::Pages => settings.push(("GRAPHQL_URL", url(Service::Gateway))),
        }
        settings
    }

    fn port(&self, service: Service) -> Option<u16> {
        let port = self.ports.get(service.name())?;
        Some(port.address().port())
    }

    fn running(&mut self, service: Service) -> &mut Instance {
        self.instances
            .get_mut(service.name())
            .expect("a running service")
    }
}

impl Instance {
    /// Its own GraphQL endpoint.
    pub fn graphql(&self) -> Graphql {
        Graphql::new(self.process.url("/graphql"))
    }

    pub fn process(&mut self) -> &mut ServiceProcess {
        &mut self.process
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub async fn is_ready(&mut self) {
        let ready = self.process.ready(READY_TIME_LIMIT).await;
        ready.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Waits until it has logged a text.
    pub async fn logged(&self, text: &str) {
        let log = &self.log;
        let found = async || std::fs::read_to_string(log).is_ok_and(|log| log.contains(text));
        eventually(&format!("the log says {text:?}"), || async {
            if found().await {
                Ok(())
            } else {
                Err(tail(log))
            }
        })
        .await;
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let Ok(logs) = std::fs::read_dir(self.logs.path()) else {
            return;
        };
        for log in logs.filter_map(Result::ok) {
            eprintln!("--- {}\n{}", log.file_name().display(), tail(&log.path()));
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
