//! A filter whose bits are on Redis or Valkey, single and cluster, and which all processes share. Feature `redis`.
//!
//! The filter is a blocked Bloom filter in segments, each of which lies in one slot of a cluster. Asking for a key is one
//! `GETRANGE` of 64 bytes; adding keys is one script a segment, in `src/redis/lua`.
//!
//! | | |
//! |---|---|
//! | what is kept of a segment | `{prefix:0}:head`, which names its tables; `{prefix:0}:e1:…`, the bits that serve; `{prefix:0}:b2:…`, the bits that a rebuild makes; `{prefix:0}:recent:0` and `:1`, the keys that were announced lately |
//! | a rebuild | an announcement sets its bits in both tables from the moment that a rebuild has begun; the swap is atomic a segment, and each segment answers from a whole table at any time |
//! | others hear of it | from a table that is not there any more, and from announcements, which change nothing unless the caller knows the head; no table ever has the name of an earlier one |
//! | a rebuild that fails | leaves the old tables serving; where a server fails in the middle of the swap, other segments have the new ones, which are whole, too |
//! | two rebuilds | the second is a `Conflict`; of one that died, the next takes over after [`HostedBuilder::lease`] |
//! | what is not there, or is too short | is `Maybe`, and stays so until the next rebuild: no step makes a table but the beginning of a rebuild |
//! | an announcement | is remembered for [`HostedBuilder::in_doubt`], by the clock of the server, for rebuilds that begin meanwhile; by then the write has to be over, or to be announced again |
//!
//! # What a server may forget
//!
//! A server that starts empty, or has lost or evicted keys, answers `Maybe`. One that comes back with a part of its past
//! is worse: it denies the keys that were announced since.
//!
//! - A replica that is promoted has not received the last writes of its master: [`Ack::Replicas`] lets an announcement
//!   count only once replicas have it, which makes such a loss as unlikely as the promotion of another replica.
//! - A server that restarts with its append-only file, under `appendfsync everysec`, has lost a second or two:
//!   [`Ack::Fsync`] waits for the disk.
//! - A server that restarts from a snapshot alone has lost all since: turn snapshots off (`save ""`), or the append-only
//!   file on.
//!
//! An announcement that is not acknowledged is an error, and its row is not to be written. A rebuild needs no
//! acknowledgement: a server that takes it back serves what it served before.
//!
//! Nothing but the keys in doubt has a time to live. A server that evicts keys which have none (`allkeys-lru` and the like)
//! may take a table, whose keys are `Maybe` then; but also a head alone, and then a process that knows the table asks it on,
//! until an announcement by a process that knew it, too, has taken it away. Choose `noeviction`, or `volatile-lru` and the
//! like.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use ::redis::{Cmd, Value};
use arc_swap::ArcSwap;
use backends::{
    Error, ErrorKind, Redis, Result,
    redis_1::{Batch, KeyedCommand},
};

use self::{
    head::{BLOCK, Head, Known, Names, Shape},
    script::Hashes,
    stats::{Counters, add},
};
use crate::{
    Announced, Answer, Capability, Membership, Plan, Rebuilt, Scan, State, blocked::rule, bloom::reduce,
};

mod ack;
mod announce;
mod builder;
mod head;
mod rebuild;
mod script;
mod state;
mod stats;

pub use ack::Ack;
pub use builder::HostedBuilder;
pub use stats::HostedStats;

/// A blocked Bloom filter on a Redis of 7.2 or later, a Valkey, or a cluster of them. See the [module](self).
///
/// ```no_run
/// # async fn f() -> backends::Result<()> {
/// use filters::{Answer, KeyHasher as _, Membership as _, Plan, Xxh3, redis::HostedBloom};
///
/// let config = backends::Config::parse("redis://127.0.0.1:6379")?;
/// let filter = HostedBloom::builder().prefix("users").build(backends::Redis::connect(&config).await?)?;
/// let ann = Xxh3::default().hash(b"ann");
/// assert_eq!(filter.check(&[ann]).await?, [Answer::Maybe], "nothing is known yet");
/// let rows: Vec<u64> = Vec::new();
/// filter.rebuild(Plan::for_rate(1_000_000, 0.01)?, &mut rows.into_iter()).await?;
/// assert_eq!(filter.check(&[ann]).await?, [Answer::Absent]);
/// filter.announce(&[ann]).await?.settle();
/// assert_eq!(filter.check(&[ann]).await?, [Answer::Maybe]);
/// # Ok(())
/// # }
/// ```
pub struct HostedBloom {
    redis: Redis,
    shape: Shape,
    names: Box<[Names]>,
    /// What is known of a segment of which nothing is known.
    empty: Known,
    /// What was read of each segment last. What is out of date is found out by whoever uses it.
    known: ArcSwap<Vec<Option<Arc<Known>>>>,
    scripts: Hashes,
    window_bytes: u64,
    lease_ms: u32,
    ack: Ack,
    ack_timeout: Duration,
    /// Who this is, for the lock of rebuilds.
    id: u64,
    rebuilds: AtomicBool,
    counters: Counters,
}

