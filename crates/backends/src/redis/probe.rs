//! Finds servers that say that a write is on disk before it is.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{Cmd, RedisError, Value, cmd};
use tokio::{task::JoinSet, time::Instant};

use super::{
    Redis,
    connection::Server,
    durable::{self, Wait},
    endpoint::Address,
    error::{Failure, redis_error},
    harmless,
    node::Node,
    resp::Reply,
    route::{SLOTS, slot},
};
use crate::{Error, ErrorKind, Result, Retry};

/// No probe takes longer than this, and the request time-out at most.
const LONGEST: Duration = Duration::from_secs(5);
/// Under `everysec` a server asks its disk once in a second, perhaps once more for a second that just
/// began, and once more at the end of a rewrite. More answers than that need no disk.
const TOO_MANY: usize = 5;
const SECOND: Duration = Duration::from_secs(1);
/// Waits of an honest server that follow one another last for a second, less what its clock is coarse.
const SLOW: Duration = Duration::from_millis(700);
/// How many of them are convincing, and how many others a rewrite excuses.
const CONVINCING: usize = 2;
const EXCUSED: usize = 1;
/// Of keys that tell masters apart.
const CANDIDATES: u16 = SLOTS;

/// What it means when a server says that a write is on disk, as [`Redis::probe_fsync`] found out. Of
/// several servers, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FsyncHonesty {
    /// It waits for its disk: always, or about as long as `appendfsync everysec` has to.
    Honest,
    /// It could not be told: too few answers came, or the policy is not known.
    Unknown,
    /// It writes an append-only file that it never asks the disk to keep: `appendfsync no`. It does not
    /// say that anything is on disk.
    NoFsync,
    /// It writes no append-only file, and refuses to wait for one.
    NoAof,
    /// It answers more often than it can have asked its disk: what it says is worth nothing.
    AnswersEarly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    EverySecond,
    No,
    /// It may not be asked for, or is none of these.
    Hidden,
}

/// A write and the wait behind it, in time since the beginning of the probe.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    sent: Duration,
    answered: Duration,
    /// Whether the answer was that the disk has it.
    on_disk: bool,
}

impl Redis {
    /// An error unless every master waits for its disk before it says that a write is there, as
    /// [`probe_fsync`](Self::probe_fsync) finds out; `trust` names what a user calls to believe it nevertheless.
    ///
    /// # Errors
    ///
    /// `Unsupported`, of the operation `op`, with the name of the server and what is wrong with it; otherwise those of
    /// the probe.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: the keys of the probe expire.
    pub async fn require_fsync(&self, op: &'static str, trust: &str) -> Result<()> {
        let why = match self.probe_fsync().await? {
            FsyncHonesty::Honest => return Ok(()),
            FsyncHonesty::AnswersEarly => {
                "says that writes are on disk before they are (WAITAOF answers more often than it asks its disk)"
            }
            FsyncHonesty::NoAof => "keeps no append-only file (appendonly no)",
            FsyncHonesty::NoFsync => "never asks its disk to keep its append-only file (appendfsync no)",
            FsyncHonesty::Unknown => "could not be judged: too few answers came, or CONFIG GET is forbidden",
        };
        let name = self.server_name().await.unwrap_or_else(|| "the server".to_owned());
        let message = format!(
            "Ack::Fsync cannot be given: {name} {why}; use Ack::Replicas, appendfsync always, or {trust} to believe it \
             nevertheless"
        );
        Err(Error::new(ErrorKind::Unsupported, self.backend(), op, message))
    }

    /// What the server calls itself, with its version and port; of a cluster, one of its nodes.
    async fn server_name(&self) -> Option<String> {
        let mut connection = self.connection().ok()?;
        let info: String = cmd("INFO").arg("server").query_async(&mut connection).await.ok()?;
        let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let (kind, version) = match of("valkey_version") {
            Some(version) => ("Valkey", version),
            None => ("Redis", of("redis_version")?),
        };
        let port = of("tcp_port")?;
        Some(if self.backend() == "redis" {
            format!("{kind} {version} at port {port}")
        } else {
            format!("a master of the cluster ({kind} {version})")
        })
    }
}

