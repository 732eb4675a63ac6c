//! Turns at the processors, fair by client.
//!
//! A runtime polls the tasks that are ready one after another, whoever they are of. One client with a thousand
//! subscriptions has a thousand tasks ready at each event, and all others wait for them. Here a client has
//! at most as many tasks in the runtime's queue as there are processors; its others wait in a queue of its own.
//! Where several clients have tasks there, they share this number, and each has at least one. So beside ten busy
//! clients a task waits for some ten others, whatever any of them has. A client that is alone may have [`ALONE`] times
//! as many there: to hand on turns one by one would cost more than it gives.
//!
//! Others can ask whether clients compete ([`Competition`]), for limits that hold only then.
//!
//! A task has its turn from when it is woken until it was polled. While its client has turns left, that takes a
//! few atomic operations, and no lock.

use std::{
    collections::{VecDeque, hash_map::RandomState},
    fmt,
    future::Future,
    hash::BuildHasher,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicIsize, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use prometheus_client::metrics::gauge::Gauge;

use crate::{client_key::ClientKey, per_client::PerClient};

/// The task waits for a wake-up.
const IDLE: u8 = 0;
/// It was woken, and waits for its turn.
const WAITS: u8 = 1;
/// It has its turn: the runtime is to poll it.
const HAS_TURN: u8 = 2;
const POLLED: u8 = 3;
/// It was woken while it was polled.
const POLLED_AND_WOKEN: u8 = 4;
const ENDED: u8 = 5;

/// A client has this many times its turns while no other client has one. A client that comes then waits for that
/// many polls once.
const ALONE: usize = 16;

/// Clients compete for this long after a turn has passed from one client to another.
const COMPETING: Duration = Duration::from_secs(2);

/// The turns of all clients.
pub struct Turns {
    clients: PerClient<TurnGate>,
    share: Arc<Share>,
    /// Gives clients their numbers.
    hasher: RandomState,
    /// Shows how many tasks wait.
    waiting: Gauge,
}

/// The turns of one client. Clones share them.
#[derive(Clone)]
pub struct ClientTurns(Arc<TurnGate>);

/// What each client may have at a time.
struct Share {
    per_client: usize,
    /// The number of clients that have a turn. It may be off by those that take or return one right now.
    busy: AtomicIsize,
    competition: Competition,
}

/// Whether more than one client has had turns within the last two seconds. A limit that protects clients from
/// each other can be off while there is only one. Behind a proxy, all clients count as one. Clones share it.
#[derive(Clone, Debug)]
pub struct Competition(Arc<Competing>);

#[derive(Debug)]
struct Competing {
    began: Instant,
    /// Stands for the client that had the last turn; 0 before the first one. Two clients with the same
    /// number, which is a keyed hash, would count as one.
    latest: AtomicU64,
    /// Until when clients compete, in milliseconds after `began`.
    until: AtomicU64,
}

struct TurnGate {
    /// Stands for the client in [`Competing::latest`].
    client: u64,
    taken: AtomicUsize,
    share: Arc<Share>,
    /// The number of tasks that wait for their turn.
    waiting: AtomicUsize,
    /// Shows how many wait, those of other clients included.
    shown: Gauge,
    queue: Mutex<VecDeque<Arc<Member>>>,
}

/// A future that takes turns with the others of its client.
struct Member {
    gate: Arc<TurnGate>,
    state: AtomicU8,
    /// Of the task that polls it.
    task: AtomicWaker,
}

/// As many tasks as there are processors.
pub fn tasks_per_client_max() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Turns {
    /// At most `per_client` tasks of one client have a turn at a time, and at least one; clients that have turns at the
    /// same time share this number. `waiting` shows how many tasks of all clients wait.
    pub fn new(per_client: usize, waiting: Gauge) -> Self {
        Self {
            clients: PerClient::default(),
            share: Arc::new(Share {
                per_client: per_client.max(1),
                busy: AtomicIsize::new(0),
                competition: Competition::default(),
            }),
            hasher: RandomState::new(),
            waiting,
        }
    }

    /// Whether more than one client has turns.
    pub fn competition(&self) -> &Competition {
        &self.share.competition
    }

    /// Those of a client.
    pub fn of(&self, client: ClientKey) -> ClientTurns {
        let gate = self.clients.of(client, || TurnGate {
            client: self.hasher.hash_one(client) | 1,
            taken: AtomicUsize::new(0),
            share: Arc::clone(&self.share),
            waiting: AtomicUsize::new(0),
            shown: self.waiting.clone(),
            queue: Mutex::default(),
        });
        ClientTurns(gate)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("per_client", &self.share.per_client)
            .finish_non_exhaustive()
    }
}

impl ClientTurns {
    /// Polls a future in turns. Whatever holds it has to poll it when it is woken: until then it keeps its turn.
    pub fn run<F: Future + Unpin>(&self, future: F) -> InTurns<F> {
        let member = Member {
            gate: Arc::clone(&self.0),
            state: AtomicU8::new(IDLE),
            task: AtomicWaker::new(),
        };
        InTurns {
            member: Some(Arc::new(member)),
            future,
        }
    }

    /// Notes that something of the client runs without a turn, so that others are known to compete with it.
    pub fn note_competition(&self) {
        self.0.share.competition.note(self.0.client);
    }
}

impl Share {
    /// The turns of a client that has `taken` of them.
    fn of_client(&self, taken: usize) -> usize {
        let others = self.busy.load(Relaxed) - isize::from(taken > 0);
        match usize::try_from(others) {
            Ok(others @ 1..) => self.per_client.div_ceil(others + 1),
            _ => self.per_client.saturating_mul(ALONE),
        }
    }
}

impl Competition {
    /// Whether clients compete.
    pub fn holds(&self) -> bool {
        let until = self.0.until.load(Relaxed);
        until > 0 && self.elapsed_ms() < until
    }

    /// A client has a turn.
    fn note(&self, client: u64) {
        let latest = self.0.latest.load(Relaxed);
        if latest == client {
            return;
        }
        self.0.latest.store(client, Relaxed);
        if latest != 0 {
            let until = self.elapsed_ms() + COMPETING.as_millis() as u64;
            self.0.until.store(until, Relaxed);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.0.began.elapsed().as_millis() as u64
    }
}

impl Default for Competition {
    fn default() -> Self {
        Self(Arc::new(Competing {
            began: Instant::now(),
            latest: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }))
    }
}

impl TurnGate {
    fn take_free(&self) -> bool {
        let one_more = |taken| (taken < self.share.of_client(taken)).then_some(taken + 1);
        let before = self.taken.fetch_update(SeqCst, SeqCst, one_more);
        if before == Ok(0) {
            self.share.busy.fetch_add(1, Relaxed);
        }
        if before.is_ok() {
            self.share.competition.note(self.client);
        }
        before.is_ok()
    }

    fn drop_taken(&self) {
        if self.taken.fetch_sub(1, SeqCst) == 1 {
            self.share.busy.fetch_sub(1, Relaxed);
        }
    }

    /// Takes a turn where one is free and nobody waits for it.
    fn try_take(&self) -> bool {
        self.waiting.load(SeqCst) == 0 && self.take_free()
    }

    /// Adds one that waits.
    fn wait(&self, member: &Arc<Member>) {
        let mut queue = lock(&self.queue);
        queue.push_back(Arc::clone(member));
        // Whoever gives a turn back after this sees that somebody waits.
        self.waiting.store(queue.len(), SeqCst);
        self.shown.inc();
        drop(queue);
        self.hand_on();
    }

    fn give_back(&self) {
        self.drop_taken();
        if self.waiting.load(SeqCst) > 0 {
            self.hand_on();
        }
    }

    /// Gives free turns to those who wait, the first one first.
    fn hand_on(&self) {
        loop {
            let mut queue = lock(&self.queue);
            if queue.is_empty() || !self.take_free() {
                return;
            }
            let next = queue.pop_front();
            self.shown.dec();
            self.waiting.store(queue.len(), SeqCst);
            // Waking may end a task, which takes locks.
            drop(queue);
            let has_taken = next.is_some_and(|next| next.begin_turn());
            if !has_taken {
                // It has ended.
                self.drop_taken();
            }
        }
    }
}

impl Member {
    fn turns_from(&self, from: u8, to: u8) -> bool {
        self.state
            .compare_exchange(from, to, SeqCst, SeqCst)
            .is_ok()
    }

    /// It is its turn; false where it does not wait any more.
    fn begin_turn(&self) -> bool {
        let has_turn = self.turns_from(WAITS, HAS_TURN);
        if has_turn {
            self.task.wake();
        }
        has_turn
    }

    /// Asks for a turn, in the state [`WAITS`].
    fn ask(self: &Arc<Self>) {
        if !self.gate.try_take() {
            self.gate.wait(self);
        } else if !self.begin_turn() {
            self.gate.give_back();
        }
    }

    /// Whether it is to be polled now. Otherwise it waits for its turn, and is woken.
    fn begin_poll(self: &Arc<Self>) -> bool {
        if self.turns_from(HAS_TURN, POLLED) {
            return true;
        }
        // For the first time, or nobody woke it.
        if self.state.load(SeqCst) == IDLE && self.gate.try_take() {
            if self.turns_from(IDLE, POLLED) {
                return true;
            }
            self.gate.give_back();
        }
        if self.turns_from(IDLE, WAITS) {
            self.ask();
        }
        // It may have its turn already.
        self.turns_from(HAS_TURN, POLLED)
    }
}

impl Member {
    /// It takes no more turns. Where it waits, its place in the queue is passed over when its turn comes: to
    /// look for it there would take as long as the queue is, for each of many that leave at once.
    fn end(&self) {
        if self.state.swap(ENDED, SeqCst) == HAS_TURN {
            self.gate.give_back();
        }
        drop(self.task.take());
    }
}

impl ArcWake for Member {
    fn wake_by_ref(this: &Arc<Self>) {
        if this.turns_from(IDLE, WAITS) {
            return this.ask();
        }
        // In any other state it waits, or has ended.
        if !this.turns_from(POLLED, POLLED_AND_WOKEN) && this.turns_from(IDLE, WAITS) {
            this.ask();
        }
    }
}

/// A future that is polled in turns.
#[must_use = "futures do nothing unless they are polled"]
pub struct InTurns<F> {
    /// None where it is polled without turns.
    member: Option<Arc<Member>>,
    future: F,
}

impl<F> InTurns<F> {
    /// From now on it is polled whenever its task is. The task has to poll it now.
    pub fn leave(&mut self) {
        if let Some(member) = self.member.take() {
            member.end();
        }
    }
}

impl<F: Future + Unpin> Future for InTurns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let Some(member) = &this.member else {
            return Pin::new(&mut this.future).poll(context);
        };
        member.task.register(context.waker());
        if !member.begin_poll() {
            return Poll::Pending;
        }
        let turn = Turn(member);
        let waker = waker_ref(member);
        let polled = Pin::new(&mut this.future).poll(&mut Context::from_waker(&waker));
        drop(turn);
        polled
    }
}

