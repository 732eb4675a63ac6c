//! The server: its version, its members, its clock.

use std::time::{Duration, Instant};

use bson::{DateTime, Document, doc};
use mongodb::Database;

use super::{Finding, QUESTION_TIME_LIMIT, one_line};

/// The oldest version with pre-images.
const OLDEST: [u32; 2] = [6, 0];
/// In each line of versions, the first one in which [`HOLE`] is closed.
const CLOSED_IN: [[u32; 3]; 4] = [[6, 0, 27], [7, 0, 28], [8, 0, 17], [8, 2, 3]];
/// Whoever reaches the server's port reads parts of its memory, without signing in.
const HOLE: &str = "CVE-2025-14847";
/// A clock of this machine that is further from the server's needs attention.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(2);

pub(super) async fn look(database: &Database) -> Vec<Finding> {
    let mut findings = vec![version(database).await];
    findings.extend(compatibility(database).await);
    findings.extend(members(database).await);
    findings.extend(clock(database).await);
    findings
}

async fn version(database: &Database) -> Finding {
    let what = "the server's version";
    match ask(database, doc! { "buildInfo": 1 }).await {
        Ok(info) => judge(info.get_str("version").unwrap_or_default()),
        Err(error) => Finding::unseen(what, &error),
    }
}

/// What to say about this version of the server.
fn judge(version: &str) -> Finding {
    let numbers = version
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let [major, minor, patch] = match numbers.collect::<Vec<u32>>()[..] {
        [major, minor, patch, ..] => [major, minor, patch],
        [major, minor] => [major, minor, 0],
        _ => {
            return Finding::attention(
                format!(
                    "MongoDB has a version of an unknown form: {}",
                    one_line(version)
                ),
                "check that it is 6.0 or newer",
            );
        }
    };
    if [major, minor] < OLDEST {
        return Finding::broken(
            format!("MongoDB {version} keeps no pre-images: changes cannot be followed exactly"),
            "upgrade to MongoDB 8.0",
        );
    }
    let line = CLOSED_IN
        .iter()
        .find(|closed| closed[..2] == [major, minor]);
    // 8.1 and the like ended before the hole was closed; whatever came later has it closed.
    let is_open = match line {
        Some(closed) => [major, minor, patch] < *closed,
        None => [major, minor, patch] < [8, 2, 3],
    };
    if is_open {
        return Finding::attention(
            format!(
                "MongoDB {version} has {HOLE}: whoever reaches its port can read parts of its memory"
            ),
            "upgrade to 6.0.27, 7.0.28, 8.0.17, 8.2.3 or newer; until then let nobody but the services reach its port",
        );
    }
    Finding::fine(format!("MongoDB {version}"))
}

/// A server of a newer version that still behaves like an older one.
async fn compatibility(database: &Database) -> Option<Finding> {
    let question = doc! { "getParameter": 1, "featureCompatibilityVersion": 1 };
    // Not allowed, or a router: the version alone has to do.
    let answer = ask(database, question).await.ok()?;
    let version = answer.get_document("featureCompatibilityVersion").ok()?;
    let version = version.get_str("version").ok()?;
    let number: f64 = version.parse().ok()?;
    let what = format!("the server's featureCompatibilityVersion is {version}");
    (number < 6.0).then(|| {
        Finding::broken(
            what,
            "run db.adminCommand({ setFeatureCompatibilityVersion: \"6.0\" }): older ones keep no pre-images",
        )
    })
}

async fn members(database: &Database) -> Vec<Finding> {
    let hello = match ask(database, doc! { "hello": 1 }).await {
        Ok(hello) => hello,
        Err(error) => return vec![Finding::unseen("the server's role", &error)],
    };
    if hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid") {
        return vec![Finding::fine("a router of a sharded cluster")];
    }
    let set = hello.get_str("setName").unwrap_or_default().to_owned();
    match ask(database, doc! { "replSetGetStatus": 1 }).await {
        Ok(status) => of_set(&set, &status),
        Err(error) => {
            let what = format!("the members of replica set {set}");
            vec![Finding::unseen(&what, &error)]
        }
    }
}

