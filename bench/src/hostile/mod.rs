//! Hostile clients beside 50 honest ones: whether the honest ones notice.
//!
//! Three phases: honest clients alone, then beside all attacks at once, then alone again. Each goal is
//! checked; the exit code says whether all were met. The attacks and the honest clients are those of
//! the test in `e2e`.

mod memory;
mod processors;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use e2e::Graphql;
use e2e::honest_clients::{Delivery, Experience, HonestClients, Numbers, Phase};
use e2e::hostile_clients::{Answers, Attack, Attacks, History, Target};
use stack::ServiceProcess;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::sleep;

use crate::load::percentile;
use crate::report::Goals;
use crate::services::Services;
use memory::Memories;
use processors::Processors;

/// 50 clients in all.
const HONEST: Numbers = Numbers {
    readers: 18,
    writers: 10,
    watchers: 20,
    resumers: 2,
    pause: Duration::from_millis(100),
};
/// Posts that honest clients write to and watch.
const POSTS: usize = 5;
const P99_RATIO_MAX: f64 = 3.0;

/// Options of `bench hostile`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Attack for this many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds of honest clients alone, before. The default is longer than the live feed keeps events in memory
    /// (`FEED_RING_AGE_MAX`, 60 s): until then, its normal growth would count as the attacks'.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=600))]
    quiet_seconds: u64,
    /// Seconds of honest clients alone, after.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    recovery_seconds: u64,
    /// Only these attacks, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,
    /// One in so many of each attack's clients.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    divisor: u16,
    /// Comments that can be resumed: more than stay in memory (`FEED_RING_CHANGES_MAX`).
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    history: u32,
}

/// Starts everything, attacks, judges.
///
/// # Errors
/// When a goal is missed, or something does not start.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let subgraphs = Services::start().await?;
    let gateway = subgraphs.start_gateway().await?;
    let services = [&subgraphs.posts, &subgraphs.comments, &gateway];
    let mut posts = subgraphs.seed().await?;
    posts.truncate(POSTS);
    let graphql = Graphql::new(gateway.url("/graphql"));
    let target = Arc::new(Target {
        gateway: gateway.address(),
        posts,
        history: History::write(&graphql, options.history as usize).await?,
    });
    let all = Attack::ALL.to_vec();
    let attacks = if options.only.is_empty() {
        all
    } else {
        options.only.clone()
    };

    let (posts, history) = (target.posts.clone(), target.history.clone());
    let honest = HonestClients::start(target.gateway, posts, history, HONEST).await?;
    let processors = async || Processors::of(&services, &subgraphs).await;
    let mut taken = vec![processors().await?];
    sleep(Duration::from_secs(options.quiet_seconds)).await;
    let before = Memories::of(&services)?;
    taken.push(processors().await?);

    honest.enter(Phase::Hostile);
    // One thread: on a small machine they do not take all processors from the services.
    let attackers = Attackers::start()?;
    let attacking = attackers.attack(&attacks, &target, options.divisor.into())?;
    sleep(Duration::from_secs(options.seconds)).await;
    taken.push(processors().await?);
    honest.enter(Phase::Recovery);
    let peak = Memories::of(&services)?;
    let answers = attackers.end(attacking).await?;

    sleep(Duration::from_secs(options.recovery_seconds)).await;
    let after = Memories::of(&services)?;
    let experiences =
        [Phase::Quiet, Phase::Hostile, Phase::Recovery].map(|it| honest.experience(it));
    let delivery = honest.end().await;

    let mut goals = Goals::default();
    println!("processor time, of one processor:");
    for (phase, pair) in ["quiet", "hostile"].iter().zip(taken.windows(2)) {
        println!("  {phase}: {}", pair[1].since(&pair[0]));
    }
    print_answers(&mut goals, &answers, options.seconds);
    judge_experiences(&mut goals, experiences);
    judge_delivery(&mut goals, &delivery);
    memory::judge(&mut goals, &services, &before, &peak, &after);
    judge_readiness(&mut goals, &services).await;
    goals.met()
}

/// The attacks' own runtime, there until this is dropped.
struct Attackers(Option<Runtime>);

