//! One connection through the proxy: for each direction a thread that reads and one that writes, with
//! a bounded queue between them, so that a delay shifts the bytes without slowing them.

use std::{
    io,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_linger;

use super::{CONNECT_DEADLINE, Direction, Flow, Shared};
use crate::wait::now;

/// 64 chunks of 16 KiB: what may be on its way in one direction.
const QUEUE: usize = 64;
const CHUNK: usize = 16 * 1_024;
/// How long a writer sits in a full socket before it looks whether it was cut.
const WRITE_SLICE: Duration = Duration::from_millis(50);

/// Both sockets close, by reset once [`cut`](Self::cut), when the last thread lets go of it.
#[derive(Debug)]
pub(super) struct Link {
    client: TcpStream,
    server: OnceLock<TcpStream>,
    cut: AtomicBool,
    /// By [`Direction`]: it has lost bytes.
    broken: [AtomicBool; 2],
}

/// Bytes as they were read, or no bytes for the end of the stream.
struct Chunk {
    at: Instant,
    bytes: Vec<u8>,
}

impl Link {
    pub(super) fn new(client: TcpStream) -> Self {
        let broken = [AtomicBool::new(false), AtomicBool::new(false)];
        Self { client, server: OnceLock::new(), cut: AtomicBool::new(false), broken }
    }

    /// Connects to the server and starts the threads; with `onward` unset, only swallows.
    pub(super) fn start(self: &Arc<Self>, shared: &Arc<Shared>, onward: bool) -> io::Result<()> {
        if !onward {
            self.broken[Direction::ToServer as usize].store(true, Ordering::SeqCst);
            return self.pump(shared, Direction::ToServer);
        }
        let server = TcpStream::connect_timeout(&shared.upstream, CONNECT_DEADLINE)?;
        for socket in [&self.client, self.server.get_or_init(|| server)] {
            socket.set_nodelay(true)?;
            socket.set_write_timeout(Some(WRITE_SLICE))?;
        }
        self.pump(shared, Direction::ToServer)?;
        self.pump(shared, Direction::ToClient)
    }

    /// Makes both sockets close by a reset, now.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for socket in [Some(&self.client), self.server.get()].into_iter().flatten() {
            let _ = set_socket_linger(socket, Some(Duration::ZERO));
            // Wakes the reader and sends nothing; the close that follows sends the reset.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    pub(super) fn cut_if_broken(&self) {
        if self.broken.iter().any(|broken| broken.load(Ordering::SeqCst)) {
            self.cut();
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    fn pump(self: &Arc<Self>, shared: &Arc<Shared>, direction: Direction) -> io::Result<()> {
        let (sender, receiver) = sync_channel(QUEUE);
        let (link, reader) = (Arc::clone(self), Arc::clone(shared));
        thread::Builder::new()
            .name("fault-proxy-read".into())
            .spawn(move || link.read(direction, &reader, &sender))?;
        let (link, shared) = (Arc::clone(self), Arc::clone(shared));
        thread::Builder::new()
            .name("fault-proxy-write".into())
            .spawn(move || link.write(direction, &shared, &receiver))?;
        Ok(())
    }

    /// The two ends of a direction; the second is missing on a connection that is not passed on.
    fn ends(&self, direction: Direction) -> (Option<&TcpStream>, Option<&TcpStream>) {
        match direction {
            Direction::ToServer => (Some(&self.client), self.server.get()),
            Direction::ToClient => (self.server.get(), Some(&self.client)),
        }
    }

    fn read(&self, direction: Direction, shared: &Shared, queue: &SyncSender<Chunk>) {
        let (Some(mut from), _) = self.ends(direction) else { return };
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return shared.change(|_| self.cut()),
            };
            if self.is_cut()
                || queue.send(Chunk { at: now(), bytes: buffer[..n].to_vec() }).is_err()
                || n == 0
            {
                return;
            }
        }
    }

    fn write(&self, direction: Direction, shared: &Shared, queue: &Receiver<Chunk>) {
        let (_, to) = self.ends(direction);
        let broken = &self.broken[direction as usize];
        for Chunk { at, bytes } in queue {
            let flow = self.wait_for_turn(direction, shared, at);
            if self.is_cut() {
                return;
            }
            if flow == Flow::Drop || broken.load(Ordering::SeqCst) {
                broken.store(true, Ordering::SeqCst);
                shared.dropped.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                continue;
            }
            let Some(to) = to else { return };
            if bytes.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
            } else if self.write_all(to, &bytes).is_err() {
                return shared.change(|_| self.cut());
            } else {
                shared.passed[direction as usize].fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
        }
    }

    /// Waits as long as bytes read `at` are to be delayed; what they meet then.
    fn wait_for_turn(&self, direction: Direction, shared: &Shared, at: Instant) -> Flow {
        let mut state = shared.state();
        loop {
            let flow = state.flow[direction as usize];
            let left = match flow {
                Flow::Delay(delay) if !self.is_cut() => delay.saturating_sub(at.elapsed()),
                _ => return flow,
            };
            if left.is_zero() {
                return flow;
            }
            let waited = shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn write_all(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if !self.is_cut() => {}
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}
