//! How a filter is built anew while it serves.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{Cmd, Value};
use backends::{Error, ErrorKind, Result, Retry};
use tokio::time::{Instant, timeout_at};

use super::{
    HostedBloom,
    head::{Head, Known, Table},
    script::Script,
};
use crate::{Plan, Rebuilt, Scan, blocked::rule, bytes};

/// Words of a piece that is sent at once: a server is held up by it for some 20 us.
const PIECE: usize = 8_192;
/// Pieces that are under way together.
const TOGETHER: usize = 64;
/// How often a segment's head may be another one when a rebuild begins.
const ROUNDS: usize = 8;

const OP: &str = "rebuild";

/// The one rebuild of a handle.
struct Only<'a>(&'a AtomicBool);

impl Drop for Only<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The right to rebuild, while it lasts.
struct Lock<'a> {
    of: &'a HostedBloom,
    renew_at: Instant,
}

/// The bits of all segments, as they will be sent.
struct Bits {
    words: Box<[u64]>,
    table: Table,
}

impl Bits {
    fn new(table: Table, segments: u16) -> Result<Self> {
        Ok(Self { words: bytes::zeros(table.blocks * rule::WORDS as u64 * u64::from(segments))?, table })
    }

    fn words_of_segment(&self) -> usize {
        self.table.blocks as usize * rule::WORDS
    }

    fn set(&mut self, segment: u16, hash: u64) {
        let block = self.table.block(hash);
        let first = usize::from(segment) * self.words_of_segment() + block.index as usize * rule::WORDS;
        for (word, bits) in self.words[first..first + rule::WORDS].iter_mut().zip(block.bits) {
            *word |= bits;
        }
    }

    /// The pieces of a segment in which there is anything.
    fn pieces(&self, segment: u16) -> impl Iterator<Item = Range<usize>> {
        let len = self.words_of_segment();
        let first = usize::from(segment) * len;
        (first..first + len)
            .step_by(PIECE)
            .map(move |start| start..(first + len).min(start + PIECE))
            .filter(|piece| self.words[piece.clone()].iter().any(|word| *word != 0))
    }
}