impl Attackers {
    fn start() -> anyhow::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.thread_name(processors::ATTACKERS);
        let runtime = runtime.worker_threads(1).enable_all().build();
        Ok(Self(Some(runtime.context("no runtime for the attacks")?)))
    }

    fn handle(&self) -> anyhow::Result<&Handle> {
        let runtime = self.0.as_ref().context("the runtime has ended")?;
        Ok(runtime.handle())
    }

    fn attack(
        &self,
        attacks: &[Attack],
        target: &Arc<Target>,
        divisor: usize,
    ) -> anyhow::Result<Attacks> {
        let _entered = self.handle()?.enter();
        Ok(Attacks::start(attacks, target, divisor))
    }

    async fn end(self, attacks: Attacks) -> anyhow::Result<Vec<(Attack, Answers)>> {
        let ended = self.handle()?.spawn(attacks.end()).await;
        ended.context("an attack panicked")
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn print_answers(goals: &mut Goals, answers: &[(Attack, Answers)], seconds: u64) {
    println!("attacks for {seconds} s, what each sent and how it was answered:");
    for (attack, answers) in answers {
        let codes = answers
            .by_code
            .iter()
            .map(|(code, count)| format!("{code} {count}"));
        let codes: Vec<String> = codes.collect();
        goals.judge(
            answers.requests > 0,
            format!(
                "{:<17} {:>9}: {}",
                attack.name(),
                answers.requests,
                codes.join(", ")
            ),
        );
    }
}

/// The times of one kind of request, in microseconds.
type TimesOf = fn(&Experience) -> &[u32];

fn judge_experiences(goals: &mut Goals, experiences: [Experience; 3]) {
    println!("honest clients:");
    let kinds: [(&str, TimesOf); 3] = [
        ("queries", |it| &it.queries_us),
        ("mutations", |it| &it.mutations_us),
        ("resumptions", |it| &it.resumptions_us),
    ];
    for (name, times) in kinds {
        let [quiet, hostile, recovery] = experiences.each_ref().map(|experience| {
            let mut times = times(experience).to_vec();
            times.sort_unstable();
            times
        });
        let ms = |times: &[u32], share| percentile(times, share) / 1_000.0;
        let ratio = ms(&hostile, 0.99) / ms(&quiet, 0.99);
        let line = format!(
            "{name:<11} p50 / p99 ms: quiet {:.1} / {:.1} ({}), hostile {:.1} / {:.1} ({}), after {:.1} / {:.1} ({})",
            ms(&quiet, 0.5),
            ms(&quiet, 0.99),
            quiet.len(),
            ms(&hostile, 0.5),
            ms(&hostile, 0.99),
            hostile.len(),
            ms(&recovery, 0.5),
            ms(&recovery, 0.99),
            recovery.len(),
        );
        goals.judge(
            // Without any answer there is no ratio, and no goal met.
            !hostile.is_empty() && ratio < P99_RATIO_MAX,
            format!("{line}; p99 {ratio:.2} times (goal: below {P99_RATIO_MAX})"),
        );
    }
    for (phase, experience) in ["quiet", "hostile", "after"].iter().zip(&experiences) {
        let failures: u64 = experience.failures.values().sum();
        goals.judge(
            failures == 0,
            format!(
                "failures, {phase}: {failures} (goal: 0) {:?}",
                experience.failures
            ),
        );
    }
}

fn judge_delivery(goals: &mut Goals, delivery: &Delivery) {
    let Delivery {
        created,
        expected,
        lost,
        doubled,
        interruptions,
        faults,
    } = delivery;
    goals.judge(
        *lost == 0 && *expected > 0,
        format!("{created} comments, {expected} events to arrive: {lost} lost (goal: 0)"),
    );
    goals.judge(
        *doubled == 0,
        format!("events that arrived twice: {doubled} (goal: 0)"),
    );
    goals.judge(
        *interruptions == 0,
        format!("SUBSCRIPTION_INTERRUPTED: {interruptions} (goal: 0)"),
    );
    goals.judge(
        faults.is_empty(),
        format!(
            "other faults of subscriptions: {} (goal: 0) {faults:?}",
            faults.values().sum::<u64>()
        ),
    );
}

async fn judge_readiness(goals: &mut Goals, services: &[&ServiceProcess; 3]) {
    for service in services {
        let ready = reqwest::get(service.url("/health/ready")).await;
        let is_ready = ready.is_ok_and(|answer| answer.status().is_success());
        goals.judge(
            is_ready,
            format!("{} is ready at the end", service.service().name()),
        );
    }
}
