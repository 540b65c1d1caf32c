//! The scripts, and how many are sent at once.

use ::redis::{Cmd, Value};
use backends::{
    Redis, Result,
    redis_1::{Acknowledged, Batch, Reply, Wait, is_unknown_script},
};

/// A script, as it is sent to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Announce,
    Open,
    Fill,
    Swap,
    Abandon,
    Lock,
    Unlock,
}

impl Script {
    const ALL: [Self; 7] =
        [Self::Announce, Self::Open, Self::Fill, Self::Swap, Self::Abandon, Self::Lock, Self::Unlock];

    const fn text(self) -> &'static str {
        match self {
            Self::Announce => include_str!("lua/announce.lua"),
            Self::Open => include_str!("lua/open.lua"),
            Self::Fill => include_str!("lua/fill.lua"),
            Self::Swap => include_str!("lua/swap.lua"),
            Self::Abandon => include_str!("lua/abandon.lua"),
            Self::Lock => include_str!("lua/lock.lua"),
            Self::Unlock => include_str!("lua/unlock.lua"),
        }
    }

    /// How many keys each call names.
    const fn keys(self) -> usize {
        match self {
            Self::Announce | Self::Open => 5,
            Self::Fill | Self::Swap => 4,
            Self::Abandon => 2,
            Self::Lock | Self::Unlock => 1,
        }
    }

    /// The operation, as errors carry it.
    const fn op(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            _ => "rebuild",
        }
    }
}

/// The hashes by which a server knows the scripts.
#[derive(Debug)]
pub(super) struct Hashes([String; Script::ALL.len()]);

impl Hashes {
    pub(super) fn new() -> Self {
        Self(Script::ALL.map(|script| ::redis::Script::new(script.text()).get_hash().to_owned()))
    }

    fn by_hash(&self, script: Script, fill: impl FnOnce(&mut Cmd)) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&self.0[script as usize]).arg(script.keys());
        fill(&mut command);
        command
    }

    /// Runs `script` on the keys and arguments that `fill` adds for each number below `count`, in one round trip a
    /// server; one result each, in their order.
    pub(super) async fn run(
        &self,
        redis: &Redis,
        script: Script,
        count: usize,
        fill: impl Fn(usize, &mut Cmd) + Send + Sync,
    ) -> Result<Vec<Result<Value>>> {
        let connection = redis.connection()?;
        let mut batch = Batch::with_capacity(count);
        for number in 0..count {
            batch.push(&self.by_hash(script, |command| fill(number, command)));
        }
        let replies = connection.send(script.op(), &batch).await;
        let mut results: Vec<_> = replies.into_iter().map(|reply| reply.map(Reply::into_value)).collect();
        let is_unknown = |result: &Result<Value>| matches!(result, Err(error) if is_unknown_script(error));
        let unknown: Vec<_> = (0..count).filter(|number| is_unknown(&results[*number])).collect();
        if !unknown.is_empty() {
            let mut batch = Batch::with_capacity(unknown.len());
            for number in &unknown {
                batch.push(&by_text(script, |command| fill(*number, command)));
            }
            let replies = connection.send(script.op(), &batch).await;
            for (number, reply) in unknown.into_iter().zip(replies) {
                results[number] = reply.map(Reply::into_value);
            }
        }
        Ok(results)
    }

    /// The same once, waiting for replicas or disks.
    pub(super) async fn run_durably(
        &self,
        redis: &Redis,
        script: Script,
        wait: Wait,
        fill: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Acknowledged> {
        match redis.durable(script.op(), &self.by_hash(script, &fill), wait).await {
            Err(error) if is_unknown_script(&error) => {
                redis.durable(script.op(), &by_text(script, &fill), wait).await
            }
            acknowledged => acknowledged,
        }
    }
}

fn by_text(script: Script, fill: impl FnOnce(&mut Cmd)) -> Cmd {
    let mut command = Cmd::new();
    command.arg("EVAL").arg(script.text()).arg(script.keys());
    fill(&mut command);
    command
}
