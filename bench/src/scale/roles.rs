//! What one more instance of each role costs for each comment that somebody writes: its own processor time, and that of
//! MongoDB. It has no clients, so this is the cost of following the changes.

use std::time::Duration;

use anyhow::Context;
use bson::oid::ObjectId;
use bson::{Document, doc};
use embedded_mongo::ReplicaSet;
use mongodb::Client;
use stack::{Service, ServiceProcess};

use crate::changefeed::{mongod, write_singly};
use crate::process::{Memory, cpu_time, memory};
use crate::services;

const DATABASE: &str = "bench_roles";
const POSTS: usize = 1_000;
/// Until what a start brings is over.
const SETTLING: Duration = Duration::from_secs(2);

/// A role: a service with some of its work turned off.
struct Role {
    name: &'static str,
    service: Service,
    settings: &'static [(&'static str, &'static str)],
}

const ROLES: [Role; 6] = [
    Role {
        name: "comments",
        service: Service::Comments,
        settings: &[],
    },
    Role {
        name: "comments, LIVE_FEED=false",
        service: Service::Comments,
        settings: &[("LIVE_FEED", "false")],
    },
    Role {
        name: "the same, KNOWN_POSTS_MAX=0, UPKEEP=false",
        service: Service::Comments,
        settings: &[
            ("LIVE_FEED", "false"),
            ("KNOWN_POSTS_MAX", "0"),
            ("UPKEEP", "false"),
        ],
    },
    Role {
        name: "posts, which stands by",
        service: Service::Posts,
        settings: &[],
    },
    Role {
        name: "posts, LIVE_FEED=false",
        service: Service::Posts,
        settings: &[("LIVE_FEED", "false")],
    },
    Role {
        name: "the same, PROJECTION=false, UPKEEP=false",
        service: Service::Posts,
        settings: &[
            ("LIVE_FEED", "false"),
            ("PROJECTION", "false"),
            ("UPKEEP", "false"),
        ],
    },
];

/// What one run measured, in microseconds for each comment.
struct Cost {
    own: f64,
    mongod: f64,
    resident_mib: f64,
}

/// Prints a row for each role, beside an instance of posts that leads the projection.
///
/// # Errors
/// When something does not start, or a write fails.
pub async fn run(lasts: Duration) -> anyhow::Result<()> {
    println!(
        "\none more instance without clients, while single comments are written (microseconds of processor time for each)"
    );
    println!(
        "{:<44} {:>8} {:>8} {:>10} {:>8}",
        "", "its own", "mongod", "mongod +", "MiB"
    );
    let alone = measure(None, lasts).await?;
    println!(
        "{:<44} {:>8.0} {:>8.0} {:>10} {:>8.1}",
        "posts, the leader, alone", alone.own, alone.mongod, "", alone.resident_mib
    );
    for role in &ROLES {
        let cost = measure(Some(role), lasts).await?;
        println!(
            "{:<44} {:>8.0} {:>8.0} {:>10.0} {:>8.1}",
            role.name,
            cost.own,
            cost.mongod,
            cost.mongod - alone.mongod,
            cost.resident_mib
        );
    }
    Ok(())
}

/// The cost of an instance of the role, or of the leader without one.
async fn measure(role: Option<&Role>, lasts: Duration) -> anyhow::Result<Cost> {
    let mongo = ReplicaSet::start(embedded_mongo::Options::default().in_memory(false)).await?;
    let database = Client::with_uri_str(mongo.uri()).await?.database(DATABASE);
    let posts: Vec<ObjectId> = (0..POSTS).map(|_| ObjectId::new()).collect();
    let now = bson::DateTime::now();
    let stored = posts.iter().map(|id| {
        doc! { "_id": id, "title": "A post", "content": "With content", "createdAt": now }
    });
    database
        .collection::<Document>("posts")
        .insert_many(stored)
        .await?;
    let uri = mongo.uri_for(DATABASE);
    let leader = services::start(Service::Posts, &[("MONGO_URI", uri.clone())]).await?;
    let other = match role {
        Some(role) => {
            let own = role.settings.iter();
            let own = own.map(|(name, value)| (*name, (*value).to_owned()));
            let settings: Vec<_> = own.chain([("MONGO_URI", uri)]).collect();
            Some(services::start(role.service, &settings).await?)
        }
        None => None,
    };
    tokio::time::sleep(SETTLING).await;
    let measured = pid(other.as_ref().unwrap_or(&leader))?;
    let server = mongod(&mongo).await?;
    let before = (cpu_time(measured)?, cpu_time(server)?);
    let written = write_singly(&database, &posts, lasts).await?;
    let cost = |after: Duration, before: Duration| {
        (after.saturating_sub(before)).as_secs_f64() * 1e6 / written as f64
    };
    Ok(Cost {
        own: cost(cpu_time(measured)?, before.0),
        mongod: cost(cpu_time(server)?, before.1),
        resident_mib: Memory::mib(memory(measured)?.resident),
    })
}

fn pid(process: &ServiceProcess) -> anyhow::Result<u32> {
    process
        .pid()
        .with_context(|| format!("{} has ended", process.service().name()))
}
