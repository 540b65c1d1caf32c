//! Messages of channels, by a connection of their own.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value, cmd};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::AbortHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    Redis, addresses,
    cluster::Cluster,
    connection::Server,
    endpoint::{Address, Settings, Stream, greeted, ungreeted},
    error::Failure,
    harmless,
    node::{FIRST_PAUSE, LONGEST_PAUSE, jittered},
    resp::{Decoder, Garbage},
    route::SLOTS,
};
use crate::{Error, ErrorKind, Result, Retry};

mod inbox;

pub use inbox::SubscriptionEvent;
use inbox::{Ended, Inbox};

const OP: &str = "subscribe";
/// A server that has said nothing for this long is asked whether it is there; sooner where the request
/// time-out is shorter.
const QUIET: Duration = Duration::from_secs(1);
/// No server is given up for a shorter silence, as on every other connection.
const MUTE: Duration = Duration::from_millis(250);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const READ_BYTES: usize = 16 << 10;
/// A buffer that grew beyond this is not kept.
const KEPT_BYTES: usize = 1 << 20;

/// Messages of some channels, and when there may have been others: see [`Redis::subscribe`].
///
/// Dropping it closes its connection.
pub struct Subscription {
    inbox: Arc<Inbox>,
    task: AbortHandle,
}

impl Redis {
    /// Subscribes to channels, on a connection of its own. Returns at once: the first event is `Linked`
    /// when the server has confirmed every channel, or `Lost` when that failed.
    ///
    /// The connection is made again until the subscription is dropped, also after [`close`](Self::close),
    /// with growing pauses of up to 0.8 s. A cut one is `Lost` at once, a server that says nothing after the
    /// request time-out, 250 ms at least, and the second after which it is asked, or as soon as the request
    /// time-out where that is shorter. An error of which the retry is never, such as a refused login, is tried
    /// again as well.
    ///
    /// At most `capacity` messages wait to be read, and 64 MiB unless one message is larger. What comes on
    /// top is dropped and counted, which is a `Lost` as well; `Linked` follows when what waited was read.
    ///
    /// On a cluster, where every node has the messages of all, it is the connection to one master that is
    /// in agreement with the cluster, and moves to another node when it breaks. What the nodes lose
    /// between each other nobody is told: whoever keeps what messages invalidate has to give it an end too.
    ///
    /// # Errors
    ///
    /// `Invalid` without channels or capacity, `Closed` after [`close`](Self::close).
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with I/O and time.
    pub fn subscribe(&self, channels: &[&str], capacity: usize) -> Result<Subscription> {
        let connection = self.open(OP)?;
        if channels.is_empty() || capacity == 0 {
            let text = "a subscription has channels and a capacity";
            return Err(Error::new(ErrorKind::Invalid, self.backend(), OP, text));
        }
        let (settings, cluster) = match connection.server() {
            Server::Single(node) => (Arc::clone(&node.settings), None),
            Server::Cluster(cluster) => (Arc::clone(&cluster.settings), Some(Arc::downgrade(cluster))),
        };
        let servers = Servers { named: addresses(&self.config), cluster, turn: first_turn() };
        let channels = channels.iter().map(|&channel| Arc::from(channel)).collect();
        let inbox = Arc::new(Inbox::new(capacity));
        let feed = Feed { settings, servers, channels, backend: self.backend() };
        // Should the runtime end first, the reader is told.
        let guard = Ended(Arc::clone(&inbox));
        let task = tokio::spawn(async move { feed.run(&guard.0).await });
        Ok(Subscription { inbox, task: task.abort_handle() })
    }
}

impl Subscription {
    /// The next event, in the order in which they happened. `None` only when the runtime that the
    /// subscription was made on has ended.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<SubscriptionEvent> {
        self.inbox.next().await
    }

    /// How many messages were dropped because too many waited to be read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.inbox.dropped()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Subscriptions of one process begin with different nodes of a cluster.
fn first_turn() -> usize {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    TURN.fetch_add(1, Ordering::Relaxed)
}

/// Whom to connect to.
struct Servers {
    named: Vec<Address>,
    cluster: Option<Weak<Cluster>>,
    turn: usize,
}

