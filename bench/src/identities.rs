//! Readers of one topic who are not signed in, who are all the same person, and who are each somebody else: the gateway's
//! processor time for each event that one of them gets.
//!
//! Each kind of reader has a gateway of its own, before the same subgraphs, and the kinds take turns. Readers select
//! nothing that depends on them, so that all of them can share one subscription at the subgraph.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::{Graphql, Subscription, Tokens};
use serde_json::{Value, json};
use stack::ServiceProcess;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::process::cpu_time;
use crate::report::median;
use crate::services::Services;

const ADDED: &str =
    "subscription ($post: ID!) { commentAdded(postId: $post) { id text author createdAt } }";
const WARM_UP: &str = "warm-up";
const MEASURED: &str = "measured";
/// A text of this many characters in all.
const TEXT_LENGTH: usize = 200;
const WARM_UP_PAUSE: Duration = Duration::from_millis(200);
/// All readers get their first event within this time, and their last one within this time after it was written.
const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// What readers of another kind may cost, of one person's: the same, but for noise.
const RATIO_MAX: f64 = 1.1;
/// Any secret: claims count in signed requests only.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Options of `bench identities`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Connect this many readers, each with a WebSocket of its own.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    readers: u32,
    /// Write this many comments a second.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// Write this many comments in each round.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    comments: u32,
    /// Repeat all kinds of readers this often.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
}

#[derive(Clone, Copy)]
enum Readers {
    Guests,
    OnePerson,
    EachAnother,
}

const KINDS: [(Readers, &str); 3] = [
    (Readers::Guests, "guests"),
    (Readers::OnePerson, "one person"),
    (Readers::EachAnother, "each another"),
];

/// Prints the processor time per delivery for each kind of reader.
///
/// # Errors
/// When something does not start, a reader misses an event, or readers of another kind cost more.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let secret = ("SUBGRAPH_SECRET", SECRET.to_owned());
    let subgraphs = Services::start_with(std::slice::from_ref(&secret)).await?;
    let tokens = Tokens::make()?;
    let jwks = tokens.jwks().to_str().context("a path that is not UTF-8")?;
    let settings = [
        secret,
        ("JWT_JWKS", jwks.to_owned()),
        ("SUBGRAPH_CLAIMS", "sub, name, scope".to_owned()),
        ("VIEWER_TAGS", "posts, comments".to_owned()),
    ];
    println!(
        "{} readers of one topic, {} comments at {} a second; gateway, us of CPU per delivery:",
        options.readers, options.comments, options.rate
    );
    let mut costs_us: [Vec<f64>; KINDS.len()] = Default::default();
    for round in 0..options.rounds {
        for ((readers, name), costs_us) in KINDS.into_iter().zip(&mut costs_us) {
            let gateway = subgraphs.start_gateway_with(&settings).await?;
            let cost_us = cost_us(&gateway, &tokens, readers, &options).await?;
            println!("  round {}: {name:<13} {cost_us:.1}", round + 1);
            costs_us.push(cost_us);
        }
    }
    let medians = costs_us.map(|costs| median(costs.into_iter()));
    for ((_, name), cost_us) in KINDS.iter().zip(medians) {
        let ratio = cost_us / medians[1];
        println!("{name:<13} median {cost_us:.1}, {ratio:.2} of one person's");
        ensure!(
            ratio <= RATIO_MAX,
            "readers who are {name} cost {ratio:.2} of one person's, not at most {RATIO_MAX}"
        );
    }
    Ok(())
}

/// Connects the readers, writes, and returns the gateway's processor time for each event that a reader got.
async fn cost_us(
    gateway: &ServiceProcess,
    tokens: &Tokens,
    kind: Readers,
    options: &Options,
) -> anyhow::Result<f64> {
    let pid = gateway.pid().context("the gateway has ended")?;
    let graphql = Graphql::new(gateway.url("/graphql"));
    let post = graphql.create_post("Read by many").await;
    let (live, mut all_live) = watch::channel(0);
    let mut readers = JoinSet::new();
    for number in 0..options.readers {
        let graphql = match kind {
            Readers::Guests => graphql.clone(),
            Readers::OnePerson => signed_in(&graphql, tokens, 0),
            Readers::EachAnother => signed_in(&graphql, tokens, number),
        };
        let subscription = Subscription::start(&graphql, ADDED, json!({ "post": post })).await;
        readers.spawn(read(subscription, options.comments, live.clone()));
    }
    let warm_up = async {
        loop {
            graphql.create_comment(&post, WARM_UP).await;
            sleep(WARM_UP_PAUSE).await;
        }
    };
    tokio::select! {
        reached = timeout(WAIT_LIMIT, all_live.wait_for(|live| *live == options.readers)) => {
            reached.context("some readers got nothing")??;
        }
        () = warm_up => {}
    }
    // The last warm-up comment has arrived everywhere.
    sleep(2 * WARM_UP_PAUSE).await;

    let before = cpu_time(pid)?;
    let mut ticks = interval(Duration::from_secs(1) / options.rate);
    for number in 0..options.comments {
        ticks.tick().await;
        let text = format!("{MEASURED} {number} ");
        graphql
            .create_comment(&post, &format!("{text:.<TEXT_LENGTH$}"))
            .await;
    }
    let written = Instant::now();
    while let Some(read) = timeout(WAIT_LIMIT, readers.join_next())
        .await
        .context("some readers miss events")?
    {
        read??;
    }
    ensure!(written.elapsed() < WAIT_LIMIT, "the last event came late");
    let cost = cpu_time(pid)?.saturating_sub(before);
    let deliveries = f64::from(options.readers) * f64::from(options.comments);
    Ok(cost.as_secs_f64() * 1e6 / deliveries)
}

fn signed_in(graphql: &Graphql, tokens: &Tokens, number: u32) -> Graphql {
    let claims = json!({ "sub": format!("reader-{number}"), "name": format!("Reader {number}") });
    graphql.with_header("authorization", &tokens.authorization(claims))
}

/// Reads until the last comment; fails at one that is not the next.
async fn read(
    mut subscription: Subscription,
    comments: u32,
    live: watch::Sender<u32>,
) -> anyhow::Result<()> {
    let (mut is_live, mut expected) = (false, 0);
    while expected < comments {
        let event = subscription.next_data().await;
        if !is_live {
            is_live = true;
            live.send_modify(|live| *live += 1);
        }
        let Some(number) = number_in(&event) else {
            continue;
        };
        ensure!(number == expected, "{event} came for {expected}");
        expected += 1;
    }
    Ok(())
}

/// The number of a comment that is measured.
fn number_in(event: &Value) -> Option<u32> {
    let text = event["commentAdded"]["text"].as_str()?;
    let number = text.strip_prefix(MEASURED)?.split_whitespace().next()?;
    number.parse().ok()
}
