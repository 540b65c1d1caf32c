use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    thread::JoinHandle,
    time::Duration,
};

use crate::server::port::Port;

mod link;

use link::Link;

/// More at once are turned away: what is held per connection is bounded, so all of it is.
const MAX_CONNECTIONS: usize = 1_024;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A TCP proxy on loopback that passes bytes between clients and one server, and does to them what a
/// bad network would.
///
/// Faults act at once, on connections that exist and on later ones, and add up until
/// [`heal`](Self::heal). A connection that lost bytes can never carry bytes again, as its protocol
/// would be out of step: it stays mute, and is reset when the fault ends.
#[derive(Debug)]
pub struct FaultProxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Requests: from the client to the server.
    ToServer,
    /// Answers: from the server to the client.
    ToClient,
}

/// What a [`FaultProxy`] has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Connections accepted.
    pub connections: u64,
    /// Bytes passed on to the server.
    pub to_server: u64,
    /// Bytes passed on to clients.
    pub to_client: u64,
    /// Bytes swallowed.
    pub dropped: u64,
}

#[derive(Debug)]
struct Shared {
    port: Port,
    upstream: SocketAddr,
    state: Mutex<State>,
    /// Told of every change of `state`.
    changed: Condvar,
    connections: AtomicU64,
    /// By [`Direction`].
    passed: [AtomicU64; 2],
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// By [`Direction`].
    flow: [Flow; 2],
    door: Door,
    /// Whether the listener is there.
    listening: bool,
    closed: bool,
    links: Vec<Weak<Link>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flow {
    #[default]
    Pass,
    Delay(Duration),
    Drop,
}

/// What happens to new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// Accepted, and never passed on.
    Mute,
    /// Refused by the system, since nobody listens.
    Shut,
}

impl FaultProxy {
    /// A proxy before the server at `upstream`, which need not run yet.
    ///
    /// # Errors
    ///
    /// When there is no port or no thread for it.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            port: Port::lock()?,
            upstream,
            state: Mutex::new(State { listening: true, ..State::default() }),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            dropped: AtomicU64::new(0),
        });
        let listener = shared.listen()?;
        let acceptor = Arc::clone(&shared);
        let acceptor =
            thread::Builder::new().name("fault-proxy".into()).spawn(move || acceptor.accept(listener))?;
        Ok(Self { shared, acceptor: Some(acceptor) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr()
    }

    /// What went through so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let [to_server, to_client] = &self.shared.passed;
        Traffic {
            connections: load(&self.shared.connections),
            to_server: load(to_server),
            to_client: load(to_client),
            dropped: load(&self.shared.dropped),
        }
    }

    /// Lets bytes of one direction arrive this much later, in order. Those that are held when the
    /// delay is changed follow the new one, so a long delay and [`heal`](Self::heal) make a partition
    /// after which everything still arrives. At most 1 MiB a connection is held.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.shared.change(|state| state.flow[direction as usize] = Flow::Delay(delay));
    }

    /// Swallows the bytes of one direction; of [`Direction::ToClient`], requests are carried out and
    /// their answers lost.
    pub fn drop_bytes(&self, direction: Direction) {
        self.shared.change(|state| state.flow[direction as usize] = Flow::Drop);
    }

    /// Resets all connections there are. Later ones are not affected.
    pub fn cut(&self) {
        self.shared.change(|state| state.each_link(Link::cut));
    }

    /// Refuses new connections, as where no server runs; returns when the next one will be refused.
    /// Those there are go on: [`cut`](Self::cut) ends them.
    pub fn refuse(&self) {
        self.shared.change(|state| state.door = Door::Shut);
        // The acceptor sits in `accept`: the connection wakes it. It answers with `listening = false`.
        drop(TcpStream::connect_timeout(&self.addr(), CONNECT_DEADLINE));
        self.shared.wait_until(|state| !state.listening);
    }

    /// Accepts new connections and never answers: the server does not see them, and what comes on the
    /// connections there are is swallowed.
    pub fn accept_only(&self) {
        self.reopen(Door::Mute, Flow::Drop);
    }

    /// Ends all faults; returns when the next connection will be accepted. Delayed bytes go on at
    /// once, connections that lost bytes are reset.
    pub fn heal(&self) {
        self.reopen(Door::Open, Flow::Pass);
        self.shared.change(|state| state.each_link(Link::cut_if_broken));
    }

    fn reopen(&self, door: Door, flow: Flow) {
        self.shared.change(|state| (state.door, state.flow) = (door, [flow; 2]));
        self.shared.wait_until(|state| state.listening);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.closed = true;
            state.each_link(Link::cut);
        });
        drop(TcpStream::connect_timeout(&self.addr(), CONNECT_DEADLINE));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    fn listen(&self) -> io::Result<TcpListener> {
        TcpListener::bind(self.addr())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }

    fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let waiting = self.changed.wait_while(self.state(), |state| !condition(state));
        drop(waiting.unwrap_or_else(PoisonError::into_inner));
    }

    /// The body of the acceptor thread.
    fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            let accepted = listener.as_ref().map(TcpListener::accept);
            let door = {
                let state = self.state();
                if state.closed {
                    return;
                }
                state.door
            };
            if door == Door::Shut {
                drop((accepted, listener.take()));
                self.change(|state| state.listening = false);
                self.wait_until(|state| state.closed || state.door != Door::Shut);
            } else if let Some(accepted) = accepted {
                if let Ok((client, _)) = accepted {
                    self.connections.fetch_add(1, Ordering::SeqCst);
                    self.link(client, door);
                }
            } else {
                listener = self.listen().ok();
                self.change(|state| state.listening |= listener.is_some());
            }
        }
    }

    /// Passes bytes between `client` and a new connection to the server; on failure resets `client`.
    fn link(self: &Arc<Self>, client: TcpStream, door: Door) {
        let link = Arc::new(Link::new(client));
        let admitted = self.change(|state| {
            state.links.retain(|link| link.strong_count() > 0);
            let admitted = !state.closed && state.links.len() < MAX_CONNECTIONS;
            if admitted {
                state.links.push(Arc::downgrade(&link));
            }
            admitted
        });
        if !admitted || link.start(self, door == Door::Open).is_err() {
            link.cut();
        }
    }
}

impl State {
    fn each_link(&mut self, f: impl Fn(&Link)) {
        self.links.iter().filter_map(Weak::upgrade).for_each(|link| f(&link));
    }
}