/// How often an answer may turn out to be of a table that is gone.
const ROUNDS: usize = 4;

/// What one command of a check is for.
enum Ask {
    Block { place: usize, bits: [u64; rule::WORDS], of: Arc<Known> },
    Head { segment: u16 },
}

impl HostedBloom {
    /// The filter `filter` on `redis`, with the settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// None as of now: those of [`HostedBuilder::build`].
    pub fn new(redis: Redis) -> Result<Self> {
        Self::builder().build(redis)
    }

    /// A builder: keys under `{filter:0}:` and so on, 64 segments, hashes of [`Xxh3`](crate::Xxh3) without a seed.
    #[must_use]
    pub fn builder() -> HostedBuilder {
        HostedBuilder::new()
    }

    /// What has happened since it was built.
    #[must_use]
    pub fn stats(&self) -> HostedStats {
        self.counters.read()
    }

    /// Asks the servers whether they are there.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `Timeout` or `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn health(&self) -> Result<()> {
        self.redis.health().await
    }

    /// Takes the filter off the servers, for good. Whoever uses it meanwhile, or later, finds that nothing is known; and
    /// announcements before this are not carried over by rebuilds after it.
    ///
    /// # Errors
    ///
    /// What the connection reports; some segments may be gone then.
    ///
    /// # Cancel safety
    ///
    /// Some segments may be gone. Call it again.
    pub async fn remove(&self) -> Result<()> {
        self.read_heads("remove").await?;
        let known = self.known.load_full();
        let mut batch = Batch::with_capacity(self.names.len());
        let mut command = Cmd::new();
        for (segment, names) in (0..).zip(&self.names) {
            command.clear();
            command.arg("UNLINK").arg(&names.head).arg(&names.recent).arg(&names.scratch);
            if segment == 0 {
                command.arg(names.lock());
            }
            if let Some(known) = &known[segment] {
                let tables = [&known.serving, &known.building].into_iter().flatten();
                for (_, name) in tables {
                    command.arg(name);
                }
            }
            batch.push(&command);
        }
        let replies = self.redis.connection()?.send("remove", &batch).await;
        self.known.store(Arc::new(vec![None; self.names.len()]));
        replies.into_iter().try_for_each(|reply| reply.map(drop))
    }

    /// The segment of a key: by all bits of its hash, as the block in it is by the high ones.
    fn segment(&self, hash: u64) -> u16 {
        let mixed = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
        reduce(mixed ^ mixed >> 33, self.shape.segments.into()) as u16
    }

    /// Takes in the head of a segment, as a server gave it; empty: there is none.
    fn learn(&self, segment: u16, bytes: &[u8]) -> Result<()> {
        add(&self.counters.heads, 1);
        let known = if bytes.is_empty() {
            None
        } else {
            let head = Head::decode(bytes, self.shape, self.redis.backend())?;
            Some(Arc::new(Known::new(head, &self.names[usize::from(segment)])))
        };
        self.remember(segment, known.as_ref());
        Ok(())
    }

    fn remember(&self, segment: u16, known: Option<&Arc<Known>>) {
        let at = usize::from(segment);
        self.known.rcu(|all| {
            let is_same = match (&all[at], known) {
                (None, None) => true,
                // The one that is there may know that its table is lost.
                (Some(old), Some(new)) => old.bytes == new.bytes,
                _ => false,
            };
            if is_same {
                return Arc::clone(all);
            }
            let mut all = Vec::clone(all);
            all[at] = known.cloned();
            Arc::new(all)
        });
    }

    /// Asks for those of `hashes` at `pending`, and gives back of whom there is more to ask.
    async fn ask(&self, hashes: &[u64], pending: &[usize], answers: &mut [Answer]) -> Result<Vec<usize>> {
        let connection = self.redis.connection()?;
        let known = self.known.load_full();
        let (mut batch, mut asks) = (Batch::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
        let (mut command, mut waiting, mut heads) = (Cmd::new(), Vec::new(), Vec::new());
        for &place in pending {
            let segment = self.segment(hashes[place]);
            let of = known[usize::from(segment)].as_ref().filter(|known| !known.is_lost.load(Relaxed));
            let Some((of, (table, name))) = of.and_then(|known| Some((known, known.serving.as_ref()?)))
            else {
                waiting.push((place, segment));
                heads.push(segment);
                continue;
            };
            let block = table.block(hashes[place]);
            let first = block.index * BLOCK;
            command.clear();
            command.arg("GETRANGE").arg(name).arg(first).arg(first + BLOCK - 1);
            batch.push(&command);
            asks.push(Ask::Block { place, bits: block.bits, of: Arc::clone(of) });
        }
        heads.sort_unstable();
        heads.dedup();
        let get = KeyedCommand::new(["GET"]);
        for segment in heads {
            batch.push_keyed(&get, self.names[usize::from(segment)].head.as_bytes());
            asks.push(Ask::Head { segment });
        }
        let (mut next, mut counts) = (Vec::new(), [0; 2]);
        for (ask, reply) in asks.into_iter().zip(connection.send("check", &batch).await) {
            match (ask, reply?.into_value()) {
                (Ask::Block { place, bits, of }, Value::BulkString(bytes)) => {
                    if let Some(found) = holds(&bytes, &bits) {
                        answers[place] = Answer::may_be(found);
                        counts[usize::from(found)] += 1;
                    } else {
                        of.is_lost.store(true, Relaxed);
                        add(&self.counters.missing, 1);
                        next.push(place);
                    }
                }
                (Ask::Head { segment }, Value::BulkString(bytes)) => match self.learn(segment, &bytes) {
                    Err(error) if error.kind() == ErrorKind::Corrupt => add(&self.counters.undecodable, 1),
                    learnt => learnt?,
                },
                (Ask::Head { segment }, Value::Nil) => self.remember(segment, None),
                _ => return Err(self.unlike("check")),
            }
        }
        add(&self.counters.absent, counts[0]);
        let known = self.known.load();
        let serves = |segment: u16| {
            let known = known[usize::from(segment)].as_ref();
            known.is_some_and(|known| known.serving.is_some() && !known.is_lost.load(Relaxed))
        };
        let (again, unknown): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, segment)| serves(*segment));
        add(&self.counters.unknown, unknown.len());
        next.extend(again.into_iter().map(|(place, _)| place));
        Ok(next)
    }

    #[cold]
    fn unlike(&self, op: &'static str) -> Error {
        Error::new(ErrorKind::Corrupt, self.redis.backend(), op, "the server replied something unknown")
    }

    /// A number that nobody else has had.
    fn token(&self) -> u64 {
        RandomState::new().hash_one(self.id)
    }
}

