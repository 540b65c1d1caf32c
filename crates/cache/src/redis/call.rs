//! How a script is run, and what waits for replicas.

use ::redis::{Cmd, RedisError, Value};
use backends::{
    Error, ErrorKind, Result,
    redis_1::{Wait, is_unknown_script, redis_error},
};

use super::{
    RedisStore,
    script::{self, Script},
};
use crate::{Ack, Acks};

impl<K, V, C> RedisStore<K, V, C> {
    /// The time for a script; 0 is the server's.
    fn now(&self) -> u64 {
        if self.is_clock_of_server { (self.clock)() } else { 0 }
    }

    fn by_hash(&self, script: Script, key: &[u8], arguments: impl Fn(&mut Cmd)) -> Cmd {
        script::command("EVALSHA", &self.hashes[script as usize], key, self.now(), arguments)
    }

    fn by_text(&self, script: Script, key: &[u8], arguments: impl Fn(&mut Cmd)) -> Cmd {
        script::command("EVAL", script.text(), key, self.now(), arguments)
    }

    pub(super) async fn run(
        &self,
        script: Script,
        key: &[u8],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
    ) -> Result<Value> {
        let mut connection = self.redis.connection()?;
        let by_hash = self.by_hash(script, key, &arguments);
        let mut ask = async |command: Cmd| {
            let reply = command.query_async::<Value>(&mut connection).await;
            reply.map_err(|error| redis_error(self.redis.backend(), script.op(), error))
        };
        match ask(by_hash).await {
            Err(error) if is_unknown_script(&error) => ask(self.by_text(script, key, &arguments)).await,
            reply => reply,
        }
    }

    pub(super) async fn run_durably(
        &self,
        script: Script,
        key: &[u8],
        arguments: impl Fn(&mut Cmd) + Send + Sync,
        wait: Wait,
    ) -> Result<Acks> {
        let by_hash = self.by_hash(script, key, &arguments);
        let acknowledged = match self.redis.durable(script.op(), &by_hash, wait).await {
            Err(error) if is_unknown_script(&error) => {
                let by_text = self.by_text(script, key, &arguments);
                self.redis.durable(script.op(), &by_text, wait).await?
            }
            acknowledged => acknowledged?,
        };
        Ok(Acks::new(acknowledged.replicas, acknowledged.fsynced))
    }

    /// What an `ack` waits for.
    pub(super) const fn wait(&self, ack: Ack) -> Option<Wait> {
        match ack {
            Ack::None => None,
            Ack::Replicas(replicas) => Some(Wait::for_replicas(replicas, self.ack_timeout)),
            Ack::Fsync { local, replicas } => Some(Wait::fsync(local, replicas, self.ack_timeout)),
        }
    }

    #[cold]
    pub(super) fn unlike(&self, op: &'static str, reply: &Value) -> Error {
        // Not what it holds, which may be the value of an entry.
        let what = match reply {
            Value::Nil => "nothing",
            Value::Int(_) => "an unknown number",
            Value::Array(_) => "an unknown list",
            _ => "something unknown",
        };
        Error::new(ErrorKind::Corrupt, self.redis.backend(), op, format!("the server replied {what}"))
    }
}

/// What the driver said.
pub(super) fn driver(error: &Error) -> Option<&RedisError> {
    std::error::Error::source(error)?.downcast_ref()
}
