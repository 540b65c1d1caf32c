//! Limits on Redis and Valkey, single and cluster. Feature `redis`.
//!
//! A decision is one script on one key, in one round trip, by the clock of the server. The scripts are in
//! `src/redis/lua`, one for each algorithm, and decide exactly as the rules in Rust do.
//!
//! | | |
//! |---|---|
//! | what is kept | one value a key, with a version of its format; it expires when the quota is whole again |
//! | a denied request | writes nothing, so it is neither replicated nor logged |
//! | cluster | one key a decision, so one slot, whatever braces the key holds |
//! | a script that the server does not know | is sent again, with the request; callers do not notice |
//! | failover | what the new master had not received is forgotten: [`Builder::wait`] says what was received |
//!
//! What it cannot do: replication is asynchronous, so a failover may forget the last grants, and after it the key
//! has more tokens than it should: at most those of the grants that were lost. A limit that must not be exceeded
//! even then takes `wait`, and denies what too few replicas have acknowledged.

use std::{fmt, time::Duration};

use ::redis::Value;
use backends::{
    Error, ErrorKind, Redis, Result,
    redis_1::{Batch, KeyedCommand, RedisConnection, Reply, Wait, is_unknown_script},
};

use self::script::{Request, Script};
use crate::{Answer, Ask, AskMany, Capability, Decision, Limit, Store};

pub mod script;

/// Where limits are kept: a Redis, a Valkey, or a cluster of them.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use rate_limiter::{Limit, RateLimiter, redis::RedisStore};
///
/// let config = backends::Config::parse("redis://127.0.0.1:6379")?;
/// let store = RedisStore::new(backends::Redis::connect(&config).await?);
/// let limiter = RateLimiter::new(store, Limit::token_bucket("100/s burst 20".parse()?)?);
/// assert!(limiter.allow("alice").await?);
/// # Ok(())
/// # }
/// ```
pub struct RedisStore {
    redis: Redis,
    prefix: Box<[u8]>,
    wait: Option<(Wait, TooFew)>,
    now: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    hashes: [String; Script::ALL.len()],
}

/// How to build a [`RedisStore`].
pub struct Builder {
    prefix: Box<[u8]>,
    wait: Option<(Wait, TooFew)>,
    now: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
}

/// What a grant is worth that fewer replicas have acknowledged than were waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooFew {
    /// It holds.
    Allow,
    /// It is a denial; its tokens stay taken.
    Deny,
    /// It is an error, `Unavailable` and ambiguous.
    Fail,
}

/// An answer, and how many replicas have acknowledged what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledged {
    /// The answer.
    pub answer: Answer,
    /// Replicas that have received it.
    pub replicas: u32,
}

impl Builder {
    /// Begins every key with `prefix` instead of `rl:`.
    #[must_use]
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Self {
        Self { prefix: prefix.as_ref().into(), ..self }
    }

    /// Waits with every decision until `replicas` have received it, but no longer than `timeout`, and does
    /// `too_few` where fewer have. Decisions wait on connections of their own.
    #[must_use]
    pub fn wait(self, replicas: u32, timeout: Duration, too_few: TooFew) -> Self {
        Self { wait: Some((Wait::for_replicas(replicas, timeout), too_few)), ..self }
    }

    /// Takes the time, in microseconds, from `now` instead of the server: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn time(self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Some(Box::new(now)), ..self }
    }

    /// Keeps limits on `redis`.
    #[must_use]
    pub fn build(self, redis: Redis) -> RedisStore {
        let hash = |script: Script| ::redis::Script::new(script.text()).get_hash().to_owned();
        let hashes = Script::ALL.map(hash);
        RedisStore { redis, prefix: self.prefix, wait: self.wait, now: self.now, hashes }
    }
}

