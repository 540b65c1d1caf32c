//! One server: its shared connection, which is made again when it broke, and its connections for one
//! request at a time.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use redis::{Cmd, Pipeline, Value};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    endpoint::{Address, Settings},
    error::Failure,
    link::Link,
    resp::Reply,
};
use crate::{ErrorKind, Retry};

/// The pause after the first failed attempt; it doubles with each, up to the longest.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Short enough that a server is found within a second of its return.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// Connections of one server for one request at a time.
const DEDICATED: usize = 16;

/// What a server is sent before a command whose slot it is only importing.
pub(super) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

pub(super) struct Node {
    pub(super) address: Address,
    pub(super) settings: Arc<Settings>,
    state: Mutex<State>,
    /// Told when an attempt to connect ended.
    attempts: watch::Sender<()>,
    /// In order of arrival.
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
}

#[derive(Default)]
struct State {
    link: Option<Arc<Link>>,
    /// Why the last attempt failed, or the connection was given up; until another succeeds.
    down: Option<Failure>,
    /// When the attempt under way began.
    connecting: Option<Instant>,
}

impl Node {
    pub(super) fn new(address: Address, settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self {
            address,
            settings,
            state: Mutex::default(),
            attempts: watch::Sender::new(()),
            permits: Semaphore::new(DEDICATED),
            idle: Mutex::default(),
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.request_timeout
    }

    /// The shared connection, if it is there.
    pub(super) fn ready(self: &Arc<Self>) -> Result<Option<Arc<Link>>, Failure> {
        let mut state = self.state();
        if let Some(link) = &state.link {
            let Some(failure) = link.ended() else { return Ok(Some(Arc::clone(link))) };
            // A server that closed its connection may be back already; one that went mute is not.
            let is_mute = failure.kind() == ErrorKind::Timeout;
            state.down = is_mute.then(|| failure.unsent());
            state.link = None;
        }
        let now = Instant::now();
        let began = *state.connecting.get_or_insert_with(|| {
            tokio::spawn(connect(Arc::downgrade(self)));
            now
        });
        match &state.down {
            Some(failure) => Err(failure.clone()),
            // The attempt is waited for by whoever comes first, not by all that come later.
            None if now > began + self.settings.request_timeout => {
                Err(Failure::down(format!("{} does not answer", self.address)))
            }
            None => Ok(None),
        }
    }

    /// Whether the shared connection is there.
    pub(super) fn is_up(&self) -> bool {
        self.state().link.as_ref().is_some_and(|link| !link.is_ended())
    }

    /// The shared connection. Waits for the first attempt to make it after it broke; while the server
    /// is known to be down, fails at once.
    pub(super) async fn link(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Link>, Failure> {
        let mut attempts = self.attempts.subscribe();
        loop {
            if let Some(link) = self.ready()? {
                return Ok(link);
            }
            if timeout_at(deadline, attempts.changed()).await.is_err() {
                return Err(Failure::down(format!("{} does not answer", self.address)));
            }
        }
    }

    /// Sends what `encode` appends, `due` commands, on the shared connection.
    ///
    /// Cancel safe: the answers are discarded.
    pub(super) async fn request(
        self: &Arc<Self>,
        due: usize,
        deadline: Instant,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Reply>, Failure> {
        let link = match self.ready()? {
            Some(link) => link,
            None => self.link(deadline).await?,
        };
        link.wait(link.send(due, encode)?, deadline).await
    }

    /// Sends one command on the shared connection, after `ASKING` where that is so.
    pub(super) async fn command(
        self: &Arc<Self>,
        command: &Cmd,
        asking: bool,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let answers = self.request(1 + usize::from(asking), deadline, |out| {
            if asking {
                out.extend_from_slice(ASKING);
            }
            command.write_packed_command(out);
        });
        Ok(last(answers.await?))
    }

    /// Sends a pipeline, or a transaction with what surrounds it, and gives all answers.
    pub(super) async fn pipeline(
        self: &Arc<Self>,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.request(offset + count, deadline, |out| {
            if pipeline.is_transaction() {
                out.extend_from_slice(MULTI);
            }
            pipeline.cmd_iter().for_each(|command| command.write_packed_command(out));
            if pipeline.is_transaction() {
                out.extend_from_slice(EXEC);
            }
        });
        Ok(answers.await?.into_iter().map(Reply::into_value).collect())
    }

    /// Sends what `encode` appends on a connection that has no other request under way.
    ///
    /// Waits in turn for one of a few such connections, for as long as `patience`, and then as long for
    /// the answers. A connection whose answers did not come is closed, as they may still come.
    ///
    /// Cancel safe: the connection is closed.
    pub(super) async fn request_alone(
        self: &Arc<Self>,
        due: usize,
        patience: Duration,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<Reply>, Failure> {
        let deadline = Instant::now() + patience;
        // Known to be down, it is not tried once a request.
        self.link(deadline).await?;
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            let text = "no dedicated connection became free in time";
            return Err(Failure::new(ErrorKind::Overloaded, Retry::Safe, text));
        };
        let link = match self.take_idle() {
            Some(link) => link,
            None => match timeout_at(deadline, self.settings.open(&self.address)).await {
                Ok(link) => link?,
                Err(_) => return Err(Failure::down(format!("{} does not answer", self.address))),
            },
        };
        let answers = link.wait(link.send(due, encode)?, Instant::now() + patience).await?;
        self.idle().push(link);
        drop(permit);
        Ok(answers)
    }

    fn take_idle(&self) -> Option<Link> {
        let mut idle = self.idle();
        idle.retain(|link| !link.is_ended());
        idle.pop()
    }

    /// Notes how an attempt to connect ended; whether it succeeded.
    fn attempted(&self, opened: Result<Link, Failure>) -> bool {
        let mut state = self.state();
        (state.link, state.down) = match opened {
            Ok(link) => (Some(Arc::new(link)), None),
            Err(failure) => (None, Some(failure)),
        };
        let connected = state.link.is_some();
        drop(state);
        self.attempts.send_replace(());
        connected
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The last of some answers.
fn last(mut answers: Vec<Reply>) -> Value {
    answers.pop().map_or(Value::Nil, Reply::into_value)
}

/// Tries to connect until it succeeds or nobody has the node any more; the only one of its node.
async fn connect(node: Weak<Node>) {
    /// Tells of the end, also when the runtime drops this task: the next request starts over then.
    struct Attempting(Weak<Node>);
    impl Drop for Attempting {
        fn drop(&mut self) {
            if let Some(node) = self.0.upgrade() {
                node.state().connecting = None;
                node.attempts.send_replace(());
            }
        }
    }
    let attempting = Attempting(node);
    let mut pause = FIRST_PAUSE;
    loop {
        let Some((settings, address)) =
            attempting.0.upgrade().map(|node| (Arc::clone(&node.settings), node.address.clone()))
        else {
            return;
        };
        let opened = settings.open(&address).await;
        let Some(node) = attempting.0.upgrade() else { return };
        if node.attempted(opened) {
            return;
        }
        drop(node);
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Half of `pause` to all of it, so that clients don't return in step.
pub(super) fn jittered(pause: Duration) -> Duration {
    // Each `RandomState` has other keys.
    let random = u32::try_from(RandomState::new().hash_one(0) % 1024).unwrap_or(0);
    pause / 2 + pause / 2 * random / 1024
}
