//! One connection to one server, which any number of tasks share.
//!
//! Requests are encoded straight into one buffer, which is written whenever the one before has gone out:
//! the busier the connection, the more requests go with one system call. Answers come in the order of
//! the requests. Where answers are awaited already, the task that writes first lets those run that the last
//! answers woke: written one by one, requests of 64 tasks take three times the processor time. The driver's own multiplexed connection takes half as much processor time again for a
//! command of a deep pipeline, does not tell which of its requests had been sent when it broke, and goes
//! on with a server that says nothing; its cluster drops all answers to a pipeline for one redirection.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, oneshot},
    task::{AbortHandle, yield_now},
    time::{Instant, timeout_at},
};

use super::{
    error::Failure,
    resp::{Decoder, Garbage, Reply},
};
use crate::{ErrorKind, Retry};

/// Answers that may be awaited at once; what comes on top is told `Overloaded`.
pub(super) const MAX_AWAITED: usize = 1 << 17;
/// A server that says nothing for this long, or for the request time-out where that is longer, while
/// answers are due, is given up with all that wait for it.
const MUTE: Duration = Duration::from_millis(250);
/// Bytes that may wait to be written; with more, requests are told `Overloaded`.
const MAX_UNSENT: usize = 64 << 20;
const READ_BYTES: usize = 64 << 10;
/// Buffers that grew beyond this are not kept.
const KEPT_BYTES: usize = 1 << 20;

/// A connection that is logged in. Dropping it closes it.
pub(super) struct Link {
    shared: Arc<Shared>,
    task: AbortHandle,
    patience: Duration,
}

/// An answer that is under way. Dropping it leaves the request as it is and discards its answer.
#[derive(Debug)]
pub(super) struct Pending {
    answers: oneshot::Receiver<Vec<Reply>>,
    ticket: Ticket,
}

/// Where a request stands among all of its connection.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    /// Bytes that were appended before it.
    start: u64,
    /// Pieces that had been read before it.
    reads: u64,
    at: Instant,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    filled: Notify,
    /// The connection was given up.
    ended: Notify,
    awaited: AtomicUsize,
    reads: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    out: Vec<u8>,
    /// Bytes ever appended to `out`, and those that were taken from it to be written.
    appended: u64,
    taken: u64,
    /// Commands in `out`.
    commands: usize,
    waiters: VecDeque<Waiter>,
    /// Since when an answer has been due, if nothing was read but that many pieces.
    silent: Option<(u64, Instant)>,
    ended: Option<Failure>,
}

#[derive(Debug)]
struct Waiter {
    /// How many answers there will be.
    due: usize,
    /// Those that have come. Reserved by who sends, and so by the thread that frees it.
    answers: Vec<Reply>,
    sender: oneshot::Sender<Vec<Reply>>,
}

