//! Clients take turns, whoever leaves frees its place, and a long job delays its own client.

use std::{net::IpAddr, sync::mpsc, task::Poll};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all, ready},
    poll,
};
use graphql_transport::turns::Turns;
use tokio::sync::oneshot;

use prometheus_client::metrics::gauge::Gauge;

use super::*;

fn client(number: u8) -> ClientKey {
    ClientKey::of(IpAddr::from([10, 0, 0, number]))
}

/// No job ever takes long.
fn preparers(threads: usize, waiting_max: usize) -> (Arc<Preparers>, Gauge) {
    let metrics = PrepareMetrics::default();
    let waiting = metrics.waiting.clone();
    let long = Duration::from_secs(3_600);
    let preparers = Preparers::with_queues(no_pauses(), long, threads, 0, waiting_max, metrics);
    (Arc::new(preparers), waiting)
}

/// No client has to pause.
fn no_pauses() -> Queues {
    Queues::new(all(), Competition::default())
}

fn all() -> Share {
    Share::of(100, 1_000)
}

/// Two clients have turns.
async fn competition() -> Competition {
    let turns = Turns::new(1, Gauge::default());
    for number in [1, 2] {
        turns.of(client(number)).run(ready(())).await;
    }
    turns.competition().clone()
}

type Running = BoxFuture<'static, Result<u32, NotDone>>;

/// A job that has begun, and ends when the sender is dropped.
async fn held(preparers: &Arc<Preparers>, client: ClientKey) -> (Running, mpsc::Sender<()>) {
    let (begun, has_begun) = oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let held = Arc::clone(preparers);
    let job = async move {
        held.run(client, move || {
            let _ = begun.send(());
            let _ = released.recv();
            0
        })
        .await
    };
    let mut job: Running = job.boxed();
    assert!(poll!(&mut job).is_pending());
    has_begun.await.expect("it begins");
    (job, release)
}

/// A job that waits; done, it sends its number.
async fn waiting(
    preparers: &Arc<Preparers>,
    client: ClientKey,
    number: u32,
    done: &mpsc::Sender<u32>,
) -> Running {
    let (preparers, done) = (Arc::clone(preparers), done.clone());
    let job = async move {
        preparers
            .run(client, move || {
                let _ = done.send(number);
                number
            })
            .await
    };
    let mut job: Running = job.boxed();
    assert!(poll!(&mut job).is_pending());
    job
}

async fn until(condition: impl Fn() -> bool) {
    let waits = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), waits).await;
    in_time.expect("it holds in time");
}

#[tokio::test]
async fn clients_take_turns_however_many_jobs_wait() {
    let (preparers, _) = preparers(1, 100);
    let (first, release) = held(&preparers, client(1)).await;
    let (done, order) = mpsc::channel();
    let mut all = vec![first];
    for number in 10..15 {
        all.push(waiting(&preparers, client(1), number, &done).await);
    }
    all.push(waiting(&preparers, client(3), 30, &done).await);
    drop(release);
    assert!(join_all(all).await.iter().all(Result::is_ok));
    let order: Vec<u32> = order.try_iter().collect();
    assert_eq!(order, [10, 30, 11, 12, 13, 14]);
}

#[tokio::test]
async fn a_job_is_done_though_its_caller_is_not_polled() {
    let (preparers, _) = preparers(1, 100);
    let (first, release) = held(&preparers, client(1)).await;
    let (done, order) = mpsc::channel();
    let mut all = Vec::new();
    for number in 0..3 {
        all.push(waiting(&preparers, client(1), number, &done).await);
    }
    drop(release);
    until(|| preparers.0.lock().queues.is_empty()).await;
    assert_eq!(order.try_iter().count(), 3);
    drop((first, all));
}