impl RedisStore {
    /// Keeps limits on `redis`, under keys that begin with `rl:`.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::builder().build(redis)
    }

    /// A builder.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { prefix: b"rl:"[..].into(), wait: None, now: None }
    }

    /// [`ask`](Store::ask), waiting until `replicas` have received what was taken, but no longer than
    /// `timeout`. Fewer are not an error: [`Acknowledged::replicas`] says how many.
    ///
    /// It waits on a connection of its own, so that nobody else does.
    ///
    /// # Errors
    ///
    /// Those of [`ask`](Store::ask), and `Overloaded` where no connection became free in time.
    ///
    /// # Cancel safety
    ///
    /// A call whose future is dropped may or may not have taken its cost.
    pub async fn ask_acknowledged(
        &self,
        key: &[u8],
        limit: &Limit,
        ask: Ask,
        replicas: u32,
        timeout: Duration,
    ) -> Result<Acknowledged> {
        self.ask_waiting(key, limit, ask, Wait::for_replicas(replicas, timeout)).await
    }

    async fn ask_waiting(&self, key: &[u8], limit: &Limit, ask: Ask, wait: Wait) -> Result<Acknowledged> {
        let (script, arguments) = (Script::of(limit), self.arguments(limit, Request::Ask(ask))?);
        let key = [&*self.prefix, key].concat();
        let command = |name, script: &str| {
            let mut command = ::redis::cmd(name);
            command.arg(script).arg(1).arg(&key).arg(&arguments);
            command
        };
        let by_hash = command("EVALSHA", &self.hashes[script as usize]);
        let acknowledged = match self.redis.durable("acquire", &by_hash, wait).await {
            Err(error) if is_unknown_script(&error) => {
                self.redis.durable("acquire", &command("EVAL", script.text()), wait).await?
            }
            result => result?,
        };
        let Value::Array(items) = acknowledged.value else { return Err(unlike()) };
        let integers = items.iter().map(|item| match item {
            Value::Int(integer) => Some(*integer),
            _ => None,
        });
        let answer = script::answer(&integers.collect::<Option<Vec<_>>>().ok_or_else(unlike)?)?;
        Ok(Acknowledged { answer, replicas: acknowledged.replicas })
    }

    fn arguments(&self, limit: &Limit, request: Request) -> Result<Vec<u64>> {
        script::arguments(limit, request, self.now.as_ref().map(|now| now()))
    }

    async fn run<T>(
        &self,
        op: &'static str,
        key: &[u8],
        limit: &Limit,
        request: Request,
        read: fn(&[i64]) -> Result<T>,
    ) -> Result<T> {
        let (script, arguments) = (Script::of(limit), self.arguments(limit, request)?);
        let connection = self.redis.connection()?;
        let key = [&*self.prefix, key].concat();
        let send = async |command: KeyedCommand| {
            let mut batch = Batch::with_capacity(1);
            batch.push_keyed(&command, &key);
            connection.send(op, &batch).await.pop().ok_or_else(unlike)?
        };
        let reply = match send(call("EVALSHA", &self.hashes[script as usize], &arguments)).await {
            Err(error) if is_unknown_script(&error) => send(call("EVAL", script.text(), &arguments)).await,
            reply => reply,
        };
        parse(&reply?, read)
    }
}

fn call(name: &str, script: &str, arguments: &[u64]) -> KeyedCommand {
    let mut command = KeyedCommand::new([name, script, "1"]);
    for argument in arguments {
        command.number(*argument);
    }
    command
}

fn parse<T>(reply: &Reply, read: fn(&[i64]) -> Result<T>) -> Result<T> {
    match reply {
        Reply::Integers(integers) => read(integers),
        // No script replies with more integers than those hold.
        _ => Err(unlike()),
    }
}

#[cold]
fn unlike() -> Error {
    Error::new(ErrorKind::Corrupt, "redis", "acquire", "the script replied no list of integers")
}