impl Redis {
    /// Finds out whether the server waits for its disk before it says that a write is there, as
    /// `Wait::fsync` asks it to; of a cluster, every master, and the worst of them counts. To be called
    /// once at the start by who depends on it.
    ///
    /// Writes a small key that expires after a minute, and waits for the disk, several times in a row on
    /// a connection of its own. Under `appendfsync everysec` an honest server can answer about once a second;
    /// one that answers five times within a second answers early. That takes about 3 s for an honest
    /// server, less than one for the others, and at most 5 s and the request time-out. Under `appendfsync
    /// always` one answer within that time is enough, as the server cannot answer anything before its disk
    /// has. Lies of the disk itself are not found.
    ///
    /// The policy is read by `CONFIG GET`. Where that is forbidden, a server that answers at once is
    /// `Unknown`: its policy may be `always`.
    ///
    /// Cancel safe: the keys expire.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a server older than 7.2, otherwise those of a write. None is ambiguous.
    pub async fn probe_fsync(&self) -> Result<FsyncHonesty> {
        let backend = self.backend();
        let connection = self.open(OP)?;
        let nodes = match connection.server() {
            Server::Single(node) => vec![(Arc::clone(node), key(0))],
            Server::Cluster(cluster) => {
                let mut masters: HashMap<Address, (Arc<Node>, String)> = HashMap::new();
                for key in (0..CANDIDATES).map(key) {
                    let node =
                        cluster.owner(slot(key.as_bytes())).map_err(|failure| failure.at(backend, OP))?;
                    masters.entry(node.address.clone()).or_insert((node, key));
                }
                masters.into_values().collect()
            }
        };
        let mut probes = JoinSet::new();
        for (node, key) in nodes {
            probes.spawn(async move { probe(&node, &key, backend).await });
        }
        let mut worst = FsyncHonesty::Honest;
        while let Some(probed) = probes.join_next().await {
            let honesty = probed.unwrap_or_else(|_| Err(Failure::broken().at(backend, OP)));
            worst = worst.max(honesty.map_err(harmless)?);
        }
        Ok(worst)
    }
}

const OP: &str = "probe_fsync";

fn key(n: u16) -> String {
    format!("patterns.backends.probe_fsync:{n}")
}

async fn probe(node: &Arc<Node>, key: &str, backend: &'static str) -> Result<FsyncHonesty> {
    let Some(policy) = policy(node).await.map_err(|failure| failure.at(backend, OP))? else {
        return Ok(FsyncHonesty::NoAof);
    };
    let mut set = cmd("SET");
    set.arg(key).arg(0).arg("PX").arg(60_000);
    let start = Instant::now();
    let mut exchanges = Vec::new();
    loop {
        let sent = start.elapsed();
        if let Some(honesty) = verdict(policy, &exchanges) {
            return Ok(honesty);
        }
        // Who never asks the disk would never answer.
        let longest = if policy == Policy::No { SECOND + SECOND / 2 } else { LONGEST };
        if sent >= longest {
            return Ok(at_last(policy, &exchanges));
        }
        let wait = Wait::fsync(true, 0, longest - sent);
        let mut answers = exchange(node, &[&set, &wait.command()], wait.timeout())
            .await
            .map_err(|failure| failure.at(backend, OP))?;
        let (waited, written) = (answers.pop(), answers.pop());
        if let Some(Value::ServerError(error)) = written {
            return Err(redis_error(backend, OP, error.into()));
        }
        let on_disk = match waited {
            Some(Value::ServerError(error)) => {
                let error = durable::refused(backend, OP, RedisError::from(error));
                return match error.kind() {
                    ErrorKind::Config => Ok(FsyncHonesty::NoAof),
                    ErrorKind::Unsupported => Err(error.with_retry(Retry::Never)),
                    _ => Err(error),
                };
            }
            Some(answer) => wait.read(&answer).map(|(local, _)| local),
            None => None,
        };
        let Some(on_disk) = on_disk else {
            let text = "the answer to the wait holds no counts";
            return Err(Error::new(ErrorKind::Corrupt, backend, OP, text));
        };
        exchanges.push(Exchange { sent, answered: start.elapsed(), on_disk });
    }
}

/// The policy of a server with an append-only file, `None` without.
async fn policy(node: &Arc<Node>) -> Result<Option<Policy>, Failure> {
    let mut get = cmd("CONFIG");
    get.arg("GET").arg("append*");
    let answer = exchange(node, &[&get], Duration::ZERO).await?.pop();
    let Some(Value::Array(words)) = answer else { return Ok(Some(Policy::Hidden)) };
    let of = |name: &str| {
        words.chunks_exact(2).find_map(|pair| match pair {
            [Value::BulkString(key), Value::BulkString(value)] if key == name.as_bytes() => Some(&**value),
            _ => None,
        })
    };
    if of("appendonly") == Some(b"no") {
        return Ok(None);
    }
    Ok(Some(match of("appendfsync") {
        Some(b"always") => Policy::Always,
        Some(b"everysec") => Policy::EverySecond,
        Some(b"no") => Policy::No,
        _ => Policy::Hidden,
    }))
}