impl Link {
    /// Takes over a connection that was logged in. Runs on the Tokio runtime of its caller.
    ///
    /// `patience` is the request time-out.
    pub(super) fn new<R, W>(reader: R, writer: W, patience: Duration) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Notify::new(),
            ended: Notify::new(),
            awaited: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
        });
        // Should the runtime end before the link, its users are told.
        let guard = EndGuard(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let shared = &guard.0;
            let failure = tokio::select! {
                biased;
                () = shared.ended.notified() => return,
                failure = read(shared, reader) => failure,
                failure = write(shared, writer) => failure,
            };
            shared.end(failure);
        });
        Self { shared, task: task.abort_handle(), patience }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.shared.queue().ended.is_some()
    }

    /// Why it ended, if it did.
    pub(super) fn ended(&self) -> Option<Failure> {
        self.shared.queue().ended.clone()
    }

    /// Sends what `encode` appends, `due` commands of one answer each.
    ///
    /// Returns at once: the bytes go out when the runtime next gets to the connection.
    pub(super) fn send(&self, due: usize, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Pending, Failure> {
        debug_assert!(due > 0, "an answer is awaited");
        let awaited = self.shared.awaited.fetch_add(due, Ordering::Relaxed);
        // A request that is larger than the limit is let through alone.
        if awaited > 0 && awaited + due > MAX_AWAITED {
            self.shared.awaited.fetch_sub(due, Ordering::Relaxed);
            let text = format!("{awaited} answers are awaited already");
            return Err(Failure::new(ErrorKind::Overloaded, Retry::Safe, text));
        }
        let (sender, answers) = oneshot::channel();
        let room = Vec::with_capacity(due);
        let reads = self.shared.reads.load(Ordering::Relaxed);
        let mut queue = self.shared.queue();
        if let Some(failure) = &queue.ended {
            return Err(failure.clone().unsent());
        }
        let (start, before) = (queue.appended, queue.out.len());
        if before > MAX_UNSENT {
            self.shared.awaited.fetch_sub(due, Ordering::Relaxed);
            let text = format!("{before} bytes wait to be sent");
            return Err(Failure::new(ErrorKind::Overloaded, Retry::Safe, text));
        }
        encode(&mut queue.out);
        queue.appended += (queue.out.len() - before) as u64;
        queue.commands += due;
        queue.waiters.push_back(Waiter { due, answers: room, sender });
        drop(queue);
        self.shared.filled.notify_one();
        Ok(Pending { answers, ticket: Ticket { start, reads, at: Instant::now() } })
    }

    /// Waits for the answers, one a command. After `deadline` they are a time-out, which gives up the
    /// whole connection when the server has not said a word since the request.
    pub(super) async fn wait(&self, pending: Pending, deadline: Instant) -> Result<Vec<Reply>, Failure> {
        let Pending { answers, ticket } = pending;
        match timeout_at(deadline, answers).await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(_)) => Err(self.shared.why(ticket)),
            Err(_) => {
                if self.shared.silence(ticket) >= self.patience.max(MUTE) {
                    self.shared.end(Failure::late());
                }
                Err(Failure::late())
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("ended", &self.ended()).finish_non_exhaustive()
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the connection; the first reason stays.
    fn end(&self, failure: Failure) {
        let mut queue = self.queue();
        if queue.ended.is_none() {
            queue.ended = Some(failure);
            // Whoever waits finds its sender gone, and then asks why.
            let waiters = mem::take(&mut queue.waiters);
            queue.out = Vec::new();
            drop(queue);
            drop(waiters);
            self.ended.notify_one();
        }
    }

    /// How long the server has said nothing, by a request that waited in vain.
    fn silence(&self, ticket: Ticket) -> Duration {
        if self.reads.load(Ordering::Relaxed) != ticket.reads {
            return Duration::ZERO;
        }
        let mut queue = self.queue();
        // Requests may wait for less time than it takes to call a server mute.
        match queue.silent {
            Some((reads, since)) if reads == ticket.reads => since.elapsed(),
            _ => {
                queue.silent = Some((ticket.reads, ticket.at));
                ticket.at.elapsed()
            }
        }
    }

    /// Whether others wait for answers than those whose requests are to be written.
    fn is_shared(&self) -> bool {
        let commands = self.queue().commands;
        self.awaited.load(Ordering::Relaxed) > commands
    }

    /// Why there is no answer to a request of a connection that ended.
    fn why(&self, ticket: Ticket) -> Failure {
        let queue = self.queue();
        let failure = queue.ended.clone().unwrap_or_else(Failure::broken);
        if ticket.start >= queue.taken { failure.unsent() } else { failure }
    }
}

impl Queue {
    /// Swaps what is to be written for an empty buffer.
    fn take(&mut self, bytes: &mut Vec<u8>) {
        mem::swap(&mut self.out, bytes);
        self.taken += bytes.len() as u64;
        self.commands = 0;
    }
}

/// Ends the connection when its task ends, however that comes.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end(Failure::broken());
    }
}

