//! An exactly-once projection that counts: votes in one collection, their tally in another.
//!
//! ```sh
//! cargo run -p changefeed --example tally -- 'mongodb://localhost:27017/?replicaSet=rs0'
//! ```
//!
//! `cargo run -p embedded-mongo --example run` starts a replica set and prints its connection string.
//!
//! Start it twice at once, and kill one of them: the tallies stay right, since data and position move in one
//! transaction, and whoever leads next continues from there.

use std::error::Error;
use std::time::Duration;

use changefeed::bson::{Bson, Document, RawDocument, doc};
use changefeed::mongodb::{Client, ClientSession, Collection, Database};
use changefeed::{
    FromDocument, NetChange, OperationTime, Projection, Projector, Slot, Source, Unfoldable,
    Unreadable,
};
use futures_util::TryStreamExt;

/// A document of the collection `votes`.
#[derive(serde::Deserialize)]
struct Vote {
    poll: String,
}

impl FromDocument for Vote {
    fn from_document(document: &RawDocument) -> Result<Self, Unreadable> {
        changefeed::decode(document)
    }
}

/// Keeps the number of votes of each document of the collection `polls` in its field `tally`.
struct Tally {
    votes: Collection<Vote>,
}

impl Projection for Tally {
    type SourceDocument = Vote;

    fn name(&self) -> &str {
        "tally"
    }

    fn target(&self) -> &str {
        "polls"
    }

    fn field(&self) -> &str {
        "tally"
    }

    fn target_of(&self, vote: &Vote) -> Bson {
        Bson::from(&vote.poll)
    }

    fn empty(&self) -> Document {
        doc! { "votes": 0 }
    }

    /// Brings a tally forward by a few changes.
    fn fold(
        &self,
        slot: &Slot,
        changes: &[NetChange<'_, Vote>],
    ) -> Result<Vec<Document>, Unfoldable> {
        let more: i32 = changes.iter().map(NetChange::count).sum();
        Ok(vec![
            doc! { "votes": { "$add": [slot.value("votes"), more] } },
        ])
    }

    /// Computes tallies from nothing: for the first build, for rebuilds, and for the auditor.
    async fn compute(
        &self,
        polls: &[Bson],
        session: &mut ClientSession,
    ) -> changefeed::mongodb::error::Result<Vec<(Bson, Document)>> {
        let stages = [
            doc! { "$match": { "poll": { "$in": polls } } },
            doc! { "$sortByCount": "$poll" },
        ];
        let mut groups = self.votes.aggregate(stages).session(&mut *session).await?;
        let groups: Vec<Document> = groups.stream(session).try_collect().await?;
        let tally = |group: &Document| doc! { "votes": &group["count"] };
        Ok(groups
            .iter()
            .map(|group| (group["_id"].clone(), tally(group)))
            .collect())
    }
}

/// Adds votes, waits until the projection has passed them, and returns the tally of each poll. The change
/// stream needs a client of its own: it keeps one connection busy all the time.
pub async fn tally(
    database: &Database,
    stream: Client,
) -> Result<Vec<(String, i64)>, Box<dyn Error>> {
    let polls = database.collection::<Document>("polls");
    for poll in ["lunch", "dinner"] {
        let create = polls.update_one(doc! { "_id": poll }, doc! { "$setOnInsert": {} });
        create.upsert(true).await?;
    }

    let votes = Tally {
        votes: database.collection("votes"),
    };
    let source = Source::new(stream, database.clone(), "votes");
    let projector = Projector::start(source, votes, Default::default(), Default::default()).await?;

    let mut session = database.client().start_session().await?;
    let votes = database.collection::<Document>("votes");
    for poll in ["lunch", "dinner", "lunch"] {
        let vote = votes.insert_one(doc! { "poll": poll });
        vote.session(&mut session).await?;
    }

    // Read your own writes: wait until the projection has passed the time of the last one.
    let written = OperationTime::of(&session).ok_or("a write has an operation time")?;
    projector
        .wait_until_passed(written, Duration::from_secs(30))
        .await?;
    // A rebuild may have moved the tallies to another slot: always read from the one that serves.
    let slot = projector.wait_until_serving().await?;
    let mut tallies = Vec::new();
    let mut found = polls.find(doc! {}).sort(doc! { "_id": 1 }).await?;
    while let Some(poll) = found.try_next().await? {
        let votes = slot
            .state_in(&poll)
            .and_then(|tally| tally.get("votes"))
            .and_then(|votes| votes.as_i64().or(votes.as_i32().map(i64::from)));
        tallies.push((poll.get_str("_id")?.to_owned(), votes.unwrap_or(0)));
    }
    projector.stop().await;
    Ok(tallies)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let uri = std::env::args().nth(1);
    let uri = uri.ok_or("usage: tally <connection string of a replica set>")?;
    let database = Client::with_uri_str(&uri)
        .await?
        .database("changefeed_tally");
    let stream = Client::with_uri_str(&uri).await?;
    for (poll, votes) in tally(&database, stream).await? {
        println!("{poll}: {votes}");
    }
    Ok(())
}
