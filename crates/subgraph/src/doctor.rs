//! `--doctor`: looks at the database as an operator would on the first day, and says what to do. It changes nothing, and
//! needs no running service.
//!
//! Each check makes [`Finding`]s. A check that the database does not allow is a finding, too: what cannot be seen is not
//! known to be right.

mod collections;
mod history;
mod server;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use mongodb::Database;
use service::telemetry;

use crate::SubgraphSettings;

pub use collections::{Expected, Index, indexes};

/// All checks together take no longer: the database may hang.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// One question to the database takes no longer.
const QUESTION_TIME_LIMIT: Duration = Duration::from_secs(10);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// It works, and something may go wrong later, or could not be looked at.
    Attention,
    /// Something does not work.
    Broken,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is so, in one line.
    pub what: String,
    /// What to do, in one line, unless it is fine.
    pub advice: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn fine(what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Fine,
            what: what.into(),
            advice: None,
        }
    }

    /// Something that may go wrong later.
    pub fn attention(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Attention,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }

    /// Something that does not work.
    pub fn broken(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            severity: Severity::Broken,
            what: what.into(),
            advice: Some(advice.into()),
        }
    }

    /// Something that could not be looked at.
    pub fn unseen(what: &str, error: &mongodb::error::Error) -> Self {
        let error = one_line(&error.kind.to_string());
        Self::attention(
            format!("{what}: cannot be seen ({error})"),
            "give the user of MONGO_URI the role clusterMonitor, or check it yourself",
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fine => "ok",
            Severity::Attention => "attention",
            Severity::Broken => "broken",
        };
        write!(formatter, "{severity:<9}  {}", self.what)?;
        match &self.advice {
            Some(advice) => write!(formatter, "\n           -> {advice}"),
            None => Ok(()),
        }
    }
}

/// Runs all checks and prints what they find: exit code 1 if something is broken, otherwise 0.
///
/// `expected` is what the service needs of its collections, `own` makes the checks that only it has.
pub fn run(
    name: &str,
    settings: &SubgraphSettings,
    expected: &[Expected],
    own: impl AsyncFnOnce(&Database) -> Vec<Finding>,
) -> ExitCode {
    let findings = match look(name, settings, expected, own) {
        Ok(findings) => findings,
        Err(error) => vec![Finding::broken(
            format!("{error:#}"),
            "start again when this is solved: nothing else can be looked at before",
        )],
    };
    for finding in &findings {
        telemetry::print(finding);
    }
    telemetry::print(summary(&findings));
    telemetry::flush();
    match findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Broken) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn look(
    name: &str,
    settings: &SubgraphSettings,
    expected: &[Expected],
    own: impl AsyncFnOnce(&Database) -> Vec<Finding>,
) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let found = runtime.block_on(async {
        let looked = async {
            let database = settings.database.connect(name).await?;
            let mut findings = findings(&database, expected).await;
            findings.extend(own(&database).await);
            anyhow::Ok(findings)
        };
        match tokio::time::timeout(TIME_LIMIT, looked).await {
            Ok(found) => found,
            Err(_) => anyhow::bail!("MongoDB did not answer all questions within 60 s"),
        }
    });
    runtime.shutdown_background();
    found
}

/// What all checks find in this database.
pub async fn findings(database: &Database, expected: &[Expected]) -> Vec<Finding> {
    let mut findings = server::look(database).await;
    findings.extend(history::look(database).await);
    for expected in expected {
        findings.extend(expected.look(database).await);
    }
    findings
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| {
        let of_it = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of_it.count()
    };
    format!(
        "{} broken, {} to look at, {} ok",
        count(Severity::Broken),
        count(Severity::Attention),
        count(Severity::Fine)
    )
}

/// A text of the server without line breaks and other control characters.
fn one_line(text: &str) -> String {
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().map(shown).take(300).collect()
}
