//! A trip to the source of permits.

use std::sync::Arc;

use clock::Clock;

use super::{
    PermitSource, Shared,
    held::{Notice, Outcome},
};
use crate::Limit;

/// Ends a trip whose task was dropped: nobody waits for it any longer.
pub(super) struct Trip<S: PermitSource, C: Clock> {
    shared: Arc<Shared<S, C>>,
    key: Box<[u8]>,
    notice: Option<Notice>,
}

impl<S: PermitSource, C: Clock> Trip<S, C> {
    /// Starts a trip for at least `cost` permits, in a task of its own.
    pub(super) fn start(shared: &Arc<Shared<S, C>>, key: &[u8], limit: &Limit, cost: u32, notice: Notice) {
        let trip = Self { shared: Arc::clone(shared), key: key.into(), notice: Some(notice) };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(trip.make(limit.clone(), cost))),
            // Without a runtime the next request may try.
            Err(_) => drop(trip),
        }
    }

    async fn make(mut self, limit: Limit, cost: u32) {
        let shared = Arc::clone(&self.shared);
        let largest = shared.largest_lot(&limit);
        let now = || shared.clock.now().as_micros();
        let (ended, asked) = shared.lots.set_out(&self.key, now(), cost.min(largest), largest);
        if let Some(held) = ended {
            shared.give_back(&self.key, &held.limit, held.permits, held.at).await;
        }
        let result = shared.source.lease(&self.key, &limit, asked).await;
        self.notice = None;
        if !shared.lots.arrive(&self.key, &limit, now(), shared.options.lasts, &result, asked)
            && let Ok(answer) = result
            && answer.taken > 0
        {
            // Closed meanwhile.
            shared.give_back(&self.key, &limit, answer.taken, answer.at).await;
        }
    }
}

impl<S: PermitSource, C: Clock> Drop for Trip<S, C> {
    fn drop(&mut self) {
        if let Some(notice) = self.notice.take() {
            self.shared.lots.abandon(&self.key);
            notice.tell(Outcome::Failed(backends::ErrorKind::Unavailable));
        }
    }
}
