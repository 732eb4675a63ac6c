//! All kinds of hostile clients at once: honest clients lose nothing and receive no error.

use std::sync::Arc;
use std::time::Duration;

use e2e::honest_clients::{HonestClients, Numbers, Phase};
use e2e::hostile_clients::{Attack, Attacks, History, Target};
use e2e::{Service, System, eventually};

use crate::PROGRAM;

/// One in so many of each attack's clients: a debug build, beside other tests.
const DIVISOR: usize = 25;
const HONEST: Numbers = Numbers {
    readers: 6,
    writers: 4,
    watchers: 8,
    resumers: 1,
    pause: Duration::from_millis(50),
};
/// Answers of each kind that honest clients get while the attacks run.
const ANSWERS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn honest_clients_notice_nothing_of_hostile_ones() {
    let mut system = System::start(PROGRAM).await;
    let graphql = system.graphql().clone();
    let mut posts = Vec::new();
    for title in ["First", "Second"] {
        posts.push(graphql.create_post(title).await);
    }
    let target = Arc::new(Target {
        gateway: system.process(Service::Gateway).address(),
        posts: posts.clone(),
        history: History::write(&graphql, 50).await.expect("a history"),
    });
    let history = target.history.clone();
    let honest = HonestClients::start(target.gateway, posts, history, HONEST);
    let honest = honest.await.expect("honest clients");
    answered(&honest, Phase::Quiet, 1).await;

    honest.enter(Phase::Hostile);
    let attacks = Attacks::start(&Attack::ALL, &target, DIVISOR);
    eventually("every attack has begun", || async {
        let answers = attacks.answers();
        let idle = answers.iter().find(|(_, answers)| answers.requests == 0);
        idle.map_or(Ok(()), |(attack, _)| Err(attack.to_string()))
    })
    .await;
    answered(&honest, Phase::Hostile, ANSWERS).await;
    let answers = attacks.end().await;

    honest.enter(Phase::Recovery);
    answered(&honest, Phase::Recovery, 1).await;
    for phase in [Phase::Quiet, Phase::Hostile, Phase::Recovery] {
        let failures = honest.experience(phase).failures;
        assert!(failures.is_empty(), "{phase:?}: {failures:?}; {answers:?}");
    }
    let delivery = honest.end().await;
    assert!(delivery.expected >= ANSWERS, "{delivery:?}");
    let harm = [delivery.lost, delivery.doubled, delivery.interruptions];
    assert_eq!(harm, [0, 0, 0], "{delivery:?}; {answers:?}");
    assert!(delivery.faults.is_empty(), "{delivery:?}; {answers:?}");
    for service in [Service::Posts, Service::Comments, Service::Gateway] {
        system.ready(service).await;
    }
}

/// Waits until readers and writers got so many answers in a phase.
async fn answered(honest: &HonestClients, phase: Phase, count: usize) {
    eventually("readers and writers are answered", || async {
        let experience = honest.experience(phase);
        let answers = [experience.queries_us.len(), experience.mutations_us.len()];
        if answers.iter().all(|answers| *answers >= count) {
            Ok(())
        } else {
            Err(format!("{answers:?}, {:?}", experience.failures))
        }
    })
    .await;
}
