//! Whether servers may be believed that a write is on disk.

use ::redis::cmd;
use backends::{Error, ErrorKind, FsyncHonesty, Redis, Result};

const OP: &str = "build_with_fsync";

/// An error unless every master waits for its disk before it says that a write is there.
pub(super) async fn verify(redis: &Redis) -> Result<()> {
    let why = match redis.probe_fsync().await? {
        FsyncHonesty::Honest => return Ok(()),
        FsyncHonesty::AnswersEarly => {
            "says that writes are on disk before they are (WAITAOF answers more often than it asks its disk)"
        }
        FsyncHonesty::NoAof => "keeps no append-only file (appendonly no)",
        FsyncHonesty::NoFsync => "never asks its disk to keep its append-only file (appendfsync no)",
        _ => "could not be judged: too few answers came, or CONFIG GET is forbidden",
    };
    let name = name(redis).await.unwrap_or_else(|| "the server".to_owned());
    let message = format!(
        "Ack::Fsync cannot be given: {name} {why}; use Ack::Replicas, appendfsync always, or \
         HostedBuilder::trust_fsync to believe it nevertheless"
    );
    Err(Error::new(ErrorKind::Unsupported, redis.backend(), OP, message))
}

/// What the server calls itself, with its version and port; of a cluster, one of its nodes.
async fn name(redis: &Redis) -> Option<String> {
    let mut connection = redis.connection().ok()?;
    let info: String = cmd("INFO").arg("server").query_async(&mut connection).await.ok()?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let (kind, version) = match of("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", of("redis_version")?),
    };
    let port = of("tcp_port")?;
    Some(if redis.backend() == "redis" {
        format!("{kind} {version} at port {port}")
    } else {
        format!("a master of the cluster ({kind} {version})")
    })
}

/// The error of a filter whose servers nobody asked.
#[cold]
pub(super) fn unverified(backend: &'static str) -> Error {
    let message = "Ack::Fsync of servers that have not shown that they wait for their disks: build the filter by \
                   HostedBuilder::build_with_fsync";
    Error::new(ErrorKind::Unsupported, backend, "build", message)
}