/// The turn of a future that is polled. It ends with the poll, or with a panic in it.
struct Turn<'m>(&'m Arc<Member>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let member = self.0;
        let is_idle = member.turns_from(POLLED, IDLE);
        member.gate.give_back();
        if !is_idle && member.turns_from(POLLED_AND_WOKEN, WAITS) {
            member.ask();
        }
    }
}

impl<F> Drop for InTurns<F> {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, poll_fn, ready},
        time::Duration,
    };

    use futures_util::{FutureExt, future::join_all, poll};

    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    /// The turns of a client while another client is busy.
    fn beside_another(per_client: usize) -> ClientTurns {
        let turns = Turns::new(per_client, Gauge::default());
        turns.share.busy.store(1, SeqCst);
        turns.of(client(1))
    }

    /// Tasks that are ready a number of times each, and record who was polled.
    fn busy(
        turns: &Turns,
        number: u8,
        tasks: usize,
        polls: usize,
        seen: &Arc<Mutex<Vec<u8>>>,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let of_client = turns.of(client(number));
        let task = |_| {
            let (mut left, seen) = (polls, Arc::clone(seen));
            tokio::spawn(of_client.run(poll_fn(move |context| {
                lock(&seen).push(number);
                left -= 1;
                if left == 0 {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })))
        };
        (0..tasks).map(task).collect()
    }

    #[tokio::test]
    async fn a_client_with_a_thousand_ready_tasks_has_one_turn_in_two() {
        let turns = Turns::new(1, Gauge::default());
        let seen = Arc::default();
        let greedy = busy(&turns, 1, 1_000, 10, &seen);
        let modest = busy(&turns, 2, 1, 50, &seen);
        for task in modest {
            task.await.expect("no panic");
        }
        // Some of them before the greedy one was no longer alone.
        let polls = lock(&seen).len();
        assert!(polls < 1_000, "it waited for {polls} polls");
        for task in greedy {
            task.await.expect("no panic");
        }
        assert_eq!(lock(&seen).len(), 10_050);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_task_comes_to_its_end_on_many_threads() {
        let turns = Turns::new(2, Gauge::default());
        let seen = Arc::default();
        let tasks: Vec<_> = (0..8)
            .flat_map(|number| busy(&turns, number, 50, 100, &seen))
            .collect();
        let all = tokio::time::timeout(Duration::from_secs(60), join_all(tasks)).await;
        assert!(all.expect("in time").into_iter().all(|it| it.is_ok()));
        assert_eq!(lock(&seen).len(), 8 * 50 * 100);
        for gate in turns.clients.in_use() {
            assert_eq!(gate.taken.load(SeqCst), 0);
        }
        assert_eq!(turns.share.busy.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_client_has_more_turns_while_it_is_alone() {
        let turns = Turns::new(1, Gauge::default());
        let (first, second) = (turns.of(client(1)), turns.of(client(2)));
        for _ in 0..ALONE {
            assert!(first.0.try_take());
        }
        assert!(!first.0.try_take());
        assert!(second.0.try_take());
        assert!(!second.0.try_take());
        for _ in 0..ALONE {
            first.0.give_back();
        }
        assert!(second.0.try_take());
        second.0.give_back();
        second.0.give_back();
        assert_eq!(turns.share.busy.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_client_alone_waits_for_no_turn_that_another_one_had() {
        let turns = Turns::new(1, Gauge::default());
        let (first, second) = (turns.of(client(1)), turns.of(client(2)));
        assert!(second.0.try_take());
        assert!(first.0.try_take());
        let mut waiting = first.run(ready(()));
        assert!(poll!(&mut waiting).is_pending());
        second.0.give_back();
        first.0.give_back();
        assert!(poll!(&mut waiting).is_ready());
    }

    #[test]
    fn clients_compete_while_turns_change_between_them() {
        let turns = Turns::new(1, Gauge::default());
        let competition = turns.competition();
        let [one, other] = [1, 2].map(|number| turns.of(client(number)).0);
        let take = |gate: &TurnGate| {
            assert!(gate.try_take());
            gate.give_back();
        };
        take(&one);
        take(&one);
        assert!(!competition.holds());
        take(&other);
        assert!(competition.holds());
        competition.0.until.store(0, SeqCst);
        // The first one has turns all the time, and the other one comes again and again.
        assert!(one.try_take());
        competition.0.until.store(0, SeqCst);
        take(&other);
        assert!(competition.holds());
        // It comes back on new connections, and nobody else does.
        competition.0.until.store(0, SeqCst);
        drop(other);
        take(&turns.of(client(2)).0);
        assert!(!competition.holds());
    }

    #[test]
    fn clients_with_turns_share_their_number() {
        let turns = Turns::new(4, Gauge::default());
        let [one, other] = [1, 2].map(|number| turns.of(client(number)).0);
        let all_free =
            |gate: &TurnGate| std::iter::from_fn(|| gate.try_take().then_some(())).count();
        assert_eq!(all_free(&one), 4 * ALONE);
        assert_eq!(all_free(&other), 2);
        for _ in 1..4 * ALONE {
            one.give_back();
        }
        assert_eq!(all_free(&one), 1);
        for _ in 0..2 {
            other.give_back();
        }
        assert_eq!(all_free(&one), 4 * ALONE - 2);
        for _ in 0..4 * ALONE {
            one.give_back();
        }
        assert_eq!(turns.share.busy.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn who_leaves_gives_its_turn_to_the_next() {
        let of_client = beside_another(1);
        // A turn is taken, as if on another thread.
        assert!(of_client.0.try_take());
        let mut first = of_client.run(ready(()));
        let mut second = of_client.run(ready(()));
        let mut third = of_client.run(ready(()));
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(poll!(waiting).is_pending());
        }
        drop(first);
        of_client.0.give_back();
        // The second has the turn now, and leaves without using it.
        assert!(poll!(&mut third).is_pending());
        drop(second);
        assert!(poll!(&mut third).is_ready());
        drop(third);
        assert_eq!(of_client.0.taken.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn nothing_is_kept_of_those_who_leave_while_they_wait() {
        let shown = Gauge::default();
        let turns = Turns::new(1, shown.clone());
        turns.share.busy.store(1, SeqCst);
        let of_client = turns.of(client(1));
        assert!(of_client.0.try_take());
        for _ in 0..100 {
            let mut waiting = of_client.run(ready(()));
            assert!(poll!(&mut waiting).is_pending());
        }
        assert_eq!(shown.get(), 100);
        of_client.0.give_back();
        assert_eq!(shown.get(), 0);
        assert_eq!(of_client.0.waiting.load(SeqCst), 0);
        assert_eq!(lock(&of_client.0.queue).len(), 0);
        assert_eq!(of_client.0.taken.load(SeqCst), 0);
        assert!(poll!(of_client.run(ready(()))).is_ready());
    }

    #[tokio::test]
    async fn who_takes_no_more_turns_waits_for_none() {
        let of_client = beside_another(1);
        assert!(of_client.0.try_take());
        let mut waiting = of_client.run(ready(()));
        assert!(poll!(&mut waiting).is_pending());
        waiting.leave();
        assert!(poll!(&mut waiting).is_ready());
        drop(waiting);
        of_client.0.give_back();
        assert_eq!(of_client.0.taken.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn a_turn_survives_a_panic() {
        let of_client = beside_another(1);
        let mut idle = of_client.run(pending::<()>());
        assert!(poll!(&mut idle).is_pending());
        let defect = of_client.run(poll_fn(|_| -> Poll<()> { panic!("a defect") }));
        let caught = std::panic::AssertUnwindSafe(defect).catch_unwind().await;
        assert!(caught.is_err());
        assert!(poll!(of_client.run(ready(()))).is_ready());
        assert_eq!(of_client.0.taken.load(SeqCst), 0);
    }

    #[tokio::test]
    async fn it_is_woken_by_what_it_waits_for() {
        let of_client = beside_another(1);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let receiving = tokio::spawn(of_client.run(receiver));
        let timed = of_client.run(Box::pin(tokio::time::sleep(Duration::from_millis(1))));
        timed.await;
        sender.send(1).expect("it waits");
        assert_eq!(receiving.await.expect("no panic"), Ok(1));
    }
}