#[tokio::test]
async fn a_job_that_takes_long_delays_its_own_client() {
    let long = Duration::from_millis(1);
    let preparers = Preparers::with_queues(no_pauses(), long, 1, 0, 100, PrepareMetrics::default());
    let preparers = Arc::new(preparers);
    let (first, release) = held(&preparers, client(1)).await;
    let (done, _order) = mpsc::channel();
    let mut second = waiting(&preparers, client(1), 1, &done).await;
    // One more thread takes it, after some time.
    let other = waiting(&preparers, client(2), 2, &done).await;
    assert_eq!(other.await, Ok(2));
    assert!(poll!(&mut second).is_pending());
    // And no more than one.
    let (third, release_third) = held(&preparers, client(3)).await;
    let mut fourth = waiting(&preparers, client(4), 4, &done).await;
    {
        let mut state = preparers.0.lock();
        state.moved -= long;
        assert!(preparers.0.next(&mut state).is_none());
        assert_eq!((state.busy, state.started), (2, 2));
    }
    assert!(poll!(&mut fourth).is_pending());
    drop((release, release_third));
    assert_eq!(
        join_all([first, second, third, fourth]).await,
        [Ok(0), Ok(1), Ok(0), Ok(4)]
    );
}

#[tokio::test]
async fn the_additional_thread_serves_a_client_of_which_nothing_runs() {
    let long = Duration::from_millis(1);
    let preparers = Preparers::with_queues(no_pauses(), long, 2, 0, 100, PrepareMetrics::default());
    let preparers = Arc::new(preparers);
    let (first, release) = held(&preparers, client(1)).await;
    let (second, release_second) = held(&preparers, client(2)).await;
    let (done, order) = mpsc::channel();
    let mut waits = waiting(&preparers, client(1), 1, &done).await;
    let third = waiting(&preparers, client(3), 3, &done).await;
    assert_eq!(third.await, Ok(3));
    assert!(poll!(&mut waits).is_pending());
    drop((release, release_second));
    let all = join_all([first, second, waits]).await;
    assert_eq!(all, [Ok(0), Ok(0), Ok(1)]);
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [3, 1]);
}

/// A job that takes as long as it is told, for tests of the queues alone.
fn job() -> Job {
    Job::new(|_| ())
}

#[tokio::test]
async fn who_used_its_share_pauses_while_processors_are_scarce() {
    const MS: Duration = Duration::from_millis(1);
    // A tenth of a processor, after a tenth of a second of it.
    let mut queues = Queues::new(Share::of(5, 2), competition().await);
    let (greedy, modest) = (client(1), client(2));
    let now = Instant::now();
    let is_next = |queues: &mut Queues, key, now| {
        let next = queues.next(1, now).map(|(key, _)| key);
        assert_eq!(next, Some(key));
    };
    let waited = |waited| Used {
        ran: 20 * MS,
        waited,
    };
    for _ in 0..10 {
        queues.add(greedy, job(), 100).expect("room");
    }
    // There are processors for everybody.
    for _ in 0..7 {
        is_next(&mut queues, greedy, now);
        assert!(!queues.end(greedy, waited(Duration::ZERO), now));
    }
    is_next(&mut queues, greedy, now);
    assert!(queues.end(greedy, waited(80 * MS), now));
    queues.add(modest, job(), 100).expect("room");
    is_next(&mut queues, modest, now);
    assert!(!queues.end(modest, waited(80 * MS), now));
    assert!(queues.next(1, now).is_none());
    assert_eq!(queues.pause(now), Some(200 * MS));
    let later = now + 200 * MS;
    is_next(&mut queues, greedy, later);
    assert!(queues.end(greedy, waited(80 * MS), later));
    // Others' jobs wait for no processor.
    let mut others = (3..100).map(client);
    while !queues.has_next(1, later) {
        let other = others.next().expect("a few are enough");
        queues.add(other, job(), 100).expect("room");
        is_next(&mut queues, other, later);
        queues.end(other, waited(Duration::ZERO), later);
    }
    is_next(&mut queues, greedy, later);
}

