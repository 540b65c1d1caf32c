//! Between a connection that must be read and a reader that may be slow.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{Error, ErrorKind};

/// Bytes of messages that may wait to be read.
const MAX_BYTES: usize = 64 << 20;

/// What happens to a subscription. Between `Linked` and `Lost` no message is missing that the server had
/// for it; between `Lost` and `Linked`, any number may be.
#[derive(Debug)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// From here on, messages come.
    Linked,
    /// A message was published.
    #[non_exhaustive]
    Message {
        /// On this channel.
        channel: Arc<str>,
        /// What was published.
        payload: Vec<u8>,
    },
    /// From here on, messages may be missing: the connection was lost or could not be made, or the reader
    /// is too slow, which is an `Overloaded` error.
    Lost(Error),
}

#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Never two of `Linked` and `Lost` that say nothing new: there are at most twice as many of them as
    /// messages, and two.
    events: VecDeque<SubscriptionEvent>,
    messages: usize,
    bytes: usize,
    /// What the reader was told last.
    told: Told,
    /// Whether the connection is there.
    is_linked: bool,
    /// Whether messages are dropped until the reader has read what waits.
    is_full: bool,
    has_ended: bool,
    dropped: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Linked,
    Lost,
}

/// Tells the reader that nothing more will come.
pub(super) struct Ended(pub(super) Arc<Inbox>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.queue().has_ended = true;
        self.0.filled.notify_one();
    }
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self { queue: Mutex::default(), filled: Notify::new(), capacity }
    }

    /// The connection is there.
    pub(super) fn linked(&self) {
        let mut queue = self.queue();
        queue.is_linked = true;
        if !queue.is_full {
            queue.events.push_back(SubscriptionEvent::Linked);
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// The connection is gone, or could not be made.
    pub(super) fn lost(&self, why: impl FnOnce() -> Error) {
        let mut queue = self.queue();
        queue.is_linked = false;
        queue.lose(why);
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn message(&self, backend: &'static str, channel: &Arc<str>, payload: Vec<u8>) {
        let mut queue = self.queue();
        let bytes = queue.bytes + payload.len();
        // One that is larger than the limit is let through alone.
        let has_room = queue.messages == 0 || queue.messages < self.capacity && bytes <= MAX_BYTES;
        if has_room && !queue.is_full {
            queue.messages += 1;
            queue.bytes = bytes;
            let channel = Arc::clone(channel);
            queue.events.push_back(SubscriptionEvent::Message { channel, payload });
        } else {
            queue.dropped += 1;
            queue.is_full = true;
            queue.lose(|| {
                let text = "messages come faster than they are read";
                Error::new(ErrorKind::Overloaded, backend, super::OP, text)
            });
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// Cancel safe.
    pub(super) async fn next(&self) -> Option<SubscriptionEvent> {
        loop {
            {
                let mut queue = self.queue();
                let event = queue.pop();
                if event.is_some() || queue.has_ended {
                    return event;
                }
            }
            self.filled.notified().await;
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn lose(&mut self, why: impl FnOnce() -> Error) {
        if matches!(self.events.back(), Some(SubscriptionEvent::Linked)) {
            // Nothing came of it.
            self.events.pop_back();
        }
        if self.events.back().map_or(self.told, told) != Told::Lost {
            self.events.push_back(SubscriptionEvent::Lost(why()));
        }
    }

    fn pop(&mut self) -> Option<SubscriptionEvent> {
        let event = self.events.pop_front()?;
        if let SubscriptionEvent::Message { payload, .. } = &event {
            self.messages -= 1;
            self.bytes -= payload.len();
        }
        self.told = told(&event);
        // The last one is `Lost` where messages were dropped.
        if self.events.is_empty() && self.is_full {
            self.is_full = false;
            if self.is_linked {
                self.events.push_back(SubscriptionEvent::Linked);
            }
        }
        Some(event)
    }
}

fn told(event: &SubscriptionEvent) -> Told {
    match event {
        SubscriptionEvent::Lost(_) => Told::Lost,
        SubscriptionEvent::Linked | SubscriptionEvent::Message { .. } => Told::Linked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(inbox: &Inbox, text: &str) {
        inbox.message("redis", &Arc::from("c"), text.as_bytes().to_vec());
    }

    fn cut(inbox: &Inbox) {
        inbox.lost(|| Error::new(ErrorKind::Unavailable, "redis", "subscribe", "cut"));
    }

    /// What waits, as `+` for a link, `-` for a loss, `!` for one by a slow reader, and messages.
    fn read(inbox: &Inbox, most: usize) -> String {
        let event = |event| match event {
            SubscriptionEvent::Linked => "+".to_owned(),
            SubscriptionEvent::Lost(error) if error.kind() == ErrorKind::Overloaded => "!".to_owned(),
            SubscriptionEvent::Lost(_) => "-".to_owned(),
            SubscriptionEvent::Message { payload, .. } => String::from_utf8(payload).unwrap(),
        };
        (0..most).map_while(|_| inbox.queue().pop()).map(event).collect()
    }

    #[test]
    fn a_gap_is_told_where_it_is() {
        let inbox = Inbox::new(2);
        cut(&inbox);
        cut(&inbox);
        inbox.linked();
        message(&inbox, "a");
        cut(&inbox);
        inbox.linked();
        message(&inbox, "b");
        assert_eq!(read(&inbox, 9), "-+a-+b");
        assert_eq!(read(&inbox, 9), "");
        cut(&inbox);
        assert_eq!(read(&inbox, 9), "-");
    }

    #[test]
    fn messages_come_again_only_when_what_waited_was_read() {
        let inbox = Inbox::new(2);
        inbox.linked();
        ["a", "b", "c", "d"].into_iter().for_each(|text| message(&inbox, text));
        assert_eq!(read(&inbox, 2), "+a");
        // There would be room, but it would come after a loss.
        message(&inbox, "e");
        assert_eq!(read(&inbox, 9), "b!+");
        assert_eq!(inbox.dropped(), 3);
        message(&inbox, "f");
        assert_eq!(read(&inbox, 9), "f");
    }

    #[test]
    fn a_connection_that_breaks_while_the_reader_is_slow_is_linked_when_it_is() {
        let inbox = Inbox::new(1);
        inbox.linked();
        ["a", "b"].into_iter().for_each(|text| message(&inbox, text));
        cut(&inbox);
        assert_eq!(read(&inbox, 9), "+a!");
        inbox.linked();
        assert_eq!(read(&inbox, 9), "+");
        ["c", "d"].into_iter().for_each(|text| message(&inbox, text));
        cut(&inbox);
        inbox.linked();
        message(&inbox, "e");
        assert_eq!(read(&inbox, 9), "c!+");
    }

    #[test]
    fn what_waits_is_bounded() {
        let inbox = Inbox::new(3);
        for _ in 0..1_000 {
            inbox.linked();
            message(&inbox, "a");
            cut(&inbox);
        }
        assert_eq!(read(&inbox, 9_999), "+a-+a-+a-");
        inbox.linked();
        let large = "x".repeat(MAX_BYTES / 2 + 1);
        ["", &large, &large].into_iter().for_each(|text| message(&inbox, text));
        assert_eq!(inbox.queue().messages, 2);
        assert_eq!(read(&inbox, 9_999).len(), large.len() + 3);
    }
}
