//! Hostile clients: each attack is one file and uses only public interfaces.
//!
//! [`Attacks::start`] runs any of them against a [`Target`] until [`Attacks::end`], which returns how
//! many requests each made and how they were answered. Each attack comes from a loopback address of
//! its own, as from another machine, over a link of 1 Gbit/s. To add one, copy a file, and give it a name in [`Attack`].

mod client;
mod distinct;
mod huge_work;
mod link;
mod pings;
mod plan_cache;
mod poison;
mod preparing;
mod resuming;
mod silence;
mod slowness;
mod socket;
mod tally;
mod target;

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use client::Attacker;
pub use tally::Answers;
use tally::Tally;
pub use target::{History, Target};

/// One kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Subscriptions with a lone surrogate in a variable.
    Surrogates,
    /// Subscriptions with 1.2 MB of variables or literals.
    Oversized,
    /// Thousands of subscriptions that differ by 15 conditions.
    Distinct,
    /// WebSocket pings without end, whose pongs are never read.
    Pings,
    /// Connections that send nothing, or never a whole request.
    Silence,
    /// Readers that take 500 bytes a second.
    SlowReaders,
    /// Bodies of 2 MB that lack their last byte.
    UnfinishedBodies,
    /// Hundreds of subscriptions that resume from one old cursor.
    Resuming,
    /// New documents of 5.8 KB, as many as are answered.
    Preparing,
    /// 2,000 documents of 27 KB.
    PlanCache,
    /// A document of about 110 bytes that loops through comments and their posts.
    Loops,
    /// 150 aliases of pages below 100 posts.
    Aliases,
}

impl Attack {
    pub const ALL: [Self; 12] = [
        Self::Surrogates,
        Self::Oversized,
        Self::Distinct,
        Self::Pings,
        Self::Silence,
        Self::SlowReaders,
        Self::UnfinishedBodies,
        Self::Resuming,
        Self::Preparing,
        Self::PlanCache,
        Self::Loops,
        Self::Aliases,
    ];

    /// The name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Surrogates => "surrogates",
            Self::Oversized => "oversized",
            Self::Distinct => "distinct",
            Self::Pings => "pings",
            Self::Silence => "silence",
            Self::SlowReaders => "slow-readers",
            Self::UnfinishedBodies => "unfinished-bodies",
            Self::Resuming => "resuming",
            Self::Preparing => "preparing",
            Self::PlanCache => "plan-cache",
            Self::Loops => "loops",
            Self::Aliases => "aliases",
        }
    }

    fn run(self, attacker: Attacker) -> BoxFuture<'static, ()> {
        match self {
            Self::Surrogates => poison::surrogates(attacker).boxed(),
            Self::Oversized => poison::oversized(attacker).boxed(),
            Self::Distinct => distinct::run(attacker).boxed(),
            Self::Pings => pings::run(attacker).boxed(),
            Self::Silence => silence::run(attacker).boxed(),
            Self::SlowReaders => slowness::readers(attacker).boxed(),
            Self::UnfinishedBodies => slowness::unfinished_bodies(attacker).boxed(),
            Self::Resuming => resuming::run(attacker).boxed(),
            Self::Preparing => preparing::run(attacker).boxed(),
            Self::PlanCache => plan_cache::run(attacker).boxed(),
            Self::Loops => huge_work::loops(attacker).boxed(),
            Self::Aliases => huge_work::aliases(attacker).boxed(),
        }
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attack {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|attack| attack.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("not an attack; one of {names} is expected")
        })
    }
}

/// Running attacks. Dropped, they end.
pub struct Attacks {
    clients: JoinSet<()>,
    tallies: Vec<(Attack, Arc<Tally>)>,
}

impl Attacks {
    /// Starts the attacks on the current runtime, each with one in `divisor` of its clients.
    pub fn start(attacks: &[Attack], target: &Arc<Target>, divisor: usize) -> Self {
        let mut clients = JoinSet::new();
        let mut tallies = Vec::new();
        for (number, attack) in (0_u8..).zip(attacks.iter().copied()) {
            let tally = Arc::new(Tally::default());
            tallies.push((attack, Arc::clone(&tally)));
            clients.spawn(attack.run(Attacker {
                target: Arc::clone(target),
                from: Ipv4Addr::new(127, 0, 1, number),
                divisor,
                tally,
                link: Arc::default(),
            }));
        }
        Self { clients, tallies }
    }

    /// What each attack was answered so far.
    pub fn answers(&self) -> Vec<(Attack, Answers)> {
        let answers = |(attack, tally): &(Attack, Arc<Tally>)| (*attack, tally.answers());
        self.tallies.iter().map(answers).collect()
    }

    /// Ends all attacks and closes their sockets.
    pub fn end(mut self) -> BoxFuture<'static, Vec<(Attack, Answers)>> {
        let end = async move {
            self.clients.shutdown().await;
            self.answers()
        };
        end.boxed()
    }
}
