//! Turns for preparing operations: a bounded number at once, and clients take turns.
//!
//! A client is an address ([`ClientKey`]). Each has a queue of its own, and the queues are served one after
//! another: whoever sends many new documents waits for those, and others do not. Where all places are held for
//! long, there is one more for another client than the one that holds them: a document that takes long delays
//! that client's own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use graphql_transport::ClientKey;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

/// How many operations one client may have prepared at the same time: half of the processors, as those that
/// answer requests need some, too.
pub fn places_per_client() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).max(1)
}

/// All places are held for long when none was given back for this time.
const LONG: Duration = Duration::from_millis(50);

/// Too many wait, and this client has as many waiting as any other.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueFull;

/// The places, and the queues for them.
pub struct Turns {
    state: Mutex<State>,
    /// How many one client may hold at a time.
    per_client: usize,
    /// How many may wait, of all clients together.
    waiting_max: usize,
    waiting: Gauge,
}

struct State {
    free: usize,
    /// Whether there is one place more, until one is given back.
    has_more: bool,
    /// When a place was last taken or given back.
    moved: Instant,
    waiting: usize,
    next_id: u64,
    clients: HashMap<ClientKey, Client>,
    /// Clients with somebody waiting, the next one first.
    order: VecDeque<ClientKey>,
}

#[derive(Default)]
struct Client {
    running: usize,
    queue: VecDeque<Entry>,
}

/// One that waits, by its number.
type Entry = (u64, oneshot::Sender<()>);

/// A place; given back when dropped.
pub struct Turn {
    turns: Arc<Turns>,
    client: ClientKey,
}

impl Turn {
    /// Whose it is.
    pub fn client(&self) -> ClientKey {
        self.client
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(self.client);
    }
}

