//! Limits the requests that run at one subgraph at the same time, fair by client.
//!
//! A subgraph sees one client, the gateway, and serves its requests as they come. If one client has a thousand
//! requests there, all others wait for them. So a subgraph gets a limited number of requests of each client at a
//! time. It also gets a limited number in all, of which a client may have as many as there are free places: however
//! many greedy clients there are, one with few requests finds a free place (Choudhury and Hahne's dynamic
//! thresholds, <https://doi.org/10.1109/90.664262>). Further requests wait here, and the client with the fewest
//! running ones is next. The number of each client holds while there are others: a client that is alone, such as a
//! proxy with all clients behind it, has half of all places.
//!
//! A request with a large answer takes several places: it is as much work, and memory, as many small ones. The size
//! is that of the operation's last answer.
//!
//! While fewer requests run than half of what one client may have, nobody counts by client: a request costs a few
//! atomic operations.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use graphql_transport::ClientKey;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::FetchError;

/// A request takes one more place for each so many bytes of its answer.
const PLACE_BYTES: usize = 64 * 1024;

/// A client is alone when no other was counted for so long.
const ALONE_AFTER: Duration = Duration::from_secs(2);

/// The places of one subgraph.
pub(super) struct Places {
    places_max: usize,
    /// So many places are given away without counting by client.
    uncounted_max: usize,
    /// How many counted places a client may have while there are others.
    per_client_max: usize,
    waiting_max: usize,
    taken: AtomicUsize,
    /// The number of requests that wait.
    waiting: AtomicUsize,
    /// Shows how many wait.
    shown: Gauge,
    clients: Mutex<Clients>,
}

/// The places of a request. Dropping them gives them to the next one.
pub(super) struct Place<'p> {
    places: &'p Places,
    /// The client that it counts for; `None` if it is not counted.
    client: Option<ClientKey>,
    /// How many they are.
    count: usize,
}

#[derive(Default)]
struct Clients {
    next_number: u64,
    /// The number of requests that wait.
    waiting: usize,
    /// Requests that have got a place, and have not seen it yet.
    granted: BTreeSet<u64>,
    by_key: BTreeMap<ClientKey, Client>,
    /// Until then no client counts as alone.
    shared_until: Option<Instant>,
    /// Clients with requests that wait; the one that has waited longest is the first.
    order: VecDeque<ClientKey>,
}

#[derive(Default)]
struct Client {
    /// How many places its running requests hold, as far as they are counted for it.
    taken: usize,
    /// Its requests that wait, by number: how many places each takes.
    waiting: BTreeMap<u64, (usize, Wake)>,
}

/// Wakes a request that waits. When it wakes up, it has got a place, or has given way to a client with fewer
/// requests.
type Wake = oneshot::Sender<()>;

enum Taken<'p> {
    Now(Place<'p>),
    Later(u64, oneshot::Receiver<()>),
}

/// A request that waits for a place. Dropping it ends the wait.
struct Waiting<'p> {
    places: &'p Places,
    client: ClientKey,
    number: u64,
    count: usize,
}

impl Places {
    /// At most `places_max` requests run, `per_client_max` of them of one client while there are others, and
    /// `waiting_max` wait. `shown` shows how many wait.
    pub(super) fn new(
        places_max: usize,
        per_client_max: usize,
        waiting_max: usize,
        shown: Gauge,
    ) -> Self {
        let places_max = places_max.max(1);
        let per_client_max = per_client_max.clamp(1, places_max);
        let uncounted_max = per_client_max / 2;
        Self {
            places_max,
            uncounted_max,
            per_client_max: per_client_max - uncounted_max,
            waiting_max,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            shown,
            clients: Mutex::default(),
        }
    }

