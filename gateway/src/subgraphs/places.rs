//! Limits the requests that run at one subgraph at the same time, fair by client.
//!
//! A subgraph sees one client, the gateway, and serves its requests as they come. If one client has a thousand
//! requests there, all others wait for them. So a subgraph gets a limited number of requests of each client at a
//! time. It also gets a limited number in all, of which a client may have as many as there are free places: however
//! many greedy clients there are, one with few requests finds a free place (Choudhury and Hahne's dynamic
//! thresholds, <https://doi.org/10.1109/90.664262>). Further requests wait here, and the client with the fewest
//! running ones is next.
//!
//! While fewer requests run than half of what one client may have, nobody counts by client: a request costs a few
//! atomic operations.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use graphql_transport::ClientKey;
use prometheus_client::metrics::gauge::Gauge;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;

use super::FetchError;

/// The room for clients that stays when none is left.
const CLIENTS_KEPT: usize = 64;

/// The places of one subgraph.
pub(super) struct Places {
    places_max: usize,
    /// So many places are given away without counting by client.
    uncounted_max: usize,
    /// How many counted places a client may have.
    per_client_max: usize,
    waiting_max: usize,
    taken: AtomicUsize,
    /// The number of requests that wait.
    waiting: AtomicUsize,
    /// Shows how many wait.
    shown: Gauge,
    clients: Mutex<Clients>,
}

/// A place. Dropping it gives it to the next request.
pub(super) struct Place<'p> {
    places: &'p Places,
    /// The client that it counts for; `None` if it is not counted.
    client: Option<ClientKey>,
}

#[derive(Default)]
struct Clients {
    next_number: u64,
    /// The number of requests that wait.
    waiting: usize,
    /// Requests that have got a place, and have not seen it yet.
    granted: FxHashSet<u64>,
    by_key: FxHashMap<ClientKey, Client>,
    /// Clients with requests that wait; the one that has waited longest is the first.
    order: VecDeque<ClientKey>,
}

#[derive(Default)]
struct Client {
    /// Its counted places.
    taken: usize,
    /// Its requests that wait, by number.
    waiting: BTreeMap<u64, Wake>,
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
}

impl Places {
    /// At most `places_max` requests run, `per_client_max` of them of one client, and `waiting_max` wait. `shown`
    /// shows how many wait.
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

    /// Takes a place while few requests run.
    pub(super) fn try_take(&self) -> Option<Place<'_>> {
        let is_quiet = self.waiting.load(SeqCst) == 0;
        (is_quiet && self.take_below(self.uncounted_max)).then(|| Place {
            places: self,
            client: None,
        })
    }

    /// Takes a place of this client, or waits for one. A caller that leaves stops waiting.
    ///
    /// # Errors
    /// [`FetchError::Overloaded`] if too many requests wait, and no client has more of them than this one.
    pub(super) async fn take(&self, client: ClientKey) -> Result<Place<'_>, FetchError> {
        let (number, woken) = match self.take_or_wait(client)? {
            Taken::Now(place) => return Ok(place),
            Taken::Later(number, woken) => (number, woken),
        };
        let waiting = Waiting {
            places: self,
            client,
            number,
        };
        // An error wakes it, too.
        let _ = woken.await;
        if self.lock().granted.remove(&waiting.number) {
            Ok(self.place_of(client))
        } else {
            Err(self.overloaded())
        }
    }

    fn take_or_wait(&self, client: ClientKey) -> Result<Taken<'_>, FetchError> {
        let mut clients = self.lock();
        let of_client = clients.by_key.entry(client).or_default();
        if of_client.waiting.is_empty() && self.take_for(of_client) {
            return Ok(Taken::Now(self.place_of(client)));
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
        let number = clients.add(client, wake);
        self.show_waiting(&clients);
        drop(clients);
        // After the lock: it wakes the other request.
        drop(displaced);
        // A place may have been given back before this one was seen to wait.
        self.hand_on();
        Ok(Taken::Later(number, woken))
    }

    fn place_of(&self, client: ClientKey) -> Place<'_> {
        Place {
            places: self,
            client: Some(client),
        }
    }

    fn take_below(&self, max: usize) -> bool {
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    /// Takes a place for a client, if it may have one more and has no more than there are free ones.
    fn take_for(&self, client: &mut Client) -> bool {
        if client.taken >= self.per_client_max {
            return false;
        }
        let one_more = |taken| {
            let free = self.places_max.saturating_sub(taken);
            (free > 0 && client.taken <= free).then_some(taken + 1)
        };
        let is_taken = self.taken.fetch_update(SeqCst, SeqCst, one_more).is_ok();
        client.taken += usize::from(is_taken);
        is_taken
    }

    /// Gives free places to those who wait.
    fn hand_on(&self) {
        loop {
            let mut clients = self.lock();
            let next = clients.next(|client| self.take_for(client));
            self.show_waiting(&clients);
            // Waking may end a task, which takes locks.
            drop(clients);
            let Some(next) = next else { return };
            // If it leaves now, it gives the place back.
            let _ = next.send(());
        }
    }

    fn give_back(&self, client: Option<ClientKey>) {
        if let Some(key) = client {
            let mut clients = self.lock();
            if let Some(client) = clients.by_key.get_mut(&key) {
                client.taken -= 1;
            }
            clients.forget_if_unused(key);
        }
        self.taken.fetch_sub(1, SeqCst);
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

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.places.give_back(self.client);
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
            self.places.give_back(Some(self.client));
        }
    }
}