#[test]
fn who_is_alone_never_pauses() {
    const MS: Duration = Duration::from_millis(1);
    let mut queues = Queues::new(Share::of(5, 2), Competition::default());
    let now = Instant::now();
    let used = Used {
        ran: 20 * MS,
        waited: 80 * MS,
    };
    for _ in 0..100 {
        queues.add(client(1), job(), 100).expect("room");
        queues.add(client(1), job(), 100).expect("room");
        for _ in 0..2 {
            assert_eq!(queues.pause(now), Some(Duration::ZERO));
            assert!(queues.next(1, now).is_some());
            assert!(!queues.end(client(1), used, now));
        }
    }
}

#[test]
fn clients_that_have_paid_are_forgotten() {
    let mut queues = no_pauses();
    for number in 0..=255 {
        queues.add(client(number), job(), 100).expect("room");
        let (key, _) = queues.next(1, Instant::now()).expect("a job");
        queues.end(key, Used::default(), Instant::now());
    }
    assert!(queues.clients_known() < 16);
}

#[tokio::test]
async fn full_queues_refuse_whoever_fills_them() {
    let (preparers, shown) = preparers(1, 3);
    let (first, release) = held(&preparers, client(1)).await;
    let (done, _order) = mpsc::channel();
    let mut greedy = Vec::new();
    for number in 0..3 {
        greedy.push(waiting(&preparers, client(1), number, &done).await);
    }
    let full = Err::<(), _>(NotDone::QueueFull);
    assert_eq!(preparers.run(client(1), || ()).await, full);
    let modest = waiting(&preparers, client(2), 7, &done).await;
    let Poll::Ready(displaced) = poll!(&mut greedy[2]) else {
        panic!("it has given way");
    };
    assert_eq!(displaced, Err(NotDone::QueueFull));
    assert_eq!(shown.get(), 3);
    // As many as the greedy one has now.
    assert_eq!(preparers.run(client(2), || ()).await, full);
    drop(greedy);
    assert_eq!(shown.get(), 1);
    drop(release);
    assert_eq!((first.await, modest.await), (Ok(0), Ok(7)));
}

#[tokio::test]
async fn whoever_leaves_takes_its_job_along() {
    let (preparers, shown) = preparers(1, 3);
    let (first, release) = held(&preparers, client(1)).await;
    let (done, order) = mpsc::channel();
    let left = waiting(&preparers, client(2), 2, &done).await;
    let stays = waiting(&preparers, client(3), 3, &done).await;
    drop(left);
    assert_eq!(shown.get(), 1);
    drop(release);
    assert_eq!(stays.await, Ok(3));
    assert_eq!(first.await, Ok(0));
    assert_eq!(order.try_iter().collect::<Vec<_>>(), [3]);
    until(|| preparers.0.lock().queues.is_empty()).await;
}

#[tokio::test]
async fn a_job_that_panics_harms_no_other() {
    let (preparers, _) = preparers(1, 10);
    let panicked = preparers.run(client(1), || panic!("a defect"));
    assert_eq!(panicked.await, Err::<(), _>(NotDone::Failed));
    assert_eq!(preparers.run(client(1), || 1).await, Ok(1));
}

#[tokio::test]
async fn jobs_run_on_a_bounded_number_of_threads() {
    let (preparers, _) = preparers(2, 100);
    let on_thread = |_| preparers.run(client(1), || thread::current().id());
    let threads = join_all((0..100).map(on_thread)).await;
    let threads: std::collections::HashSet<_> =
        threads.into_iter().map(|it| it.expect("done")).collect();
    assert!((1..=3).contains(&threads.len()), "{threads:?}");
    assert!(!threads.contains(&thread::current().id()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_threads_have_less_priority_and_no_other_has() {
    let priority = || rustix::process::getpriority_process(None);
    let before = priority().expect("a priority");
    let preparers = Preparers::new(
        1,
        5,
        1,
        all(),
        Competition::default(),
        PrepareMetrics::default(),
    );
    let of_thread = preparers.run(client(1), priority).await.expect("done");
    assert_eq!(of_thread.expect("a priority"), (before + 5).min(19));
    assert_eq!(priority().expect("a priority"), before);
}

#[test]
fn addresses_of_the_same_network_are_the_same_client() {
    let of = |text: &str| ClientKey::of(text.parse().expect("an address"));
    assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
}
