//! What the filter is like, from what its tables hold.

use ::redis::{Cmd, Value};
use backends::{Result, redis_1::Batch};

use super::{
    HostedBloom,
    head::{BLOCK, Table},
};
use crate::{State, blocked::rule};

/// Bytes of all tables whose bits are counted; of larger filters, the beginning of each segment.
const COUNTED: u64 = 64 << 20;

impl HostedBloom {
    pub(super) async fn survey(&self) -> Result<State> {
        let rebuilding = self.read_heads("state").await?;
        let known = self.known.load_full();
        let tables = || known.iter().map(|known| known.as_ref().and_then(|known| known.serving.as_ref()));
        let most = (COUNTED / u64::from(self.shape.segments)).max(BLOCK);
        let counted = |table: &Table| table.bytes().min(most / BLOCK * BLOCK);
        let mut batch = Batch::with_capacity(self.names.len() * 3);
        let mut command = Cmd::new();
        for (names, table) in self.names.iter().zip(tables()) {
            let (name, last) = table.map_or((&names.head, 0), |(table, name)| (name, counted(table) - 1));
            command.clear();
            batch.push(command.arg("BITCOUNT").arg(name).arg(0).arg(last));
            for recent in &names.recent {
                command.clear();
                batch.push(command.arg("STRLEN").arg(recent));
            }
        }
        let mut counts = Vec::with_capacity(batch.len());
        for reply in self.redis.connection()?.send("state", &batch).await {
            let Value::Int(count) = reply?.into_value() else { return Err(self.unlike("state")) };
            counts.push(u64::try_from(count).unwrap_or_default());
        }
        let mut state = State::none();
        let (mut len, mut rates) = (0.0, 0.0);
        state.rebuilding = rebuilding;
        for (counts, table) in counts.chunks_exact(3).zip(tables()) {
            // Each has a mark of as many bytes as a key.
            state.unsettled += counts[1..].iter().map(|bytes| (bytes / 8).saturating_sub(1)).sum::<u64>();
            let Some((table, _)) = table else {
                rates += 1.0;
                continue;
            };
            state.epoch = state.epoch.max(table.epoch);
            state.planned = state.planned.max(table.planned);
            state.size_bytes += table.bytes();
            let keys = keys(counts[0], counted(table) * 8, table.positions.into());
            len += keys * table.blocks as f64;
            rates += rate(keys, table.positions.into());
        }
        state.len = len.round() as u64;
        state.expected_rate = rates / self.names.len() as f64;
        Ok(state)
    }

    /// Reads the head of every segment, and whether somebody rebuilds.
    pub(super) async fn read_heads(&self, op: &'static str) -> Result<bool> {
        let mut batch = Batch::with_capacity(self.names.len() + 1);
        let mut command = Cmd::new();
        for names in &self.names {
            command.clear();
            batch.push(command.arg("GET").arg(&names.head));
        }
        command.clear();
        batch.push(command.arg("EXISTS").arg(self.names[0].lock()));
        let mut replies = self.redis.connection()?.send(op, &batch).await.into_iter();
        for (segment, reply) in (0..self.shape.segments).zip(replies.by_ref()) {
            match reply?.into_value() {
                Value::Nil => self.learn(segment, &[])?,
                Value::BulkString(head) => self.learn(segment, &head)?,
                _ => return Err(self.unlike(op)),
            }
        }
        match replies.next().transpose()?.map(backends::redis_1::Reply::into_value) {
            Some(Value::Int(exists)) => Ok(exists > 0),
            _ => Err(self.unlike(op)),
        }
    }
}

/// Which share of a block's bits a key sets: positions may fall on one another.
fn share(positions: u32) -> f64 {
    1.0 - (1.0 - 1.0 / rule::BITS as f64).powf(positions.into())
}

/// How many keys a block has, where so many of all bits are set. Keys fall on blocks as in a Poisson process, so that
/// `e^(-keys * share)` of the bits are zero.
fn keys(set: u64, bits: u64, positions: u32) -> f64 {
    // Of a full table, there is no more to say than this.
    let zero = (bits.saturating_sub(set) as f64).max(0.5) / bits as f64;
    -zero.ln() / share(positions)
}

/// The false-positive rate of blocks with `keys` keys each on average, by chance more or less.
fn rate(keys: f64, positions: u32) -> f64 {
    if keys <= 0.0 {
        return 0.0;
    }
    let share = share(positions);
    let most = (keys + 12.0 * keys.sqrt() + 12.0).ceil() as u32;
    let mut log_chance = -keys;
    let mut rate = 0.0;
    for here in 0..=most {
        if here > 0 {
            log_chance += keys.ln() - f64::from(here).ln();
        }
        // Of those bits that a stranger asks for, each is set with this chance.
        let set = 1.0 - (1.0 - share).powi(here.try_into().unwrap_or(i32::MAX));
        rate += log_chance.exp() * set.powf(f64::from(positions));
    }
    rate.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_their_bits() {
        let (blocks, positions) = (2_000, 7);
        let mut table = vec![[0_u64; rule::WORDS]; blocks];
        for hash in (1..=100_000_u64).map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())) {
            let block = rule::block(hash, blocks as u64, positions);
            let words = &mut table[block.index as usize];
            words.iter_mut().zip(block.bits).for_each(|(word, bits)| *word |= bits);
        }
        let set: u64 = table.iter().flatten().map(|word| u64::from(word.count_ones())).sum();
        let found = keys(set, blocks as u64 * rule::BITS, positions) * blocks as f64;
        assert!((found / 100_000.0 - 1.0).abs() < 0.01, "{found}");
        let strangers = (1..=400_000_u64).map(|n| xxhash_rust::xxh3::xxh3_64(&(n << 32).to_le_bytes()));
        let is_there = |hash: &u64| {
            let block = rule::block(*hash, blocks as u64, positions);
            table[block.index as usize].iter().zip(block.bits).all(|(word, bits)| word & bits == bits)
        };
        let observed = strangers.filter(is_there).count() as f64 / 400_000.0;
        let expected = rate(50.0, positions);
        assert!((observed / expected - 1.0).abs() < 0.06, "{observed} {expected}");
    }

    #[test]
    fn the_empty_and_the_full_have_a_number_of_keys() {
        assert_eq!(keys(0, 512, 7), 0.0);
        assert_eq!(rate(0.0, 7), 0.0);
        assert!(keys(512, 512, 7).is_finite() && rate(keys(512, 512, 7), 7) > 0.9);
        assert!(rate(1e6, 7) > 0.999);
    }
}