impl Clients {
    /// Adds a request that waits, and returns its number.
    fn add(&mut self, key: ClientKey, wake: Wake) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let waiting = &mut self.by_key.entry(key).or_default().waiting;
        waiting.insert(number, wake);
        if waiting.len() == 1 {
            self.order.push_back(key);
        }
        number
    }

    /// The next request, of the client with the fewest places, if that can `take` one more.
    fn next(&mut self, take: impl FnOnce(&mut Client) -> bool) -> Option<Wake> {
        let places = |index: &usize| self.by_key.get(&self.order[*index]).map(|it| it.taken);
        let index = (0..self.order.len()).min_by_key(places)?;
        let key = self.order[index];
        let client = self
            .by_key
            .get_mut(&key)
            .filter(|it| !it.waiting.is_empty())?;
        if !take(client) {
            return None;
        }
        let (number, wake) = client.waiting.pop_first()?;
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
        let (_, wake) = self.by_key.get_mut(&longest)?.waiting.pop_last()?;
        self.waiting -= 1;
        Some(wake)
    }

    fn remove(&mut self, key: ClientKey, number: u64) -> Option<Wake> {
        let client = self.by_key.get_mut(&key)?;
        let wake = client.waiting.remove(&number)?;
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
        if self.by_key.is_empty() {
            // A burst of clients leaves nothing behind.
            self.by_key.shrink_to(CLIENTS_KEPT);
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

    /// A place that is free.
    fn taken(places: &Places, number: u8) -> Option<Place<'_>> {
        places.take(client(number)).now_or_never()?.ok()
    }

    type Waits<'p> = Pin<Box<dyn Future<Output = Result<Place<'p>, FetchError>> + 'p>>;

    async fn waits(places: &Places, number: u8) -> Waits<'_> {
        let mut waits: Waits<'_> = Box::pin(places.take(client(number)));
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
        let places = Places::new(100, 4, 100, Gauge::default());
        let mut held: Vec<_> = (0..2).filter_map(|_| places.try_take()).collect();
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
    async fn clients_leave_places_for_others() {
        let places = places(12, 100);
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
        let refused = places.take(client(1)).now_or_never().expect("at once");
        assert!(matches!(refused, Err(FetchError::Overloaded(3))));
        let modest = waits(&places, 2).await;
        let displaced = second.as_mut().now_or_never().expect("at once");
        assert!(matches!(displaced, Err(FetchError::Overloaded(3))));
        // As many as the other has now.
        assert!(
            places
                .take(client(2))
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
        let held = [places.try_take(), places.try_take()];
        assert!(held.iter().all(Option::is_some));
        assert!(places.try_take().is_none());
        assert!(places.lock().by_key.is_empty());
        drop(held);
        assert!(places.try_take().is_some());
        assert!(is_empty(&places));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_request_gets_a_place_on_many_threads() {
        let places = Arc::new(places(3, 10_000));
        let all = (0..2_000_u32).map(|number| {
            let places = Arc::clone(&places);
            tokio::spawn(async move {
                let waits = places.take(client((number % 7) as u8));
                if number % 5 == 0 {
                    // Some leave.
                    let _ = tokio::time::timeout(Duration::from_micros(50), waits).await;
                    return;
                }
                let place = waits.await.expect("room");
                assert!(places.taken.load(SeqCst) <= 3);
                tokio::task::yield_now().await;
                drop(place);
            })
        });
        let all = tokio::time::timeout(Duration::from_secs(60), join_all(all)).await;
        assert!(all.expect("in time").iter().all(Result::is_ok));
        assert!(is_empty(&places));
    }
}
