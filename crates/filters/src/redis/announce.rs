//! How keys are added.

use std::{future::poll_fn, ops::Range, pin::Pin, task::Poll};

use ::redis::{Cmd, Value};
use backends::{
    Error, ErrorKind, Result, Retry,
    redis_1::{Batch, KeyedCommand, Wait},
};

use super::{
    HostedBloom,
    head::{Known, Table},
    script::Script,
    stats::add,
};
use crate::blocked::rule;

/// Words that a script can take off its arguments at once: Lua has room for some 8,000.
const MOST_WORDS: usize = 4_000;
/// Words of `BITFIELD` that set one bit.
const WORDS: usize = 4;
/// How often an announcement is repeated that met another head. Each has begun or ended a rebuild.
const ROUNDS: usize = 16;

/// Hashes of one segment.
#[derive(Clone, Debug)]
struct Part {
    segment: u16,
    hashes: Range<usize>,
}

/// What became of a part.
enum Outcome {
    Done,
    /// The head was another one.
    Again,
    /// There was no head.
    Headless,
}

impl HostedBloom {
    pub(super) async fn add(&self, hashes: &[u64]) -> Result<()> {
        let mut hashes: Vec<_> = hashes.iter().map(|hash| (self.segment(*hash), *hash)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        let (mut pending, mut first) = (Vec::new(), 0);
        for same in hashes.chunk_by(|one, other| one.0 == other.0) {
            pending.push(Part { segment: same[0].0, hashes: first..first + same.len() });
            first += same.len();
        }
        let hashes: Vec<_> = hashes.into_iter().map(|(_, hash)| hash).collect();
        for round in 0..ROUNDS {
            if round > 0 {
                add(&self.counters.repeated, pending.len());
            }
            pending = self.add_once(&hashes, &pending).await?;
            if pending.is_empty() {
                add(&self.counters.announced, hashes.len());
                return Ok(());
            }
        }
        let message = "rebuilds begin and end too fast";
        Err(Error::new(ErrorKind::Conflict, self.redis.backend(), "announce", message))
    }

    /// Gives back those parts that met another head.
    async fn add_once(&self, hashes: &[u64], pending: &[Part]) -> Result<Vec<Part>> {
        let known = self.known.load_full();
        let at = |part: &Part| known[usize::from(part.segment)].clone();
        let parts: Vec<_> = pending.iter().flat_map(|part| self.split(part, at(part).as_deref())).collect();
        let fill = |number: usize, command: &mut Cmd| {
            let part: &Part = &parts[number];
            self.command(part.segment, at(part).as_deref(), &hashes[part.hashes.clone()], command);
        };
        let results = match self.ack.wait(self.ack_timeout) {
            None => self.scripts.run(&self.redis, Script::Announce, parts.len(), fill).await?,
            Some(wait) => self.run_durably(parts.len(), fill, wait).await?,
        };
        let (mut again, mut orphans) = (Vec::new(), Vec::new());
        for (part, result) in parts.iter().zip(results) {
            match self.outcome(part.segment, result)? {
                Outcome::Done => continue,
                Outcome::Again => {}
                Outcome::Headless => {
                    let known = at(part);
                    let tables = known.iter().flat_map(|known| [&known.serving, &known.building]);
                    orphans.extend(tables.flatten().map(|(_, name)| name.clone()));
                }
            }
            again.push(part.clone());
        }
        self.drop_orphans(orphans).await?;
        Ok(again)
    }

    /// Takes away tables whose head was lost: others may ask them yet, and no announcement reaches them any more.
    async fn drop_orphans(&self, mut names: Vec<String>) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        names.dedup();
        let (unlink, mut batch) = (KeyedCommand::new(["UNLINK"]), Batch::with_capacity(names.len()));
        for name in &names {
            batch.push_keyed(&unlink, name.as_bytes());
        }
        let replies = self.redis.connection()?.send("announce", &batch).await;
        replies.into_iter().try_for_each(|reply| reply.map(drop))
    }

    /// Calls for one segment take so many hashes as one command of the tables can.
    fn split(&self, part: &Part, known: Option<&Known>) -> Vec<Part> {
        let positions = known.map_or(1, |known| {
            let positions =
                |table: &Option<(Table, String)>| table.as_ref().map_or(1, |(table, _)| table.positions);
            positions(&known.serving).max(positions(&known.building))
        });
        let (Range { start, end }, most) =
            (part.hashes.clone(), MOST_WORDS / (WORDS * usize::from(positions)));
        let first = (start..end).step_by(most);
        first.map(|first| Part { segment: part.segment, hashes: first..end.min(first + most) }).collect()
    }