/// What to say about a replica set of this status.
fn of_set(set: &str, status: &Document) -> Vec<Finding> {
    let members: Vec<&Document> = match status.get_array("members") {
        Ok(members) => members.iter().filter_map(|it| it.as_document()).collect(),
        Err(_) => Vec::new(),
    };
    let state = |member: &Document| member.get_str("stateStr").unwrap_or("unknown").to_owned();
    let mut findings = Vec::new();
    for member in &members {
        let state = state(member);
        if !matches!(state.as_str(), "PRIMARY" | "SECONDARY" | "ARBITER") {
            let name = one_line(member.get_str("name").unwrap_or("without a name"));
            findings.push(Finding::attention(
                format!("member {name} of replica set {set} is {}", one_line(&state)),
                "look at its log; with fewer members than a majority nothing can be written",
            ));
        }
    }
    let with_data = members
        .iter()
        .filter(|member| state(member) != "ARBITER")
        .count();
    findings.push(match with_data {
        0..=2 => Finding::attention(
            format!("replica set {set} has {with_data} member(s) with data"),
            "have three in production: with fewer, the loss of one stops all writes",
        ),
        _ => Finding::fine(format!(
            "replica set {set} has {with_data} members with data"
        )),
    });
    findings
}

async fn clock(database: &Database) -> Option<Finding> {
    let asked = Instant::now();
    let answer = ask(database, doc! { "hello": 1 }).await.ok()?;
    let took = asked.elapsed();
    let server = answer.get_datetime("localTime").ok()?.timestamp_millis();
    let here = DateTime::now().timestamp_millis();
    let difference = Duration::from_millis(here.abs_diff(server)).saturating_sub(took);
    let what = format!(
        "the clocks of this machine and of the server differ by {:.1} s",
        difference.as_secs_f64()
    );
    Some(match difference > CLOCK_DIFFERENCE_MAX {
        true => Finding::attention(
            what,
            "run a time service on both: dates are corrected to the server's, tokens' times are not",
        ),
        false => Finding::fine(what),
    })
}

/// An answer to a question that changes nothing.
pub(super) async fn ask(
    database: &Database,
    mut question: Document,
) -> mongodb::error::Result<Document> {
    let limit = i64::try_from(QUESTION_TIME_LIMIT.as_millis()).unwrap_or(i64::MAX);
    question.insert("maxTimeMS", limit);
    let admin = database.client().database("admin");
    admin.run_command(question).await
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn versions_are_judged_by_their_line() {
        let of = |version| judge(version).severity;
        assert_eq!(of("5.0.32"), Severity::Broken);
        for open in [
            "6.0.5", "6.0.26", "7.0.27", "8.0.16", "8.1.9", "8.2.2", "7.3.4",
        ] {
            assert_eq!(of(open), Severity::Attention, "{open}");
        }
        for closed in ["6.0.27", "7.0.28", "8.0.17", "8.2.3", "8.3.0", "9.0.0-rc1"] {
            assert_eq!(of(closed), Severity::Fine, "{closed}");
        }
        assert_eq!(of("newest"), Severity::Attention);
        assert_eq!(of(""), Severity::Attention);
    }

    #[test]
    fn members_that_do_not_work_are_named() {
        let member = |name: &str, state: &str| doc! { "name": name, "stateStr": state };
        let status = doc! { "members": [
            member("a:1", "PRIMARY"), member("b:1", "SECONDARY"), member("c:1", "(not reachable/healthy)"),
        ] };
        let findings = of_set("rs0", &status);
        assert!(findings[0].what.contains("c:1"), "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Attention);
        assert_eq!(findings[1].severity, Severity::Fine);
        let with_arbiter = doc! { "members": [
            member("a:1", "PRIMARY"), member("b:1", "SECONDARY"), member("c:1", "ARBITER"),
        ] };
        let findings = of_set("rs0", &with_arbiter);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Attention);
    }
}