    /// Takes the places of a request with an answer of so many bytes, while few requests run.
    pub(super) fn try_take(&self, answer_bytes: usize) -> Option<Place<'_>> {
        let count = places_of(answer_bytes);
        let is_quiet = self.waiting.load(SeqCst) == 0;
        (is_quiet && self.take_up_to(self.uncounted_max, count)).then(|| Place {
            places: self,
            client: None,
            count,
        })
    }

    /// Takes places of this client, or waits for them. A caller that leaves stops waiting.
    ///
    /// # Errors
    /// [`FetchError::Overloaded`] if too many requests wait, and no client has more of them than this one.
    pub(super) async fn take(
        &self,
        client: ClientKey,
        answer_bytes: usize,
    ) -> Result<Place<'_>, FetchError> {
        let count = places_of(answer_bytes);
        let (number, woken) = match self.take_or_wait(client, count)? {
            Taken::Now(place) => return Ok(place),
            Taken::Later(number, woken) => (number, woken),
        };
        let waiting = Waiting {
            places: self,
            client,
            number,
            count,
        };
        // An error wakes it, too.
        let _ = woken.await;
        if self.lock().granted.remove(&waiting.number) {
            Ok(self.place_of(client, count))
        } else {
            Err(self.overloaded())
        }
    }

    fn take_or_wait(&self, client: ClientKey, count: usize) -> Result<Taken<'_>, FetchError> {
        let mut clients = self.lock();
        clients.by_key.entry(client).or_default();
        let max = self.max_of_each(&mut clients);
        let of_client = clients.by_key.entry(client).or_default();
        let is_first = of_client.waiting.is_empty();
        if is_first && of_client.may_have(count, max) && self.take_for(of_client, count) {
            return Ok(Taken::Now(self.place_of(client, count)));
        }
        let mut displaced = None;
        if clients.waiting >= self.waiting_max {
            displaced = clients.make_room(client);
            if displaced.is_none() {
                clients.forget_if_unused(client);
                return Err(self.overloaded());
            }
        }
        let (wake, woken) = oneshot::channel();
        let number = clients.add(client, count, wake);
        self.show_waiting(&clients);
        drop(clients);
        // After the lock: it wakes the other request.
        drop(displaced);
        // A place may have been given back before this one was seen to wait.
        self.hand_on();
        Ok(Taken::Later(number, woken))
    }

    fn place_of(&self, client: ClientKey, count: usize) -> Place<'_> {
        Place {
            places: self,
            client: Some(client),
            count,
        }
    }

    fn take_up_to(&self, max: usize, count: usize) -> bool {
        let more = |taken| (taken + count <= max).then_some(taken + count);
        self.taken.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// How many counted places a client may have now.
    fn max_of_each(&self, clients: &mut Clients) -> usize {
        let now = Instant::now();
        if clients.by_key.len() > 1 {
            clients.shared_until = Some(now + ALONE_AFTER);
        }
        match clients.shared_until {
            Some(until) if now < until => self.per_client_max,
            _ => self.places_max,
        }
    }

    /// Takes places for a client, if it has no more than there are free ones.
    fn take_for(&self, client: &mut Client, count: usize) -> bool {
        let more = |taken| {
            let free = self.places_max.saturating_sub(taken);
            (free > 0 && client.taken <= free).then_some(taken + count)
        };
        let is_taken = self.taken.fetch_update(SeqCst, SeqCst, more).is_ok();
        if is_taken {
            client.taken += count;
        }
        is_taken
    }

    /// Gives free places to those who wait.
    fn hand_on(&self) {
        loop {
            let mut clients = self.lock();
            let max = self.max_of_each(&mut clients);
            let next = clients.next(max, |client, count| self.take_for(client, count));
            self.show_waiting(&clients);
            // Waking may end a task, which takes locks.
            drop(clients);
            let Some(next) = next else { return };
            // If it leaves now, it gives the place back.
            let _ = next.send(());
        }
    }

    fn give_back(&self, client: Option<ClientKey>, count: usize) {
        if let Some(key) = client {
            let mut clients = self.lock();
            if let Some(client) = clients.by_key.get_mut(&key) {
                client.taken -= count;
            }
            clients.forget_if_unused(key);
        }
        self.taken.fetch_sub(count, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.hand_on();
        }
    }

    fn overloaded(&self) -> FetchError {
        FetchError::Overloaded(self.waiting_max + self.places_max)
    }

    fn show_waiting(&self, clients: &Clients) {
        let before = self.waiting.swap(clients.waiting, SeqCst);
        self.shown.inc_by(clients.waiting as i64 - before as i64);
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many places a request with such an answer takes.
fn places_of(answer_bytes: usize) -> usize {
    1 + answer_bytes / PLACE_BYTES
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.give_back(self.client, self.count);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut clients = self.places.lock();
        let wake = clients.remove(self.client, self.number);
        self.places.show_waiting(&clients);
        let has_place = clients.granted.remove(&self.number);
        drop(clients);
        drop(wake);
        if has_place {
            self.places.give_back(Some(self.client), self.count);
        }
    }
}

impl Client {
    /// Whether it may have so many more, of at most `max`. A request that takes more than that runs alone.
    fn may_have(&self, count: usize, max: usize) -> bool {
        self.taken == 0 || self.taken + count <= max
    }
}

impl Clients {
    /// Adds a request that waits, and returns its number.
    fn add(&mut self, key: ClientKey, count: usize, wake: Wake) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let waiting = &mut self.by_key.entry(key).or_default().waiting;
        waiting.insert(number, (count, wake));
        if waiting.len() == 1 {
            self.order.push_back(key);
        }
        number
    }

    /// The next request: of the clients whose next one leaves them at most `max` places, that of the client with the
    /// fewest, if it can `take` them.
    fn next(&mut self, max: usize, take: impl FnOnce(&mut Client, usize) -> bool) -> Option<Wake> {
        let clients = self.order.iter().enumerate().filter_map(|(index, key)| {
            let client = self.by_key.get(key)?;
            let (_, (count, _)) = client.waiting.first_key_value()?;
            client
                .may_have(*count, max)
                .then_some((client.taken, index, *count))
        });
        let (_, index, count) = clients.min()?;
        let key = self.order[index];
        let client = self.by_key.get_mut(&key)?;
        if !take(client, count) {
            return None;
        }
        let (number, (_, wake)) = client.waiting.pop_first()?;
        self.order.remove(index);
        if !client.waiting.is_empty() {
            self.order.push_back(key);
        }
        self.waiting -= 1;
        self.granted.insert(number);
        Some(wake)
    }

    /// Removes the last request of the client with the most that wait, if that has more than `client` would have.
    fn make_room(&mut self, client: ClientKey) -> Option<Wake> {
        let waiting = |key: &ClientKey| self.by_key.get(key).map_or(0, |it| it.waiting.len());
        let longest = *self.order.iter().max_by_key(|key| waiting(key))?;
        if waiting(&longest) <= waiting(&client) + 1 {
            return None;
        }
        let (_, (_, wake)) = self.by_key.get_mut(&longest)?.waiting.pop_last()?;
        self.waiting -= 1;
        Some(wake)
    }

    fn remove(&mut self, key: ClientKey, number: u64) -> Option<Wake> {
        let client = self.by_key.get_mut(&key)?;
        let (_, wake) = client.waiting.remove(&number)?;
        self.waiting -= 1;
        if client.waiting.is_empty() {
            self.order.retain(|it| *it != key);
            self.forget_if_unused(key);
        }
        Some(wake)
    }

    fn forget_if_unused(&mut self, key: ClientKey) {
        let is_unused = |it: &Client| it.taken == 0 && it.waiting.is_empty();
        if self.by_key.get(&key).is_some_and(is_unused) {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, sync::Arc, time::Duration};

    use futures_util::{FutureExt, future::join_all, poll};

    use super::*;

    fn client(number: u8) -> ClientKey {
        ClientKey::of([10, 0, 0, number].into())
    }

    fn places(places_max: usize, waiting_max: usize) -> Places {
        Places::new(places_max, places_max, waiting_max, Gauge::default())
    }

    /// The same, while there are other clients.
    fn shared_places(places_max: usize, per_client_max: usize) -> Places {
        let places = Places::new(places_max, per_client_max, 100, Gauge::default());
        keep_shared(&places);
        places
    }

    fn keep_shared(places: &Places) {
        places.lock().shared_until = Some(Instant::now() + Duration::from_secs(600));
    }

    /// A place that is free.
    fn taken(places: &Places, number: u8) -> Option<Place<'_>> {
        places.take(client(number), 0).now_or_never()?.ok()
    }

    type Waits<'p> = Pin<Box<dyn Future<Output = Result<Place<'p>, FetchError>> + 'p>>;

    async fn waits(places: &Places, number: u8) -> Waits<'_> {
        let mut waits: Waits<'_> = Box::pin(places.take(client(number), 0));
        assert!(poll!(&mut waits).is_pending());
        waits
    }

    fn is_empty(places: &Places) -> bool {
        let clients = places.lock();
        clients.by_key.is_empty()
            && clients.order.is_empty()
            && clients.granted.is_empty()
            && places.taken.load(SeqCst) == 0
            && places.shown.get() == 0
    }

    #[tokio::test]
    async fn a_client_has_its_number_of_places_whoever_else_is_there() {
        let places = shared_places(100, 4);
        let mut held: Vec<_> = (0..2).filter_map(|_| places.try_take(0)).collect();
        assert_eq!(held.len(), 2);
        for number in [1, 2] {
            held.extend((0..2).filter_map(|_| taken(&places, number)));
            let waits = waits(&places, number).await;
            drop(waits);
        }
        assert_eq!(held.len(), 6);
        drop(held);
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn a_client_that_is_alone_has_half_of_all_places() {
        let places = Places::new(100, 4, 100, Gauge::default());
        let alone: Vec<_> = std::iter::from_fn(|| taken(&places, 1)).collect();
        assert!(alone.len() >= 50, "{}", alone.len());
        // When another one has come, it waits until it has fewer than its number again.
        let other: Vec<_> = std::iter::from_fn(|| taken(&places, 2)).collect();
        assert_eq!(other.len(), 2);
        keep_shared(&places);
        drop(other);
        let mut waits = waits(&places, 1).await;
        let mut left = alone.into_iter();
        let last = left.by_ref().next();
        left.by_ref().take(48).for_each(drop);
        assert!(poll!(&mut waits).is_pending());
        left.for_each(drop);
        assert!(poll!(&mut waits).is_ready());
        drop((last, waits));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn a_large_answer_takes_several_places() {
        let places = shared_places(100, 8);
        assert!(places.try_take(4 * PLACE_BYTES).is_none());
        let large = |number| places.take(client(number), 9 * PLACE_BYTES);
        // It is larger than what a client may have: it runs alone.
        let first = large(1).now_or_never().expect("free").expect("room");
        let mut second: Waits<'_> = Box::pin(large(1));
        assert!(poll!(&mut second).is_pending());
        let other = taken(&places, 2).expect("a place");
        assert_eq!(places.taken.load(SeqCst), 11);
        drop(first);
        let second = second.now_or_never().expect("free");
        drop((second, other));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn who_waits_for_its_own_requests_delays_no_other_client() {
        let places = shared_places(100, 8);
        let small = taken(&places, 1).expect("a place");
        let mut large: Waits<'_> = Box::pin(places.take(client(1), 7 * PLACE_BYTES));
        assert!(poll!(&mut large).is_pending());
        let held: Vec<_> = (0..4).filter_map(|_| taken(&places, 2)).collect();
        assert_eq!(held.len(), 4);
        let mut waits = waits(&places, 2).await;
        drop(held);
        assert!(poll!(&mut waits).is_ready());
        drop((small, large, waits));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn clients_leave_places_for_others() {
        let places = places(12, 100);
        keep_shared(&places);
        let mut held = Vec::new();
        while let Some(place) = taken(&places, 1) {
            held.push(place);
        }
        assert_eq!(held.len(), 6);
        let greedy = waits(&places, 1).await;
        let mut others = Vec::new();
        while let Some(place) = taken(&places, 2) {
            others.push(place);
        }
        assert_eq!(others.len(), 4);
        assert!(taken(&places, 3).is_some());
        drop((greedy, held, others));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn who_has_the_fewest_places_is_next() {
        let places = places(4, 100);
        let held = [1, 1, 2].map(|number| taken(&places, number).expect("a place"));
        let last = taken(&places, 3).expect("a place");
        let mut greedy = waits(&places, 1).await;
        let mut modest = waits(&places, 4).await;
        drop(last);
        let place = poll!(&mut modest);
        assert!(place.is_ready());
        assert!(poll!(&mut greedy).is_pending());
        drop(held);
        assert!(poll!(&mut greedy).is_ready());
        drop((greedy, modest, place));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_whoever_fills_it() {
        let places = places(1, 2);
        let held = taken(&places, 1).expect("a place");
        let first = waits(&places, 1).await;
        let mut second = waits(&places, 1).await;
        assert_eq!(places.shown.get(), 2);
        let refused = places.take(client(1), 0).now_or_never().expect("at once");
        assert!(matches!(refused, Err(FetchError::Overloaded(3))));
        let modest = waits(&places, 2).await;
        let displaced = second.as_mut().now_or_never().expect("at once");
        assert!(matches!(displaced, Err(FetchError::Overloaded(3))));
        // As many as the other has now.
        assert!(
            places
                .take(client(2), 0)
                .now_or_never()
                .expect("at once")
                .is_err()
        );
        drop((held, first, second, modest, displaced));
        assert!(is_empty(&places));
    }

    #[tokio::test]
    async fn who_leaves_passes_its_place_on() {
        let places = places(1, 100);
        let held = taken(&places, 1).expect("a place");
        let leaves = waits(&places, 1).await;
        let gone = waits(&places, 2).await;
        let mut stays = waits(&places, 3).await;
        drop(gone);
        drop(held);
        // It has the place now, and leaves without seeing it.
        drop(leaves);
        assert!(poll!(&mut stays).is_ready());
        drop(stays);
        assert!(is_empty(&places));
    }

    #[test]
    fn while_few_requests_run_nobody_is_counted() {
        let places = places(4, 100);
        let held = [places.try_take(0), places.try_take(0)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.try_take(0).is_none());
        assert!(places.lock().by_key.is_empty());
        drop(held);
        assert!(places.try_take(0).is_some());
        assert!(is_empty(&places));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_request_gets_a_place_on_many_threads() {
        let places = Arc::new(places(3, 10_000));
        let all = (0..2_000_u32).map(|number| {
            let places = Arc::clone(&places);
            tokio::spawn(async move {
                let waits = places.take(
                    client((number % 7) as u8),
                    number as usize % 3 * PLACE_BYTES,
                );
                if number % 5 == 0 {
                    // Some leave.
                    let _ = tokio::time::timeout(Duration::from_micros(50), waits).await;
                    return;
                }
                let place = waits.await.expect("room");
                assert!(places.taken.load(SeqCst) <= 5);
                tokio::task::yield_now().await;
                drop(place);
            })
        });
        let all = tokio::time::timeout(Duration::from_secs(60), join_all(all)).await;
        assert!(all.expect("in time").iter().all(Result::is_ok));
        assert!(is_empty(&places));
    }
}