impl Store for RedisStore {
    fn capability(&self) -> Capability {
        Capability::new(self.redis.backend()).server_clock()
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        let Some((wait, too_few)) = self.wait else {
            return self.run("acquire", key, limit, Request::Ask(ask), script::answer).await;
        };
        let Acknowledged { answer, replicas } = self.ask_waiting(key, limit, ask, wait).await?;
        if replicas >= wait.replicas() || answer.taken == 0 {
            return Ok(answer);
        }
        match too_few {
            TooFew::Allow => Ok(answer),
            TooFew::Deny => {
                let decision = Decision::Denied { retry_after: wait.timeout() };
                Ok(Answer { decision, taken: 0, ..answer })
            }
            TooFew::Fail => {
                let message = format!("{replicas} replicas of {} have acknowledged", wait.replicas());
                let error = Error::new(ErrorKind::Unavailable, self.redis.backend(), "acquire", message);
                Err(error.with_retry(backends::Retry::Ambiguous))
            }
        }
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        self.run("refund", key, limit, Request::Refund { cost, taken_at }, script::refunded).await
    }

    async fn health(&self) -> Result<()> {
        self.redis.health().await
    }

    async fn close(&self) -> Result<()> {
        self.redis.close().await;
        Ok(())
    }
}

impl AskMany for RedisStore {
    async fn ask_many(&self, limit: &Limit, asks: &[(&[u8], Ask)]) -> Vec<Result<Answer>> {
        let Ok(connection) = self.redis.connection() else {
            return asks.iter().map(|_| Err(closed(self.redis.backend()))).collect();
        };
        let hash = &self.hashes[Script::of(limit) as usize];
        let (mut batch, mut refused) = (Batch::with_capacity(asks.len()), Vec::new());
        // Most ask for the same.
        let mut last: Option<(Ask, KeyedCommand)> = None;
        let mut name = self.prefix.to_vec();
        for (place, (key, ask)) in asks.iter().enumerate() {
            let command = match &mut last {
                Some((last, command)) if last == ask => command,
                last => match self.arguments(limit, Request::Ask(*ask)) {
                    Ok(arguments) => &mut last.insert((*ask, call("EVALSHA", hash, &arguments))).1,
                    Err(error) => {
                        refused.push((place, error));
                        continue;
                    }
                },
            };
            name.truncate(self.prefix.len());
            name.extend_from_slice(key);
            batch.push_keyed(command, &name);
        }
        let replies = self.each(&connection, limit, &batch).await;
        let mut answers: Vec<Result<Answer>> =
            replies.into_iter().map(|reply| parse(&reply?, script::answer)).collect();
        for (place, error) in refused {
            answers.insert(place, Err(error));
        }
        answers
    }
}

impl RedisStore {
    /// The replies to `batch`, after the script was loaded where it was unknown.
    async fn each(&self, connection: &RedisConnection, limit: &Limit, batch: &Batch) -> Vec<Result<Reply>> {
        let mut replies = connection.send("acquire", batch).await;
        // Flushed in between, or a node that has joined since, needs another turn.
        for _ in 0..LOADS {
            let unknown: Vec<usize> = (0..replies.len())
                .filter(|place| replies[*place].as_ref().is_err_and(is_unknown_script))
                .collect();
            if unknown.is_empty() {
                break;
            }
            // To every master at once, rather than the text with each request.
            let mut load = ::redis::cmd("SCRIPT");
            load.arg("LOAD").arg(Script::of(limit).text());
            let _ = load.query_async::<Value>(&mut connection.clone()).await;
            let again = connection.send("acquire", &batch.select(&unknown)).await;
            for (place, reply) in unknown.into_iter().zip(again) {
                replies[place] = reply;
            }
        }
        replies
    }
}

/// So often is a script loaded for one batch.
const LOADS: usize = 8;

fn closed(backend: &'static str) -> Error {
    Error::new(ErrorKind::Closed, backend, "acquire", "the connection was closed")
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("redis", &self.redis).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("wait", &self.wait).finish_non_exhaustive()
    }
}