    fn command(&self, segment: u16, known: Option<&Known>, hashes: &[u64], command: &mut Cmd) {
        let names = &self.names[usize::from(segment)];
        let known = known.unwrap_or(&self.empty);
        let tables = [&known.serving, &known.building];
        command.arg(&names.head);
        for table in tables {
            command.arg(table.as_ref().map_or(&names.head, |(_, name)| name));
        }
        command.arg(&names.recent[0]).arg(&names.recent[1]);
        let is_empty = known.serving.is_none() && known.building.is_none();
        command.arg(&known.bytes[..]).arg(u8::from(is_empty));
        command.arg(self.shape.in_doubt_ms).arg(self.window_bytes);
        let packed: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        command.arg(packed);
        for table in tables {
            command.arg(table.as_ref().map_or(0, |(table, _)| table.bytes()));
        }
        let bits = tables.map(|table| table.as_ref().map_or_else(Vec::new, |(table, _)| bits(table, hashes)));
        for bits in &bits {
            command.arg(bits.len() * WORDS);
        }
        for bit in bits.iter().flatten() {
            command.arg("SET").arg("u1").arg(*bit).arg(1);
        }
    }

    fn outcome(&self, segment: u16, result: Result<Value>) -> Result<Outcome> {
        match result? {
            Value::Int(1) => Ok(Outcome::Done),
            Value::Int(_) => {
                add(&self.counters.overloaded, 1);
                let message = "too many keys were announced lately";
                Err(Error::new(ErrorKind::Overloaded, self.redis.backend(), "announce", message))
            }
            Value::BulkString(head) => {
                self.learn(segment, &head)?;
                Ok(if head.is_empty() { Outcome::Headless } else { Outcome::Again })
            }
            Value::Nil => Ok(Outcome::Again),
            _ => Err(self.unlike("announce")),
        }
    }

    /// One result each, in their order; `Nil` for what was done and not waited for.
    async fn run_durably(
        &self,
        count: usize,
        fill: impl Fn(usize, &mut Cmd) + Send + Sync,
        wait: Wait,
    ) -> Result<Vec<Result<Value>>> {
        // Of one server, who has the last of some writes has them all. On a cluster, each may be another's.
        let first = if self.redis.backend() == "redis" { count.saturating_sub(1) } else { 0 };
        let mut results = if first == 0 {
            Vec::with_capacity(count)
        } else {
            self.scripts.run(&self.redis, Script::Announce, first, &fill).await?
        };
        let durable = (first..count).map(|number| {
            let fill = &fill;
            async move {
                let fill = move |command: &mut Cmd| fill(number, command);
                self.scripts.run_durably(&self.redis, Script::Announce, wait, fill).await
            }
        });
        for acknowledged in together(durable).await {
            results.push(match acknowledged {
                Ok(acknowledged) => match self.ack.lacks(&acknowledged) {
                    // Of one that changed nothing, there is nothing to wait for.
                    Some(lack) if acknowledged.value == Value::Int(1) => {
                        add(&self.counters.unacknowledged, 1);
                        let (kind, backend) = (ErrorKind::Unavailable, self.redis.backend());
                        // Announcing twice does no harm.
                        Err(Error::new(kind, backend, "announce", lack).with_retry(Retry::Safe))
                    }
                    _ => Ok(acknowledged.value),
                },
                Err(error) => Err(error),
            });
        }
        // The last one wrote nothing, so its wait was for nothing of ours.
        if !matches!(results.last(), Some(Ok(Value::Int(1)))) {
            let done = results[..first].iter_mut().filter(|result| matches!(result, Ok(Value::Int(1))));
            done.for_each(|result| *result = Ok(Value::Nil));
        }
        Ok(results)
    }
}

/// The bits of `hashes` in `table`, as a server counts them: from the highest of each byte.
fn bits(table: &Table, hashes: &[u64]) -> Vec<u64> {
    let mut bits = Vec::with_capacity(hashes.len() * usize::from(table.positions));
    for hash in hashes {
        let block = table.block(*hash);
        for (word, mut left) in (0..).zip(block.bits) {
            while left != 0 {
                let bit = u64::from(left.trailing_zeros());
                bits.push(block.index * rule::BITS + word * 64 + (bit ^ 7));
                left &= left - 1;
            }
        }
    }
    bits
}

/// All at once, in their order.
async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<Pin<Box<F>>> = futures.map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_where_a_server_counts_them() {
        let table = Table { epoch: 1, token: 1, blocks: 10, planned: 100, positions: 7 };
        for hash in (1..100_u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) {
            let block = table.block(hash);
            let mut string = vec![0_u8; 640];
            for bit in bits(&table, &[hash]) {
                string[bit as usize / 8] |= 0x80 >> (bit % 8);
            }
            let mut expected = vec![0_u8; 640];
            for (word, bits) in block.bits.iter().enumerate() {
                let at = block.index as usize * 64 + word * 8;
                expected[at..at + 8].copy_from_slice(&bits.to_le_bytes());
            }
            assert_eq!(string, expected);
        }
    }
}