async fn exchange(node: &Arc<Node>, commands: &[&Cmd], wait: Duration) -> Result<Vec<Value>, Failure> {
    let patience = node.settings.request_timeout + wait;
    let encode = |out: &mut Vec<u8>| commands.iter().for_each(|command| command.write_packed_command(out));
    let replies = node.request_alone(commands.len(), patience, encode).await?;
    Ok(replies.into_iter().map(Reply::into_value).collect())
}

/// What is known after some exchanges, each sent when the one before was answered; `None` while more
/// are needed.
fn verdict(policy: Policy, exchanges: &[Exchange]) -> Option<FsyncHonesty> {
    let answered = exchanges.iter().filter(|exchange| exchange.on_disk).count();
    match policy {
        // Nothing leaves such a server before its disk has what was written until then.
        Policy::Always => return (answered > 0).then_some(FsyncHonesty::Honest),
        Policy::No => return (answered > 0).then_some(FsyncHonesty::AnswersEarly),
        Policy::EverySecond | Policy::Hidden => {}
    }
    // Each of them had to wait for another time that the disk was asked.
    let is_early = exchanges.windows(TOO_MANY).any(|many| {
        many.iter().all(|exchange| exchange.on_disk) && many[TOO_MANY - 1].answered - many[0].sent < SECOND
    });
    if is_early {
        let is_known = policy == Policy::EverySecond;
        return Some(if is_known { FsyncHonesty::AnswersEarly } else { FsyncHonesty::Unknown });
    }
    // The first write may have come just before the disk was asked.
    let rest = exchanges.get(1..).unwrap_or_default();
    let slow = rest.iter().filter(|exchange| exchange.answered - exchange.sent >= SLOW).count();
    let is_honest = answered > 0 && slow >= CONVINCING && rest.len() - slow <= EXCUSED;
    is_honest.then_some(FsyncHonesty::Honest)
}

/// What is known when there is no more time.
fn at_last(policy: Policy, exchanges: &[Exchange]) -> FsyncHonesty {
    let is_silent = exchanges.iter().all(|exchange| !exchange.on_disk);
    if policy == Policy::No && is_silent { FsyncHonesty::NoFsync } else { FsyncHonesty::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchanges that took so many milliseconds, one after the other.
    fn took(milliseconds: &[u64]) -> Vec<Exchange> {
        let mut now = Duration::ZERO;
        let exchange = |&took: &u64| {
            let sent = now;
            now += Duration::from_millis(took);
            Exchange { sent, answered: now, on_disk: true }
        };
        milliseconds.iter().map(exchange).collect()
    }

    fn check(milliseconds: &[u64], of_every_second: Option<FsyncHonesty>, of_hidden: Option<FsyncHonesty>) {
        let exchanges = took(milliseconds);
        assert_eq!(verdict(Policy::EverySecond, &exchanges), of_every_second, "{milliseconds:?}");
        assert_eq!(verdict(Policy::Hidden, &exchanges), of_hidden, "{milliseconds:?}");
    }

    #[test]
    fn a_second_apart_is_honest_and_five_in_a_second_are_early() {
        use FsyncHonesty::{AnswersEarly, Honest, Unknown};
        check(&[], None, None);
        check(&[0, 1_000], None, None);
        // As Redis 8.2 and Valkey 9.1 were seen to answer.
        check(&[659, 1_005, 1_009], Some(Honest), Some(Honest));
        check(&[64, 100, 100, 101], None, None);
        check(&[64, 100, 100, 101, 201], Some(AnswersEarly), Some(Unknown));
        check(&[500, 1, 1, 1, 1, 1], Some(AnswersEarly), Some(Unknown));
        // A rewrite that ends between two seconds, and a server that is neither.
        check(&[900, 100, 1_000, 1_000], Some(Honest), Some(Honest));
        check(&[1, 300, 300, 300, 300, 800, 800], None, None);
    }

    #[test]
    fn other_policies_need_one_answer() {
        assert_eq!(verdict(Policy::Always, &took(&[1])), Some(FsyncHonesty::Honest));
        assert_eq!(verdict(Policy::No, &took(&[1])), Some(FsyncHonesty::AnswersEarly));
        assert_eq!(at_last(Policy::No, &[]), FsyncHonesty::NoFsync);
        assert_eq!(at_last(Policy::Always, &[]), FsyncHonesty::Unknown);
    }
}
