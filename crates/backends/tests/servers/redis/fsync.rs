use std::time::Duration;

use backends::{
    Error, ErrorKind, FsyncHonesty, Redis, Retry,
    redis_1::{Acknowledged, Wait},
};
use redis::{Value, cmd};
use testkit::{Failed, RedisBuilder, RedisServer};
use tokio::time::Instant;

use super::{LONG, cluster_of_one, connect, set, url};

const SHORT: Duration = Duration::from_millis(50);

/// Options are given word by word.
fn start(program: &str, options: &str) -> Result<RedisServer, Failed> {
    let builder = RedisServer::builder(program);
    Ok(options.split(' ').fold(builder, RedisBuilder::arg).start()?)
}

async fn write(redis: &Redis, wait: Wait) -> Result<(bool, u32), Error> {
    let written = redis.durable("write", cmd("SET").arg("k").arg("v"), wait).await?;
    let Acknowledged { value, replicas, fsynced, .. } = written;
    assert_eq!(value, Value::Okay);
    Ok((fsynced, replicas))
}

pub(super) async fn a_write_waits_for_disks(program: &str) -> Result<(), Failed> {
    let master = start(program, "--appendfsync always")?;
    let replica = RedisServer::builder(program).replica_of(master.addr()).arg("--appendfsync").arg("always");
    let replica = replica.start()?;
    let redis = connect(&master.url()).await?;
    let deadline = Instant::now() + LONG;
    while write(&redis, Wait::fsync(true, 1, LONG / 20)).await? != (true, 1) {
        assert!(Instant::now() < deadline, "the replica does not follow");
    }
    // One that received it and one that has it on disk are different things, and so are two and one.
    assert_eq!(write(&redis, Wait::for_replicas(1, LONG)).await?, (false, 1));
    // A replica tells of its disk once in a second.
    assert_eq!(write(&redis, Wait::fsync(true, 2, LONG / 8)).await?, (true, 1));
    replica.freeze()?;
    assert_eq!(write(&redis, Wait::fsync(true, 1, SHORT)).await?, (true, 0));
    replica.thaw()?;
    assert_eq!(write(&redis, Wait::fsync(false, 1, LONG)).await?.1, 1);
    // Nobody asks the disk: it does not have it, and that is told.
    let lazy = start(program, "--appendfsync no")?;
    let lazy = connect(&lazy.url()).await?;
    assert_eq!(write(&lazy, Wait::fsync(true, 0, SHORT)).await?, (false, 0));
    Ok(())
}

pub(super) async fn a_disk_that_cannot_be_waited_for_is_told(program: &str) -> Result<(), Failed> {
    let server = start(program, "--appendonly no")?;
    let redis = connect(&server.url()).await?;
    let error = write(&redis, Wait::fsync(true, 0, SHORT)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Ambiguous), "{error:?}");
    assert_eq!(write(&redis, Wait::fsync(false, 0, SHORT)).await?, (false, 0));
    // As one that is too old: it does not know the command.
    let old = start(program, "--rename-command WAITAOF ")?;
    let old = connect(&old.url()).await?;
    let error = write(&old, Wait::fsync(true, 0, SHORT)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Ambiguous), "{error:?}");
    let there: String = cmd("GET").arg("k").query_async(&mut old.connection()?).await?;
    assert_eq!(there, "v", "the write happened");
    let error = old.probe_fsync().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Never), "{error:?}");
    Ok(())
}

/// What is right of this server, whatever it is: the Valkey that is known to answer early says so.
async fn expected(redis: &Redis) -> Result<FsyncHonesty, Failed> {
    let info: String = cmd("INFO").arg("server").query_async(&mut redis.connection()?).await?;
    let answers_early = info.contains("valkey_version:9.1.2");
    Ok(if answers_early { FsyncHonesty::AnswersEarly } else { FsyncHonesty::Honest })
}

pub(super) async fn an_early_answer_is_found(program: &str) -> Result<(), Failed> {
    let server = start(program, "--appendfsync everysec")?;
    let redis = connect(&server.url()).await?;
    let expected = expected(&redis).await?;
    let began = Instant::now();
    assert_eq!(redis.probe_fsync().await?, expected);
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    let connection = &mut redis.connection()?;
    let ttl: i64 = cmd("PTTL").arg("patterns.backends.probe_fsync:0").query_async(connection).await?;
    assert!((1..=60_000).contains(&ttl), "{ttl}");
    set(connection, "appendfsync", "no").await?;
    assert_eq!(redis.probe_fsync().await?, FsyncHonesty::NoFsync);
    set(connection, "appendfsync", "always").await?;
    assert_eq!(redis.probe_fsync().await?, FsyncHonesty::Honest);
    set(connection, "appendonly", "no").await?;
    assert_eq!(redis.probe_fsync().await?, FsyncHonesty::NoAof);
    Ok(())
}

pub(super) async fn an_early_answer_of_a_master_is_found(program: &str) -> Result<(), Failed> {
    let (server, direct) = cluster_of_one(program).await?;
    set(&mut direct.connection()?, "appendfsync", "everysec").await?;
    let expected = expected(&direct).await?;
    let redis = connect(&url("redis-cluster", server.addr())).await?;
    assert_eq!(redis.probe_fsync().await?, expected);
    redis.close().await;
    assert_eq!(redis.probe_fsync().await.unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}
