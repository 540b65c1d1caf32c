use std::{sync::Arc, time::Duration};

use backends::{
    Config, ErrorKind, Redis, Retry,
    redis_1::{Acknowledged, Wait},
};
use redis::{Value, cmd};
use testkit::{Failed, RedisServer};
use tokio::time::Instant;

use super::{LONG, connect, get, increment};

const SHORT: Duration = Duration::from_millis(50);

/// A master and its replica, which has caught up.
async fn pair(program: &str) -> Result<(RedisServer, RedisServer, Redis), Failed> {
    let master = RedisServer::builder(program).start()?;
    let replica = RedisServer::builder(program).replica_of(master.addr()).start()?;
    let redis = connect(&master.url()).await?;
    let mut connection = redis.connection()?;
    let deadline = Instant::now() + LONG;
    loop {
        let info: String = cmd("INFO").arg("replication").query_async(&mut connection).await?;
        if info.contains("state=online") {
            return Ok((master, replica, redis));
        }
        assert!(Instant::now() < deadline, "{info}");
    }
}

async fn durably(redis: &Redis, key: &str, wait: Wait) -> Result<(i64, u32), backends::Error> {
    let mut incr = cmd("INCR");
    incr.arg(key);
    let Acknowledged { value, replicas, .. } = redis.durable("increment", &incr, wait).await?;
    match value {
        Value::Int(count) => Ok((count, replicas)),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_durable_write_counts_replicas(program: &str) -> Result<(), Failed> {
    let (_master, replica, redis) = pair(program).await?;
    assert_eq!(durably(&redis, "n", Wait::for_replicas(1, LONG)).await?, (1, 1));
    assert_eq!(get(&mut connect(&replica.url()).await?.connection()?, "n").await?, 1, "it is there");
    // Two are waited for in vain, and with the only one frozen, one is.
    assert_eq!(durably(&redis, "n", Wait::for_replicas(2, SHORT)).await?, (2, 1));
    replica.freeze()?;
    assert_eq!(durably(&redis, "n", Wait::for_replicas(1, SHORT)).await?, (3, 0));
    assert_eq!(durably(&redis, "n", Wait::for_replicas(0, Duration::ZERO)).await?, (4, 0));
    replica.thaw()?;
    assert_eq!(durably(&redis, "n", Wait::for_replicas(1, LONG)).await?, (5, 1));
    let error = redis.durable("pop", cmd("LPOP").arg("n"), Wait::for_replicas(1, SHORT)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry(), error.op()), (ErrorKind::Corrupt, Retry::Never, "pop"));
    redis.close().await;
    let error = durably(&redis, "n", Wait::for_replicas(1, SHORT)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    Ok(())
}

pub(super) async fn a_durable_write_holds_up_nobody_else(program: &str) -> Result<(), Failed> {
    let (_master, replica, redis) = pair(program).await?;
    replica.freeze()?;
    let mut connection = redis.connection()?;
    let wait = durably(&redis, "n", Wait::for_replicas(1, Duration::from_secs(1)));
    tokio::pin!(wait);
    for n in 0..100 {
        tokio::select! {
            biased;
            waited = &mut wait => panic!("{waited:?} came before {n}"),
            count = increment(&mut connection, "other") => assert_eq!(count?, n + 1),
        }
    }
    assert_eq!(wait.await?, (1, 0));
    Ok(())
}

pub(super) async fn a_dropped_durable_write_leaves_no_answer(program: &str) -> Result<(), Failed> {
    let (_master, replica, redis) = pair(program).await?;
    replica.freeze()?;
    let mut connection = redis.connection()?;
    for n in 1..=40 {
        // Dropped between the command and the end of the wait.
        let dropped = durably(&redis, "dropped", Wait::for_replicas(1, LONG));
        let carried_out = async { while get(&mut connection, "dropped").await != Ok(n) {} };
        tokio::select! {
            waited = dropped => panic!("{waited:?}"),
            () = carried_out => {}
        }
        let (count, _) = durably(&redis, "n", Wait::for_replicas(0, SHORT)).await?;
        assert_eq!(count, n, "the answer is that of another request");
    }
    Ok(())
}

pub(super) async fn durable_writes_queue_for_few_connections(program: &str) -> Result<(), Failed> {
    let (master, replica, redis) = pair(program).await?;
    replica.freeze()?;
    let redis = Arc::new(redis);
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let redis = Arc::clone(&redis);
        writes.spawn(async move { durably(&redis, "n", Wait::for_replicas(1, SHORT)).await });
    }
    let mut connection = redis.connection()?;
    let (mut most, mut done) = (0, 0);
    while done < 64 {
        let clients: String =
            cmd("CLIENT").arg("LIST").arg("TYPE").arg("NORMAL").query_async(&mut connection).await?;
        most = most.max(clients.lines().count());
        while let Some(write) = writes.try_join_next() {
            write??;
            done += 1;
        }
    }
    // Those, and the shared one; one that is being closed may be among them.
    assert!((16..=18).contains(&most), "{most} connections");
    assert_eq!(durably(&redis, "n", Wait::for_replicas(0, SHORT)).await?.0, 65);
    // Who waits for a connection in vain has sent nothing.
    let impatient = Config::parse(&master.url())?.request_timeout(SHORT);
    let impatient = Arc::new(Redis::connect(&impatient).await?);
    let mut writes = tokio::task::JoinSet::new();
    for n in 0..17 {
        let redis = Arc::clone(&impatient);
        // The last one waits for less time than the others hold their connections.
        let wait = if n < 16 { LONG } else { SHORT };
        writes.spawn(async move { durably(&redis, "busy", Wait::for_replicas(1, wait)).await });
    }
    let error = writes.join_next().await.ok_or("none")??.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, Retry::Safe), "{error:?}");
    Ok(())
}
