//! Turns: how many calls of one kind run at the same time, so that slow ones leave connections to others.
//!
//! A turn is taken before a call, and moved into it: the call keeps it until the server has answered, also when its
//! client has left. Those who wait are bounded, and so is how long each waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::oid::ObjectId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::Overloaded;

/// Who waits for a turn, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct TurnLimits {
    /// Those who wait. One more fails with [`Overloaded::QueueFull`].
    pub waiting_max: usize,
    /// How long each waits before it fails with [`Overloaded::WaitedTooLong`].
    pub wait_max: Duration,
}

/// Turns of one kind of call. Clones share them.
#[derive(Clone, Debug)]
pub struct Turns {
    free: Arc<Semaphore>,
    places: Arc<Semaphore>,
    wait_max: Duration,
}

/// The right to make one call. It ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _turn: OwnedSemaphorePermit,
}

impl Turns {
    /// So many at the same time.
    pub fn new(at_once: usize, limits: TurnLimits) -> Self {
        Self {
            free: Arc::new(Semaphore::new(at_once)),
            places: Arc::new(Semaphore::new(limits.waiting_max)),
            wait_max: limits.wait_max,
        }
    }

    /// Waits for a turn, first come, first served.
    ///
    /// # Errors
    /// [`Overloaded`] when too many wait, or it does not come in time.
    pub async fn take(&self) -> Result<Turn, Overloaded> {
        if let Ok(turn) = self.free.clone().try_acquire_owned() {
            return Ok(Turn { _turn: turn });
        }
        let place = self.places.try_acquire();
        let _place = place.map_err(|_| Overloaded::QueueFull)?;
        wait(&self.free, self.wait_max).await
    }
}

/// Turns of calls that would be in each other's way where they have the same key: of those, one runs at a time. Clones
/// share them. A key that nobody uses is not kept.
#[derive(Clone, Debug)]
pub struct KeyedTurns {
    queues: Arc<Mutex<Queues>>,
    limits: TurnLimits,
    /// Those who have or wait for a turn, of all keys together.
    users_max: usize,
}

#[derive(Debug, Default)]
struct Queues {
    of_keys: HashMap<ObjectId, Queue>,
    users: usize,
}

#[derive(Debug)]
struct Queue {
    turn: Arc<Semaphore>,
    /// Those who have the turn or wait for it.
    users: usize,
}

/// The only right to make a call with one key. It ends when this is dropped.
#[derive(Debug)]
pub struct KeyedTurn {
    // Before the place: the next one may have the turn when the queue loses a user.
    _turn: Turn,
    _place: Place,
}

impl KeyedTurns {
    /// The limits are those of each key.
    pub fn new(users_max: usize, limits: TurnLimits) -> Self {
        Self {
            queues: Arc::default(),
            limits,
            users_max,
        }
    }

    /// Waits for the turn of a key, first come, first served.
    ///
    /// # Errors
    /// [`Overloaded`] when too many wait, or it does not come in time.
    pub async fn take(&self, key: ObjectId) -> Result<KeyedTurn, Overloaded> {
        let (turn, place) = self.join(key)?;
        Ok(KeyedTurn {
            _turn: wait(&turn, self.limits.wait_max).await?,
            _place: place,
        })
    }

    fn join(&self, key: ObjectId) -> Result<(Arc<Semaphore>, Place), Overloaded> {
        let mut queues = lock(&self.queues);
        let users = queues.of_keys.get(&key).map_or(0, |queue| queue.users);
        // One has the turn.
        if users > self.limits.waiting_max || queues.users >= self.users_max {
            return Err(Overloaded::QueueFull);
        }
        queues.users += 1;
        let queue = queues.of_keys.entry(key).or_insert_with(|| Queue {
            turn: Arc::new(Semaphore::new(1)),
            users: 0,
        });
        queue.users += 1;
        let place = Place {
            queues: self.queues.clone(),
            key,
        };
        Ok((queue.turn.clone(), place))
    }
}

/// A user of a queue, who leaves it when this is dropped.
#[derive(Debug)]
struct Place {
    queues: Arc<Mutex<Queues>>,
    key: ObjectId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut queues = lock(&self.queues);
        queues.users -= 1;
        let Some(queue) = queues.of_keys.get_mut(&self.key) else {
            return;
        };
        queue.users -= 1;
        if queue.users == 0 {
            queues.of_keys.remove(&self.key);
        }
    }
}

/// Nothing that may panic is done under the lock.
fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn wait(turns: &Arc<Semaphore>, wait_max: Duration) -> Result<Turn, Overloaded> {
    let turn = timeout(wait_max, turns.clone().acquire_owned()).await;
    // The semaphore is never closed.
    let turn = turn.ok().and_then(Result::ok);
    let turn = turn.ok_or(Overloaded::WaitedTooLong)?;
    Ok(Turn { _turn: turn })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LIMITS: TurnLimits = TurnLimits {
        waiting_max: 1,
        wait_max: Duration::from_secs(60),
    };

    #[tokio::test(start_paused = true)]
    async fn so_many_have_a_turn_and_so_many_wait() {
        let turns = Turns::new(1, LIMITS);
        let first = turns.take().await.expect("free");
        let mut second = Box::pin(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        let refused = turns.take().await.map(drop);
        assert_eq!(refused, Err(Overloaded::QueueFull));
        drop(first);
        let second = second.await.expect("the next one");
        let late = turns.take().await.map(drop);
        assert_eq!(late, Err(Overloaded::WaitedTooLong));
        drop(second);
        // Who left has left its place.
        turns.take().await.map(drop).expect("free");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_do_not_wait_for_each_other_and_none_is_kept() {
        let turns = KeyedTurns::new(3, LIMITS);
        let (one, other) = (ObjectId::new(), ObjectId::new());
        let first = turns.take(one).await.expect("free");
        let of_other = turns.take(other).await.expect("free");
        let mut second = Box::pin(turns.take(one));
        assert!(second.as_mut().now_or_never().is_none());
        for key in [one, ObjectId::new()] {
            let refused = turns.take(key).await.map(drop);
            assert_eq!(refused, Err(Overloaded::QueueFull), "of the key, of all");
        }
        drop(of_other);
        drop(first);
        drop(second.await.expect("the next one"));
        let third = turns.take(one).await.expect("free");
        let late = turns.take(one).await.map(drop);
        assert_eq!(late, Err(Overloaded::WaitedTooLong));
        drop(third);
        let queues = lock(&turns.queues);
        assert!(queues.of_keys.is_empty());
        assert_eq!(queues.users, 0);
    }
}