impl Servers {
    /// One after the other: the masters of a cluster, as long as somebody else has it too, and then those
    /// that the configuration names.
    fn next(&mut self) -> Address {
        let mut known: Vec<Address> = Vec::new();
        if let Some(cluster) = self.cluster.as_ref().and_then(Weak::upgrade) {
            // What is known is about to be older than what made this necessary.
            cluster.refresh_soon();
            for slot in 0..SLOTS {
                // One that nobody serves stands for no master.
                let Ok(owner) = cluster.owner(slot) else { continue };
                if known.last() != Some(&owner.address) && !known.contains(&owner.address) {
                    known.push(owner.address.clone());
                }
            }
        }
        for named in &self.named {
            if !known.contains(named) {
                known.push(named.clone());
            }
        }
        self.turn = self.turn.wrapping_add(1);
        known.swap_remove(self.turn % known.len())
    }
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

struct Feed {
    settings: Arc<Settings>,
    servers: Servers,
    channels: HashSet<Arc<str>>,
    backend: &'static str,
}

impl Feed {
    /// Connects, and again whenever the connection ends.
    async fn run(mut self, inbox: &Inbox) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut linked = None;
            let failure = match self.link().await {
                Ok(link) => {
                    linked = Some(Instant::now());
                    inbox.linked();
                    self.listen(link, inbox).await
                }
                Err(failure) => failure,
            };
            inbox.lost(|| harmless(failure.at(self.backend, OP)));
            // A server that ends every connection soon is not to be asked in a loop.
            if linked.is_some_and(|linked| linked.elapsed() > LONGEST_PAUSE) {
                pause = FIRST_PAUSE;
                continue;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A connection on which every channel is confirmed, within the connect time-out.
    async fn link(&mut self) -> Result<Link, Failure> {
        let address = self.servers.next();
        let deadline = Instant::now() + self.settings.connect_timeout;
        let socket: Box<dyn Socket> = match self.settings.dial(&address, deadline).await? {
            Stream::Plain(stream) => Box::new(stream),
            #[cfg(feature = "redis-tls")]
            Stream::Tls(stream) => stream,
        };
        let mut link = Link { socket, buffer: Vec::new(), at: 0, decoder: Decoder::default() };
        let ready = timeout_at(deadline, self.introduce(&mut link)).await;
        ready.unwrap_or_else(|_| Err(Failure::late())).map_err(|failure| ungreeted(failure, &address))?;
        Ok(link)
    }

    async fn introduce(&self, link: &mut Link) -> Result<(), Failure> {
        let greeting = self.settings.greeting();
        link.write(&packed(&greeting)).await?;
        for _ in &greeting {
            greeted(link.read().await?)?;
        }
        if self.servers.cluster.is_some() {
            let mut info = cmd("CLUSTER");
            info.arg("INFO");
            link.write(&packed(&[info])).await?;
            // Who may not ask for it does without. A node that was cut off hears nothing of the others.
            if let Value::BulkString(text) = link.read().await?
                && !text.windows(16).any(|part| part == b"cluster_state:ok")
            {
                return Err(Failure::down("the node is in no agreement with its cluster"));
            }
        }
        let mut subscribe = cmd("SUBSCRIBE");
        self.channels.iter().for_each(|channel| {
            subscribe.arg(&**channel);
        });
        link.write(&packed(&[subscribe])).await?;
        let mut confirmed = 0;
        while confirmed < self.channels.len() {
            match said(link.read().await?) {
                Said::Subscribed => confirmed += 1,
                // Before the link is told of, messages mean nothing to the reader.
                Said::Message(..) | Said::Other => {}
                Said::Refused(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Passes messages on until the connection ends, and tells why.
    async fn listen(&self, mut link: Link, inbox: &Inbox) -> Failure {
        let patience = self.settings.request_timeout.max(MUTE);
        let quiet = QUIET.min(patience);
        let (mut due, mut asked) = (Instant::now() + quiet, false);
        loop {
            let read = match timeout_at(due, link.read()).await {
                Ok(read) => read,
                Err(_) if asked => return Failure::late(),
                Err(_) => {
                    (due, asked) = (Instant::now() + patience, true);
                    match timeout_at(due, link.write(PING)).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(failure)) => return failure,
                        Err(_) => return Failure::late(),
                    }
                }
            };
            (due, asked) = (Instant::now() + quiet, false);
            match read.map(said) {
                Ok(Said::Message(channel, payload)) => {
                    let known = str::from_utf8(&channel).ok().and_then(|channel| self.channels.get(channel));
                    if let Some(channel) = known {
                        inbox.message(self.backend, channel, payload);
                    }
                }
                Ok(Said::Subscribed | Said::Other) => {}
                Ok(Said::Refused(failure)) | Err(failure) => return failure,
            }
        }
    }
}

fn packed(commands: &[Cmd]) -> Vec<u8> {
    let mut out = Vec::new();
    commands.iter().for_each(|command| command.write_packed_command(&mut out));
    out
}

/// What a server says to a subscriber.
enum Said {
    Subscribed,
    Message(Vec<u8>, Vec<u8>),
    Refused(Failure),
    /// That it is there.
    Other,
}

fn said(value: Value) -> Said {
    let items = match value {
        Value::Array(items) => items,
        Value::ServerError(error) => return Said::Refused(Failure::answer(&error.into())),
        _ => return Said::Other,
    };
    let mut items = items.into_iter();
    match (items.next(), items.next(), items.next()) {
        (
            Some(Value::BulkString(kind)),
            Some(Value::BulkString(channel)),
            Some(Value::BulkString(payload)),
        ) if kind == b"message" => Said::Message(channel, payload),
        (Some(Value::BulkString(kind)), ..) if kind == b"subscribe" => Said::Subscribed,
        _ => Said::Other,
    }
}

/// The connection, and what was read of it.
struct Link {
    socket: Box<dyn Socket>,
    buffer: Vec<u8>,
    /// How much of it was taken.
    at: usize,
    decoder: Decoder,
}

impl Link {
    /// Cancel safe.
    async fn read(&mut self) -> Result<Value, Failure> {
        loop {
            match self.decoder.decode(&self.buffer[self.at..]) {
                Ok(Some((value, len))) => {
                    self.at += len;
                    return Ok(value.into_value());
                }
                Ok(None) => {}
                Err(Garbage) => {
                    let text = "the answer is not redis protocol";
                    return Err(Failure::new(ErrorKind::Corrupt, Retry::Ambiguous, text));
                }
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.buffer.is_empty() {
                self.buffer.shrink_to(KEPT_BYTES);
            }
            self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(Failure::broken()),
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        // Over TLS what is written need not have been sent.
        let sent = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        sent.await.map_err(|_| Failure::broken())
    }
}
