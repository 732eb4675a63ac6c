//! Jobs that wait, in one queue for each client.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use graphql_transport::{ClientKey, turns::Competition};

use super::{
    NotDone,
    share::{Account, Scarcity, Share, Used},
};

/// Work to be done once; it gives its result to its caller by itself.
pub struct Job(Box<dyn FnOnce(Option<NotDone>) + Send>);

impl Job {
    /// `work` gets a reason where it is not to be done.
    pub fn new(work: impl FnOnce(Option<NotDone>) + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Does it.
    pub fn run(self) {
        (self.0)(None);
    }

    /// Tells its caller that it is not done.
    pub fn refuse(self, reason: NotDone) {
        (self.0)(Some(reason));
    }
}

/// The queues of all clients, served in rotation. While processors are scarce and clients compete for them, a
/// client that has used more than its share pauses.
pub struct Queues {
    share: Share,
    scarcity: Scarcity,
    competition: Competition,
    waiting: usize,
    next_number: u64,
    clients: HashMap<ClientKey, Client>,
    /// Clients with a job that waits. The first one is next.
    order: VecDeque<ClientKey>,
}

#[derive(Default)]
struct Client {
    running: usize,
    account: Account,
    queue: VecDeque<(u64, Job)>,
}

impl Queues {
    /// Nothing waits. The share holds while there is `competition`.
    pub fn new(share: Share, competition: Competition) -> Self {
        Self {
            share,
            scarcity: Scarcity::default(),
            competition,
            waiting: 0,
            next_number: 0,
            clients: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds a job. Returns its number, and the job that gave way to it where `waiting_max` jobs wait already.
    ///
    /// # Errors
    /// Where so many wait, and no client has more of them than this one.
    pub fn add(
        &mut self,
        client: ClientKey,
        job: Job,
        waiting_max: usize,
    ) -> Result<(u64, Option<Job>), NotDone> {
        let is_full = self.waiting >= waiting_max;
        let displaced = is_full.then(|| self.make_room(client)).transpose()?;
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        if self.clients.len() == self.clients.capacity() {
            self.forget_paid(Instant::now());
        }
        let queue = &mut self.clients.entry(client).or_default().queue;
        queue.push_back((number, job));
        if queue.len() == 1 {
            self.order.push_back(client);
        }
        Ok((number, displaced))
    }

    /// Takes the last job of the client with the most, if that has more than `client` would have.
    fn make_room(&mut self, client: ClientKey) -> Result<Job, NotDone> {
        let waiting = |it: &ClientKey| self.clients.get(it).map_or(0, |it| it.queue.len());
        let longest = self.order.iter().max_by_key(|it| waiting(it)).copied();
        let longest = longest.filter(|it| waiting(it) > waiting(&client) + 1);
        let queue = longest.and_then(|it| self.clients.get_mut(&it));
        let last = queue.and_then(|it| it.queue.pop_back());
        let (_, job) = last.ok_or(NotDone::QueueFull)?;
        self.waiting -= 1;
        Ok(job)
    }

    /// Takes the next job, of the next client that may have one more running and need not pause. To be followed by
    /// [`Self::end`].
    pub fn next(&mut self, running_max: usize, now: Instant) -> Option<(ClientKey, Job)> {
        let index = self.next_index(running_max, now)?;
        let key = self.order.remove(index)?;
        let client = self.clients.get_mut(&key)?;
        let (_, job) = client.queue.pop_front()?;
        client.running += 1;
        self.waiting -= 1;
        if !client.queue.is_empty() {
            self.order.push_back(key);
        }
        Some((key, job))
    }

    /// Whether there is such a job.
    pub fn has_next(&self, running_max: usize, now: Instant) -> bool {
        self.next_index(running_max, now).is_some()
    }

    /// How long all clients with jobs have to pause; `None` where no job waits.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let pauses = self.order.iter().filter_map(|it| self.clients.get(it));
        pauses.map(|it| self.pause_of(it, now)).min()
    }

    fn next_index(&self, running_max: usize, now: Instant) -> Option<usize> {
        let may_run = |it: &ClientKey| {
            let client = self.clients.get(it);
            client.is_some_and(|it| it.running < running_max && self.pause_of(it, now).is_zero())
        };
        self.order.iter().position(may_run)
    }

    fn pause_of(&self, client: &Client, now: Instant) -> Duration {
        if self.share_holds() {
            client.account.pause(self.share, now)
        } else {
            Duration::ZERO
        }
    }

    fn share_holds(&self) -> bool {
        self.scarcity.holds() && self.competition.holds()
    }

    /// A job of the client is done, and has used so much. Returns whether the client has to pause.
    pub fn end(&mut self, key: ClientKey, used: Used, now: Instant) -> bool {
        self.scarcity.add(used);
        let Some(client) = self.clients.get_mut(&key) else {
            return false;
        };
        client.running -= 1;
        client.account.charge(used.ran, self.share, now);
        let pause = client.account.pause(self.share, now);
        !client.queue.is_empty() && !pause.is_zero() && self.share_holds()
    }

    /// Takes a job out that still waits.
    pub fn remove(&mut self, key: ClientKey, number: u64) -> Option<Job> {
        let queue = &mut self.clients.get_mut(&key)?.queue;
        let index = queue.iter().position(|(it, _)| *it == number)?;
        let (_, job) = queue.remove(index)?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.order.retain(|it| *it != key);
        }
        Some(job)
    }

    /// Forgets clients of which nothing waits or runs and nothing is to be paid. As their number is bounded by what
    /// is prepared within a few seconds, it is enough to look when the map is full.
    fn forget_paid(&mut self, now: Instant) {
        self.clients.retain(|_, client| {
            client.running > 0 || !client.queue.is_empty() || !client.account.is_paid(now)
        });
        // The next look comes when they are twice as many.
        self.clients.shrink_to(2 * self.clients.len());
        self.clients.reserve(self.clients.len());
    }

    /// Of how many clients something is known.
    #[cfg(test)]
    pub fn clients_known(&self) -> usize {
        self.clients.len()
    }

    /// Whether nothing waits or runs.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let mut clients = self.clients.values();
        let is_idle = clients.all(|it| it.running == 0 && it.queue.is_empty());
        is_idle && self.order.is_empty() && self.waiting == 0
    }
}
