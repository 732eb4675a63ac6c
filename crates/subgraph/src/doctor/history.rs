//! The history: for how long the server keeps what cursors and the projection go on from.

use bson::{Bson, Document, doc};
use mongodb::Database;
use mongodb::options::FindOptions;

use super::server::ask;
use super::{Finding, QUESTION_TIME_LIMIT};

/// Below this, an outage over a night loses history.
const HOURS_WANTED: f64 = 24.0;
/// An oplog with less than this part of its size in use has not dropped anything yet.
const FULL: f64 = 0.8;

pub(super) async fn look(database: &Database) -> Vec<Finding> {
    let mut findings = Vec::new();
    let hello = ask(database, doc! { "hello": 1 }).await;
    if hello.is_ok_and(|hello| hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid")) {
        // A router: each shard has its own.
        return pre_images(database).await.into_iter().collect();
    }
    match oplog(database).await {
        Ok(Some(oplog)) => findings.push(oplog.judge()),
        Ok(None) => {}
        Err(error) => findings.push(Finding::unseen("the oplog's window", &error)),
    }
    findings.extend(pre_images(database).await);
    findings
}

/// The oplog of the primary.
#[derive(Clone, Copy, Debug)]
struct Oplog {
    hours: f64,
    used: f64,
    bytes_max: f64,
}

impl Oplog {
    fn judge(self) -> Finding {
        let Self {
            hours,
            used,
            bytes_max,
        } = self;
        let megabytes = bytes_max / 1e6;
        let filled = 100.0 * used / bytes_max.max(1.0);
        if used < FULL * bytes_max {
            return Finding::fine(format!(
                "the oplog ({megabytes:.0} MB) is {filled:.0} % full: it has all of its {hours:.1} h"
            ));
        }
        let what = format!("the oplog ({megabytes:.0} MB) goes back {hours:.1} h");
        if hours >= HOURS_WANTED {
            return Finding::fine(what);
        }
        // What would have held a day, rounded up to whole thousands of MB.
        let wanted = (megabytes * HOURS_WANTED / hours.max(0.01) / 1e3).ceil() * 1e3;
        Finding::attention(
            what,
            format!(
                "after an outage of that length clients have to read their lists again and the projection is rebuilt: \
                 db.adminCommand({{ replSetResizeOplog: 1, size: Double({wanted:.0}) }}) at each member would hold a day"
            ),
        )
    }
}

async fn oplog(database: &Database) -> mongodb::error::Result<Option<Oplog>> {
    let local = database.client().database("local");
    let oplog = local.collection::<Document>("oplog.rs");
    let edge = async |order: i32| {
        let options = FindOptions::builder()
            .sort(doc! { "$natural": order })
            .limit(1)
            .projection(doc! { "ts": 1 })
            .max_time(QUESTION_TIME_LIMIT)
            .build();
        let mut found = oplog.find(Document::new()).with_options(options).await?;
        let seconds = match found.advance().await? {
            true => found.deserialize_current()?.get_timestamp("ts").ok(),
            false => None,
        };
        mongodb::error::Result::Ok(seconds.map(|time| f64::from(time.time)))
    };
    let (Some(first), Some(last)) = (edge(1).await?, edge(-1).await?) else {
        return Ok(None);
    };
    let stats = local.run_command(doc! { "collStats": "oplog.rs" }).await?;
    let number = |name: &str| match stats.get(name) {
        Some(Bson::Int32(number)) => f64::from(*number),
        Some(Bson::Int64(number)) => *number as f64,
        Some(Bson::Double(number)) => *number,
        _ => 0.0,
    };
    Ok(Some(Oplog {
        hours: (last - first) / 3_600.0,
        used: number("size"),
        bytes_max: number("maxSize"),
    }))
}

/// Pre-images may be kept shorter than the oplog.
async fn pre_images(database: &Database) -> Option<Finding> {
    let question = doc! { "getClusterParameter": "changeStreamOptions" };
    // Not allowed: the default, as long as the oplog, is what nearly everybody has.
    let answer = ask(database, question).await.ok()?;
    let parameter = answer.get_array("clusterParameters").ok()?.first()?;
    let kept = parameter.as_document()?.get_document("preAndPostImages");
    let seconds = match kept.ok()?.get("expireAfterSeconds")? {
        Bson::Int32(seconds) => f64::from(*seconds),
        Bson::Int64(seconds) => *seconds as f64,
        // "off": as long as the oplog.
        _ => return None,
    };
    let what = format!("pre-images are kept for {:.1} h", seconds / 3_600.0);
    Some(match seconds >= HOURS_WANTED * 3_600.0 {
        true => Finding::fine(what),
        false => Finding::attention(
            what,
            "set expireAfterSeconds of changeStreamOptions to \"off\": then they last as long as the oplog",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn a_short_window_is_judged_only_where_the_oplog_is_full() {
        let oplog = |hours, used| Oplog {
            hours,
            used,
            bytes_max: 1e9,
        };
        assert_eq!(oplog(0.1, 1e8).judge().severity, Severity::Fine);
        assert_eq!(oplog(30.0, 1e9).judge().severity, Severity::Fine);
        let short = oplog(6.0, 1e9).judge();
        assert_eq!(short.severity, Severity::Attention);
        assert!(
            short.advice.is_some_and(|it| it.contains("Double(4000)")),
            "a day needs four times as much"
        );
    }
}
