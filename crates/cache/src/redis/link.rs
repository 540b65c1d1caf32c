//! What other processes invalidate, as the server publishes it.

use backends::{Error, ErrorKind, Result, Subscription, SubscriptionEvent};

use super::{RedisStore, announcement::decode_announcement};
use crate::{Announce, Announcement, Announcements, BoxFuture, Codec, Key};

/// How many invalidations may wait to be read.
const WAITING: usize = 10_000;

/// A subscription to the channel of a store.
#[derive(Debug)]
struct Link {
    subscription: Subscription,
    /// After a message that could not be read, which was a loss.
    is_whole_again: bool,
}

impl<K: Key, V: Send + Sync + 'static, C: Codec<V>> Announce<K> for RedisStore<K, V, C> {
    fn listen(&self) -> Result<Box<dyn Announcements<K>>> {
        if !self.announces {
            let message = "a store that does not announce keeps no copies right: see RedisBuilder::announce";
            return Err(Error::new(ErrorKind::Config, self.redis.backend(), "listen", message));
        }
        let channel = str::from_utf8(&self.channel).map_err(|error| {
            let message = "only a prefix that is text has announcements";
            Error::new(ErrorKind::Config, self.redis.backend(), "listen", message).with_source(error)
        })?;
        let subscription = self.redis.subscribe(&[channel], WAITING)?;
        Ok(Box::new(Link { subscription, is_whole_again: false }))
    }
}

impl<K: Key> Announcements<K> for Link {
    fn next(&mut self) -> BoxFuture<'_, Option<Announcement<K>>> {
        Box::pin(async {
            if std::mem::take(&mut self.is_whole_again) {
                return Some(Announcement::Linked);
            }
            Some(match self.subscription.next().await? {
                SubscriptionEvent::Linked => Announcement::Linked,
                SubscriptionEvent::Message { payload, .. } => match decode_announcement(&payload) {
                    Some((key, floor)) => Announcement::Invalidated { key, floor },
                    None => {
                        self.is_whole_again = true;
                        Announcement::Lost
                    }
                },
                _ => Announcement::Lost,
            })
        })
    }
}