async fn write(shared: &Shared, mut writer: impl AsyncWrite + Unpin) -> Failure {
    let mut bytes = Vec::new();
    loop {
        shared.queue().take(&mut bytes);
        if bytes.is_empty() {
            shared.filled.notified().await;
            if shared.is_shared() {
                // Tasks that are about to send, since the last answers woke them, go with the same system call.
                yield_now().await;
            }
            continue;
        }
        // Over TLS what is written need not have been sent.
        let sent = async { writer.write_all(&bytes).await.and(writer.flush().await) };
        if sent.await.is_err() {
            return Failure::broken();
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
    }
}

async fn read(shared: &Shared, mut reader: impl AsyncRead + Unpin) -> Failure {
    let (mut decoder, mut buffer) = (Decoder::default(), Vec::with_capacity(READ_BYTES));
    // Taken from the queue many at a time. When this function is dropped, so are they.
    let mut waiters = VecDeque::<Waiter>::new();
    loop {
        if buffer.capacity() - buffer.len() < READ_BYTES / 2 {
            buffer.reserve(READ_BYTES.max(buffer.len()));
        }
        match reader.read_buf(&mut buffer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Failure::broken(),
        }
        shared.reads.fetch_add(1, Ordering::Relaxed);
        let mut at = 0;
        loop {
            let reply = match decoder.decode(&buffer[at..]) {
                Ok(Some((reply, len))) => {
                    at += len;
                    reply
                }
                Ok(None) => break,
                Err(Garbage) => {
                    let text = "the answer is not redis protocol";
                    return Failure::new(ErrorKind::Corrupt, Retry::Ambiguous, text);
                }
            };
            if waiters.is_empty() {
                mem::swap(&mut waiters, &mut shared.queue().waiters);
            }
            let Some(first) = waiters.front_mut() else {
                // Nobody asked: what the server says before it hangs up.
                return Failure::broken();
            };
            first.answers.push(reply);
            if first.answers.len() == first.due {
                shared.awaited.fetch_sub(first.due, Ordering::Relaxed);
                if let Some(waiter) = waiters.pop_front() {
                    // A caller that was dropped wants no answer.
                    let _ = waiter.sender.send(waiter.answers);
                }
            }
        }
        buffer.drain(..at);
        if buffer.is_empty() {
            buffer.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use redis::Value;
    use tokio::io::{DuplexStream, duplex, split};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A link, and the server's end of it, with a small buffer between.
    fn pair() -> (Link, DuplexStream) {
        let (client, server) = duplex(64);
        let (reader, writer) = split(client);
        (Link::new(reader, writer, LONG), server)
    }

    fn send(link: &Link, bytes: &[u8], due: usize) -> Pending {
        link.send(due, |out| out.extend_from_slice(bytes)).unwrap()
    }

    fn integer(value: i64) -> Reply {
        Reply::Value(Value::Int(value))
    }

    async fn expect(server: &mut DuplexStream, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(got, bytes);
    }

    #[tokio::test]
    async fn answers_reach_who_asked_though_another_left() {
        let (link, mut server) = pair();
        let deadline = Instant::now() + LONG;
        let (first, dropped, last) = (send(&link, b"a", 2), send(&link, b"b", 1), send(&link, b"c", 1));
        drop(dropped);
        expect(&mut server, b"abc").await;
        server.write_all(b":1\r\n:2\r\n:3\r\n:4\r\n").await.unwrap();
        assert_eq!(link.wait(first, deadline).await.unwrap(), [1, 2].map(integer));
        assert_eq!(link.wait(last, deadline).await.unwrap(), [integer(4)]);
    }

    /// Notes the length of each piece that is written.
    struct Pieces(Arc<Mutex<Vec<usize>>>);

    impl AsyncWrite for Pieces {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_many_tasks_send_is_written_in_one_piece() {
        let pieces = Arc::new(Mutex::new(Vec::new()));
        let written = || pieces.lock().unwrap().iter().sum::<usize>();
        let (reader, _server) = duplex(64);
        let link = Arc::new(Link::new(reader, Pieces(Arc::clone(&pieces)), LONG));
        // One request alone waits for nobody; from then on an answer is due.
        send(&link, b"a", 1);
        while written() < 1 {
            yield_now().await;
        }
        let sender = Arc::clone(&link);
        tokio::spawn(async move {
            for _ in 0..20 {
                let link = Arc::clone(&sender);
                tokio::spawn(async move { send(&link, b"b", 1) });
            }
        });
        while written() < 21 {
            yield_now().await;
        }
        // The runtime may look after its sockets in between.
        assert!(pieces.lock().unwrap().len() <= 3, "{:?}", pieces.lock().unwrap());
    }

    #[tokio::test]
    async fn only_what_was_sent_is_ambiguous() {
        let (link, mut server) = pair();
        let deadline = Instant::now() + LONG;
        let sent = send(&link, &[b'x'; 1_000], 1);
        // The first bytes are under way, the last ones do not fit.
        expect(&mut server, b"x").await;
        let unsent = send(&link, b"y", 1);
        drop(server);
        assert_eq!(link.wait(sent, deadline).await.unwrap_err().retry(), Retry::Ambiguous);
        assert_eq!(link.wait(unsent, deadline).await.unwrap_err().retry(), Retry::Safe);
        let late = link.send(1, |out| out.push(b'z')).unwrap_err();
        assert_eq!((late.kind(), late.retry()), (ErrorKind::Unavailable, Retry::Safe));
    }

    #[tokio::test]
    async fn no_more_than_so_many_answers_are_awaited() {
        let (link, mut server) = pair();
        let most = send(&link, b"a", MAX_AWAITED);
        let refused = link.send(1, |out| out.push(b'b')).unwrap_err();
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Overloaded, Retry::Safe));
        expect(&mut server, b"a").await;
        let answer = async { server.write_all(&b"+OK\r\n".repeat(MAX_AWAITED)).await.unwrap() };
        let (answers, ()) = tokio::join!(link.wait(most, Instant::now() + LONG), answer);
        assert_eq!(answers.unwrap().len(), MAX_AWAITED);
        send(&link, b"b", 1);
        expect(&mut server, b"b").await;
    }

    #[tokio::test]
    async fn garbage_and_what_nobody_asked_for_end_the_link() {
        for (said, retry) in [("HTTP\r\n", Retry::Ambiguous), ("+OK\r\n+OK\r\n", Retry::Ambiguous)] {
            let (link, mut server) = pair();
            let pending = send(&link, b"a", 1);
            expect(&mut server, b"a").await;
            server.write_all(said.as_bytes()).await.unwrap();
            if let Err(failure) = link.wait(pending, Instant::now() + LONG).await {
                assert_eq!(failure.retry(), retry);
            }
            // Closed on this side.
            assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
            assert!(link.is_ended());
        }
    }
}
