use std::{collections::HashMap, sync::Arc, time::Duration};

use backends::Result;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{Decision, RateLimiter, Store};

/// A queue for each key that somebody waits for: first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Queues(Mutex<HashMap<Vec<u8>, Arc<Semaphore>>>);

/// A place in the queue of a key; leaving it empties the queue when it was the last.
struct Place<'a> {
    queues: &'a Queues,
    key: &'a [u8],
    queue: Arc<Semaphore>,
}

impl Queues {
    fn place<'a>(&'a self, key: &'a [u8]) -> Place<'a> {
        let mut queues = self.0.lock();
        let queue = match queues.get(key) {
            Some(queue) => Arc::clone(queue),
            None => Arc::clone(queues.entry(key.to_vec()).or_insert_with(|| Arc::new(Semaphore::new(1)))),
        };
        Place { queues: self, key, queue }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.queues.0.lock();
        // The map's and this one: nobody else waits, and nobody can come while the map is locked.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(self.key);
        }
    }
}

impl<S: Store> RateLimiter<S> {
    /// Takes `cost` tokens from `key`, waiting for them, but not longer than `at_most`.
    ///
    /// Those who wait for the same key through this limiter are served in the order in which they came;
    /// whoever asks without waiting may come in between. Denied at once when the wait would be longer than
    /// `at_most`, as far as can be seen; a queue that is longer than that is left when the time is over.
    ///
    /// # Errors
    ///
    /// Those of [`Store::ask`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped while it waits leaves the queue and has taken nothing.
    pub async fn wait(&self, key: impl AsRef<[u8]> + Send, cost: u32, at_most: Duration) -> Result<Decision> {
        let key = key.as_ref();
        let place = self.queues().place(key);
        let deadline = tokio::time::Instant::now() + at_most;
        let turn = tokio::time::timeout_at(deadline, place.queue.acquire()).await;
        loop {
            // Also when the turn did not come in time: the answer says when to come back.
            let decision =
                if turn.is_ok() { self.acquire(key, cost).await? } else { self.peek(key, cost).await? };
            match decision {
                Decision::Denied { retry_after }
                    if turn.is_ok() && tokio::time::Instant::now() + retry_after <= deadline =>
                {
                    tokio::time::sleep(retry_after).await;
                }
                Decision::Allowed { reset_after, .. } if turn.is_err() => {
                    return Ok(Decision::Denied { retry_after: reset_after });
                }
                decision => return Ok(decision),
            }
        }
    }
}
