//! Jobs that wait, in one queue for each client.

use std::collections::{HashMap, VecDeque};

use graphql_transport::ClientKey;

use super::NotDone;

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

/// The queues of all clients, served in rotation.
#[derive(Default)]
pub struct Queues {
    waiting: usize,
    next_number: u64,
    clients: HashMap<ClientKey, Client>,
    /// Clients with a job that waits. The first one is next.
    order: VecDeque<ClientKey>,
}

#[derive(Default)]
struct Client {
    running: usize,
    queue: VecDeque<(u64, Job)>,
}

impl Queues {
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

    /// Takes the next job, of the next client that may have one more running. To be followed by [`Self::end`].
    pub fn next(&mut self, running_max: usize) -> Option<(ClientKey, Job)> {
        let index = self.next_index(running_max)?;
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
    pub fn has_next(&self, running_max: usize) -> bool {
        self.next_index(running_max).is_some()
    }

    fn next_index(&self, running_max: usize) -> Option<usize> {
        let may_run = |it: &ClientKey| {
            let client = self.clients.get(it);
            client.is_some_and(|it| it.running < running_max)
        };
        self.order.iter().position(may_run)
    }

    /// A job of the client is done.
    pub fn end(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(&key) {
            client.running -= 1;
        }
        self.forget_if_unused(key);
    }

    /// Takes a job out that still waits.
    pub fn remove(&mut self, key: ClientKey, number: u64) -> Option<Job> {
        let queue = &mut self.clients.get_mut(&key)?.queue;
        let index = queue.iter().position(|(it, _)| *it == number)?;
        let (_, job) = queue.remove(index)?;
        self.waiting -= 1;
        if queue.is_empty() {
            self.order.retain(|it| *it != key);
            self.forget_if_unused(key);
        }
        Some(job)
    }

    fn forget_if_unused(&mut self, key: ClientKey) {
        let is_unused = |it: &Client| it.running == 0 && it.queue.is_empty();
        if self.clients.get(&key).is_some_and(is_unused) {
            self.clients.remove(&key);
        }
    }

    /// Whether nothing waits or runs.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.order.is_empty() && self.waiting == 0
    }
}