impl Turns {
    /// So many places, and one more where they are held for long. `waiting` shows how many wait.
    pub fn new(per_client: usize, waiting_max: usize, waiting: Gauge) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: per_client,
                has_more: false,
                moved: Instant::now(),
                waiting: 0,
                next_id: 0,
                clients: HashMap::new(),
                order: VecDeque::new(),
            }),
            per_client,
            waiting_max,
            waiting,
        })
    }

    /// Waits for a place. Whoever stops waiting leaves the queue.
    ///
    /// # Errors
    /// At once where the queue is full; later where another client comes, which has fewer waiting.
    pub async fn take(self: &Arc<Self>, client: ClientKey) -> Result<Turn, QueueFull> {
        let mut waiting = {
            let mut state = self.lock();
            if state.free > 0 && state.running(client) < self.per_client {
                state.begin(client);
                return Ok(self.turn(client));
            }
            if state.waiting >= self.waiting_max {
                state.make_room(client)?;
            }
            let (sender, receiver) = oneshot::channel();
            let id = state.wait(client, sender);
            self.waiting.set(state.waiting as i64);
            Waiting {
                turns: self,
                client,
                id,
                receiver,
                is_over: false,
            }
        };
        let granted = loop {
            match tokio::time::timeout(LONG, &mut waiting.receiver).await {
                Ok(granted) => break granted,
                Err(_) => self.add_place_where_all_are_held_for_long(),
            }
        };
        waiting.is_over = true;
        granted.map(|()| self.turn(client)).map_err(|_| QueueFull)
    }

    fn turn(self: &Arc<Self>, client: ClientKey) -> Turn {
        Turn {
            turns: Arc::clone(self),
            client,
        }
    }

    fn add_place_where_all_are_held_for_long(&self) {
        let mut state = self.lock();
        if state.free == 0 && !state.has_more && state.moved.elapsed() >= LONG {
            state.has_more = true;
            state.free = 1;
            state.grant(self.per_client);
            self.waiting.set(state.waiting as i64);
        }
    }

    fn give_back(&self, client: ClientKey) {
        let mut state = self.lock();
        state.end(client);
        while state.free > 0 && state.grant(self.per_client) {}
        self.waiting.set(state.waiting as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn running(&self, client: ClientKey) -> usize {
        self.clients.get(&client).map_or(0, |it| it.running)
    }

    fn begin(&mut self, client: ClientKey) {
        self.free -= 1;
        self.moved = Instant::now();
        self.clients.entry(client).or_default().running += 1;
    }

    fn end(&mut self, client: ClientKey) {
        self.moved = Instant::now();
        if !std::mem::take(&mut self.has_more) {
            self.free += 1;
        }
        if let Some(it) = self.clients.get_mut(&client) {
            it.running -= 1;
        }
        self.forget(client);
    }

    fn wait(&mut self, client: ClientKey, sender: oneshot::Sender<()>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting += 1;
        let queue = &mut self.clients.entry(client).or_default().queue;
        queue.push_back((id, sender));
        if queue.len() == 1 {
            self.order.push_back(client);
        }
        id
    }

    /// Gives a place to the next client that may have one more; false where there is none.
    fn grant(&mut self, per_client: usize) -> bool {
        let may_run = |client: &ClientKey| self.running(*client) < per_client;
        let Some(place) = self.order.iter().position(may_run) else {
            return false;
        };
        let Some(client) = self.order.remove(place) else {
            return false;
        };
        let Some((_, sender)) = self.pop(client, VecDeque::pop_front) else {
            return true;
        };
        if self
            .clients
            .get(&client)
            .is_some_and(|it| !it.queue.is_empty())
        {
            self.order.push_back(client);
        }
        self.begin(client);
        if sender.send(()).is_err() {
            self.end(client);
        }
        true
    }

    /// Lets the client with the most waiting lose its last, if it has more than `client` would have.
    fn make_room(&mut self, client: ClientKey) -> Result<(), QueueFull> {
        let waiting = |it: &ClientKey| self.clients.get(it).map_or(0, |it| it.queue.len());
        let longest = self.order.iter().max_by_key(|it| waiting(it)).copied();
        let longest = longest.filter(|it| waiting(it) > waiting(&client) + 1);
        let longest = longest.ok_or(QueueFull)?;
        // Its receiver learns of it by the sender's end.
        drop(self.pop(longest, VecDeque::pop_back));
        Ok(())
    }

    fn pop(
        &mut self,
        client: ClientKey,
        end: fn(&mut VecDeque<Entry>) -> Option<Entry>,
    ) -> Option<Entry> {
        let popped = end(&mut self.clients.get_mut(&client)?.queue);
        self.waiting -= usize::from(popped.is_some());
        popped
    }

    /// Takes one that stopped waiting out of its queue; false where it is not there any longer.
    fn leave(&mut self, client: ClientKey, id: u64) -> bool {
        let Some(it) = self.clients.get_mut(&client) else {
            return false;
        };
        let Some(place) = it.queue.iter().position(|(other, _)| *other == id) else {
            return false;
        };
        it.queue.remove(place);
        self.waiting -= 1;
        if it.queue.is_empty() {
            self.order.retain(|other| *other != client);
            self.forget(client);
        }
        true
    }

    fn forget(&mut self, client: ClientKey) {
        let is_idle = |it: &Client| it.running == 0 && it.queue.is_empty();
        if self.clients.get(&client).is_some_and(is_idle) {
            self.clients.remove(&client);
        }
    }
}

/// A place in a queue, left when dropped.
struct Waiting<'t> {
    turns: &'t Arc<Turns>,
    client: ClientKey,
    id: u64,
    receiver: oneshot::Receiver<()>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let has_left = {
            let mut state = self.turns.lock();
            let has_left = state.leave(self.client, self.id);
            self.turns.waiting.set(state.waiting as i64);
            has_left
        };
        // Its turn may have come just now, and nobody is there to use it.
        if !has_left && self.receiver.try_recv().is_ok() {
            self.turns.give_back(self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::{FutureExt, future::BoxFuture, poll};

    use std::net::IpAddr;

    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::of(IpAddr::from([10, 0, 0, number]))
    }

    type Taking<'t> = BoxFuture<'t, Result<Turn, QueueFull>>;

    /// Begins to wait, as the first poll does.
    async fn waiting<'t>(turns: &'t Arc<Turns>, client: ClientKey) -> Taking<'t> {
        let mut taking = turns.take(client).boxed();
        assert!(poll!(&mut taking).is_pending());
        taking
    }

    async fn taken(turns: &Arc<Turns>, client: ClientKey) -> Turn {
        turns
            .take(client)
            .await
            .unwrap_or_else(|_| panic!("no place"))
    }

    #[tokio::test]
    async fn clients_take_turns_however_many_wait() {
        let turns = Turns::new(1, 100, Gauge::default());
        let held = taken(&turns, client(1)).await;
        let mut greedy = Vec::new();
        for _ in 0..5 {
            greedy.push(waiting(&turns, client(1)).await);
        }
        let mut modest = waiting(&turns, client(3)).await;
        drop(held);
        let Poll::Ready(Ok(next)) = poll!(&mut greedy[0]) else {
            panic!("the first has its turn");
        };
        assert!(poll!(&mut modest).is_pending());
        drop(next);
        assert!(matches!(poll!(&mut modest), Poll::Ready(Ok(_))));
        assert!(poll!(&mut greedy[1]).is_ready());
    }

    #[tokio::test]
    async fn places_that_are_held_for_long_delay_the_client_that_holds_them() {
        let turns = Turns::new(2, 100, Gauge::default());
        let held = (
            taken(&turns, client(1)).await,
            taken(&turns, client(1)).await,
        );
        let mut third = waiting(&turns, client(1)).await;
        // It waits until they are held for long.
        let other = taken(&turns, client(2)).await;
        let mut fourth = waiting(&turns, client(3)).await;
        turns.lock().moved -= LONG;
        turns.add_place_where_all_are_held_for_long();
        assert!(poll!(&mut fourth).is_pending(), "one more, and not two");
        drop(other);
        assert!(poll!(&mut third).is_pending());
        assert!(poll!(&mut fourth).is_pending());
        drop(held);
        assert!(poll!(&mut third).is_ready() && poll!(&mut fourth).is_ready());
        assert_eq!(turns.lock().free, 2);
    }

    #[tokio::test]
    async fn a_long_queue_refuses_whoever_fills_it() {
        let gauge = Gauge::default();
        let turns = Turns::new(1, 3, gauge.clone());
        let held = taken(&turns, client(1)).await;
        let mut greedy = Vec::new();
        for _ in 0..3 {
            greedy.push(waiting(&turns, client(1)).await);
        }
        assert!(turns.take(client(1)).await.is_err());
        let _modest = waiting(&turns, client(2)).await;
        assert!(matches!(poll!(&mut greedy[2]), Poll::Ready(Err(QueueFull))));
        assert_eq!(gauge.get(), 3);
        // As many as the greedy one has now.
        let _modest_too = turns.take(client(2)).await.is_err();
        drop(greedy);
        assert_eq!(gauge.get(), 1);
        drop(held);
    }

    #[tokio::test]
    async fn who_leaves_frees_its_place() {
        let gauge = Gauge::default();
        let turns = Turns::new(1, 3, gauge.clone());
        let held = taken(&turns, client(1)).await;
        let first = waiting(&turns, client(1)).await;
        let mut second = waiting(&turns, client(1)).await;
        // Granted, and never looked at.
        drop(held);
        drop(first);
        assert!(matches!(poll!(&mut second), Poll::Ready(Ok(_))));
        drop(second);
        assert_eq!(gauge.get(), 0);
        assert!(turns.lock().clients.is_empty() && turns.lock().order.is_empty());
        assert_eq!(turns.lock().free, 1);
    }

    #[test]
    fn an_address_of_the_same_network_is_the_same_client() {
        let of = |text: &str| ClientKey::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