/// Whether all of `bits` are set in a block; `None` for what is no whole block.
fn holds(block: &[u8], bits: &[u64; rule::WORDS]) -> Option<bool> {
    let (words, []) = block.as_chunks::<8>() else { return None };
    let words: &[[u8; 8]; rule::WORDS] = words.try_into().ok()?;
    Some(words.iter().zip(bits).all(|(word, bits)| u64::from_le_bytes(*word) & bits == *bits))
}

impl Membership for HostedBloom {
    fn capability(&self) -> Capability {
        Capability::new(self.redis.backend()).shared(true).durable(true)
    }

    fn look(&self, _: u64) -> Option<Answer> {
        None
    }

    async fn check(&self, hashes: &[u64]) -> Result<Vec<Answer>> {
        let mut answers = vec![Answer::Maybe; hashes.len()];
        let mut pending: Vec<_> = (0..hashes.len()).collect();
        add(&self.counters.checked, hashes.len());
        for _ in 0..ROUNDS {
            pending = self.ask(hashes, &pending, &mut answers).await?;
            if pending.is_empty() {
                return Ok(answers);
            }
        }
        // Rebuilds end as fast as they are asked for.
        add(&self.counters.unknown, pending.len());
        Ok(answers)
    }

    async fn announce(&self, hashes: &[u64]) -> Result<Announced> {
        // Of a handle that is closed, also nothing is refused.
        self.redis.connection()?;
        self.add(hashes).await?;
        Ok(Announced::fire_and_forget())
    }

    async fn state(&self) -> Result<State> {
        self.survey().await
    }

    /// Takes memory for the whole table here, and twice that on the servers while it runs.
    async fn rebuild(&self, plan: Plan, scan: &mut dyn Scan) -> Result<Rebuilt> {
        self.build(plan, scan).await
    }

    async fn close(&self) -> Result<()> {
        self.redis.close().await;
        Ok(())
    }
}

impl fmt::Debug for HostedBloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostedBloom")
            .field("redis", &self.redis)
            .field("head", &self.names[0].head)
            .finish_non_exhaustive()
    }
}