impl Lock<'_> {
    /// Takes it, or takes it anew.
    async fn hold(&mut self) -> Result<()> {
        let of = self.of;
        let arguments = |_, command: &mut Cmd| {
            command.arg(of.names[0].lock()).arg(&of.id.to_be_bytes()[..]).arg(of.lease_ms);
        };
        match of.scripts.run(&of.redis, Script::Lock, 1, arguments).await?.pop() {
            Some(Ok(Value::Int(0))) => {}
            Some(Ok(Value::Int(for_ms))) => {
                return Err(of.lost_to_another(format!("another rebuild runs, or died within {for_ms} ms")));
            }
            Some(Err(error)) => return Err(error),
            _ => return Err(of.unlike(OP)),
        }
        self.renew_at = Instant::now() + Duration::from_millis(of.lease_ms.into()) / 3;
        Ok(())
    }

    /// Takes it anew when it is time. That nobody answers is no reason to stop: whoever takes it over says so in the
    /// heads.
    async fn renew(&mut self) -> Result<()> {
        if Instant::now() < self.renew_at {
            return Ok(());
        }
        match self.hold().await {
            Err(error) if error.kind() == ErrorKind::Conflict => Err(error),
            Err(_) => {
                self.renew_at = Instant::now() + Duration::from_millis(self.of.lease_ms.into()) / 10;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn release(self) {
        let of = self.of;
        let arguments = |_, command: &mut Cmd| {
            command.arg(of.names[0].lock()).arg(&of.id.to_be_bytes()[..]);
        };
        // It ends by itself otherwise.
        drop(of.scripts.run(&of.redis, Script::Unlock, 1, arguments).await);
    }
}

impl HostedBloom {
    pub(super) async fn build(&self, plan: Plan, scan: &mut dyn Scan) -> Result<Rebuilt> {
        self.redis.connection()?;
        if self.rebuilds.swap(true, Ordering::AcqRel) {
            return Err(self.lost_to_another("another rebuild runs".to_owned()));
        }
        let only = Only(&self.rebuilds);
        let mut lock = Lock { of: self, renew_at: Instant::now() };
        lock.hold().await?;
        let built = self.build_locked(plan, scan, &mut lock).await;
        lock.release().await;
        drop(only);
        built
    }

    async fn build_locked(&self, plan: Plan, scan: &mut dyn Scan, lock: &mut Lock<'_>) -> Result<Rebuilt> {
        self.read_heads(OP).await?;
        let known = self.known.load_full();
        let last = known.iter().flatten().flat_map(|known| [known.head.serving, known.head.building]);
        let epoch = last.flatten().map(|table| table.epoch).max().unwrap_or(0) + 1;
        let Some(table) = Table::new(plan, self.shape.segments, epoch, self.token()) else {
            let message = format!(
                "{} bits in {} segments: each would be longer than a string of the server, 512 MiB",
                plan.total_bits(),
                self.shape.segments
            );
            return Err(Error::new(ErrorKind::Invalid, self.redis.backend(), OP, message));
        };
        let mut bits = Bits::new(table, self.shape.segments)?;
        let built = self.fill_and_swap(&mut bits, scan, lock).await;
        if built.is_err() {
            self.abandon(table.token).await;
        }
        built
    }

    async fn fill_and_swap(
        &self,
        bits: &mut Bits,
        scan: &mut dyn Scan,
        lock: &mut Lock<'_>,
    ) -> Result<Rebuilt> {
        let (segments, carried) = self.open(bits).await?;
        let (mut lot, mut scanned) = (Vec::new(), 0);
        loop {
            lock.renew().await?;
            lot.clear();
            let more = {
                let mut next = scan.next(&mut lot);
                loop {
                    match timeout_at(lock.renew_at, &mut next).await {
                        Ok(more) => break more?,
                        Err(_) => lock.renew().await?,
                    }
                }
            };
            scanned += lot.len() as u64;
            lot.iter().for_each(|hash| bits.set(self.segment(*hash), *hash));
            if !more {
                break;
            }
        }
        let pieces: Vec<_> = (0..self.shape.segments)
            .flat_map(|segment| bits.pieces(segment).map(move |piece| (segment, piece)))
            .collect();
        for pieces in pieces.chunks(TOGETHER) {
            lock.renew().await?;
            self.send(bits, &segments, pieces).await?;
        }
        lock.renew().await?;
        self.swap(bits.table, &segments).await?;
        Ok(Rebuilt::new(bits.table.epoch, scanned, carried))
    }

    /// Makes the new table of each segment, into which announcements go from then on, too; takes over the keys that were
    /// announced lately.
    ///
    /// Gives what is known of each segment from now on, and how many keys those are.
    async fn open(&self, bits: &mut Bits) -> Result<(Vec<Arc<Known>>, u64)> {
        let mut pending: Vec<u16> = (0..self.shape.segments).collect();
        let mut opened = vec![None; pending.len()];
        let mut carried = Vec::new();
        for _ in 0..ROUNDS {
            let all = self.known.load_full();
            let with = |segment: u16| self.next_head(all[usize::from(segment)].as_deref(), bits.table);
            let fill = |number: usize, command: &mut Cmd| {
                let names = &self.names[usize::from(pending[number])];
                let known = all[usize::from(pending[number])].as_deref();
                let stale = known.and_then(|known| known.building.as_ref());
                command.arg(&names.head).arg(stale.map_or(&names.head, |(_, name)| name));
                command.arg(names.building(&bits.table)).arg(&names.recent[0]).arg(&names.recent[1]);
                command.arg(known.map_or(&[][..], |known| &known.bytes));
                command.arg(with(pending[number]).encode()).arg(bits.table.bytes());
            };
            let results = self.scripts.run(&self.redis, Script::Open, pending.len(), fill).await?;
            let mut again = Vec::new();
            for (&segment, result) in pending.iter().zip(results) {
                match result? {
                    Value::Array(windows) => {
                        opened[usize::from(segment)] = Some(self.install(segment, with(segment)));
                        for window in windows {
                            let Value::BulkString(window) = window else { return Err(self.unlike(OP)) };
                            // The first eight bytes are its mark.
                            let hashes = window.as_chunks().0.iter().skip(1);
                            carried.extend(hashes.map(|hash| (segment, u64::from_be_bytes(*hash))));
                        }
                    }
                    Value::BulkString(head) => {
                        self.learn(segment, &head)?;
                        again.push(segment);
                    }
                    _ => return Err(self.unlike(OP)),
                }
            }
            pending = again;
            if pending.is_empty() {
                carried.sort_unstable();
                carried.dedup();
                carried.iter().for_each(|(segment, hash)| bits.set(*segment, *hash));
                return Ok((opened.into_iter().flatten().collect(), carried.len() as u64));
            }
        }
        Err(self.lost_to_another("the heads change as fast as they are read".to_owned()))
    }

    async fn send(&self, bits: &Bits, all: &[Arc<Known>], pieces: &[(u16, Range<usize>)]) -> Result<()> {
        let fill = |number: usize, command: &mut Cmd| {
            let (segment, piece) = &pieces[number];
            let names = &self.names[usize::from(*segment)];
            let words = &bits.words[piece.clone()];
            command.arg(&names.head).arg(names.building(&bits.table));
            command.arg(&names.scratch[0]).arg(&names.scratch[1]);
            command.arg(&all[usize::from(*segment)].bytes[..]).arg(bits.table.bytes());
            command.arg((piece.start - usize::from(*segment) * bits.words_of_segment()) * 8);
            command.arg(words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>());
        };
        let results = self.scripts.run(&self.redis, Script::Fill, pieces.len(), fill).await?;
        results.into_iter().try_for_each(|result| self.went_well(&result?))
    }

    async fn swap(&self, table: Table, all: &[Arc<Known>]) -> Result<()> {
        let next = |segment: usize| Head { serving: Some(table), building: None, ..all[segment].head };
        let fill = |segment: usize, command: &mut Cmd| {
            let (names, known) = (&self.names[segment], &all[segment]);
            let old = known.serving.as_ref().map_or(&names.head, |(_, name)| name);
            command.arg(&names.head).arg(old).arg(names.building(&table)).arg(names.serving(&table));
            command.arg(&known.bytes[..]).arg(next(segment).encode()).arg(table.bytes());
        };
        let results = self.scripts.run(&self.redis, Script::Swap, all.len(), fill).await?;
        let mut swapped = Ok(());
        for (segment, result) in (0..).zip(results) {
            match result.and_then(|value| self.went_well(&value)) {
                Ok(()) => drop(self.install(segment, next(usize::from(segment)))),
                Err(error) => swapped = Err(error),
            }
        }
        swapped
    }

    /// Drops what this rebuild has made, as far as the servers are there; the next rebuild drops the rest.
    async fn abandon(&self, token: u64) {
        // Not what was known: where a swap was not answered, it may have happened.
        if self.read_heads(OP).await.is_err() {
            return;
        }
        let all = self.known.load_full();
        let is_own = |table: &Table| table.token == token;
        let own: Vec<_> = (0..self.shape.segments)
            .zip(all.iter())
            .filter_map(|(segment, known)| Some((segment, known.as_ref()?)))
            .filter(|(_, known)| known.head.building.as_ref().is_some_and(is_own))
            .collect();
        let next = |known: &Known| Head { building: None, ..known.head };
        let fill = |number: usize, command: &mut Cmd| {
            let (segment, known) = own[number];
            let head = &self.names[usize::from(segment)].head;
            command.arg(head).arg(known.building.as_ref().map_or(head, |(_, name)| name));
            command.arg(&known.bytes[..]).arg(next(known).encode());
        };
        let Ok(results) = self.scripts.run(&self.redis, Script::Abandon, own.len(), fill).await else {
            return;
        };
        for ((segment, known), result) in own.iter().zip(results) {
            if matches!(result, Ok(Value::Int(1))) {
                self.install(*segment, next(known));
            }
        }
    }

    /// The head of a segment once `table` is being built.
    fn next_head(&self, known: Option<&Known>, table: Table) -> Head {
        let head = known.map_or(self.empty.head, |known| known.head);
        Head { building: Some(table), ..head }
    }

    fn install(&self, segment: u16, head: Head) -> Arc<Known> {
        let known = Arc::new(Known::new(head, &self.names[usize::from(segment)]));
        self.remember(segment, Some(&known));
        known
    }

    fn went_well(&self, reply: &Value) -> Result<()> {
        match reply {
            Value::Int(1) => Ok(()),
            Value::Int(0) => Err(self.taken_over()),
            Value::Int(_) => {
                let message = "a server has lost what was being built";
                let error = Error::new(ErrorKind::Unavailable, self.redis.backend(), OP, message);
                Err(error.with_retry(Retry::Safe))
            }
            _ => Err(self.unlike(OP)),
        }
    }

    fn taken_over(&self) -> Error {
        self.lost_to_another("another rebuild took over, or a server has lost this one".to_owned())
    }

    fn lost_to_another(&self, message: String) -> Error {
        Error::new(ErrorKind::Conflict, self.redis.backend(), OP, message)
    }
}
