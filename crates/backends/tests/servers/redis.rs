#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{net::SocketAddr, time::Duration};

use backends::{
    Config, Error, ErrorKind, Redis, Retry,
    redis_1::{RedisConnection, redis_error},
};
use redis::{Script, aio::ConnectionLike, cmd};
use testkit::{Direction, Failed, FaultProxy, RedisServer, unique};

/// `target` is a URL, or the program of cases that start a server of their own.
pub(crate) async fn run(case: &str, target: &str) -> Result<(), Failed> {
    match case {
        "health_answers" => health_answers(target).await,
        "a_script_runs" => a_script_runs(target).await,
        "a_pipeline_that_failed_in_part_is_ambiguous" => {
            a_pipeline_that_failed_in_part_is_ambiguous(target).await
        }
        "a_wrong_password_is_a_configuration_error" => {
            a_wrong_password_is_a_configuration_error(target).await
        }
        "a_refused_connection_is_safe_to_repeat" => a_refused_connection_is_safe_to_repeat(target).await,
        "a_lost_answer_is_ambiguous" => a_lost_answer_is_ambiguous(target).await,
        "a_cut_write_to_a_cluster_is_not_repeated" => a_cut_write_to_a_cluster_is_not_repeated(target).await,
        "a_moved_slot_is_followed" => a_moved_slot_is_followed(target).await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

async fn connect(url: &str) -> Result<Redis, Error> {
    Redis::connect(&Config::parse(url)?.request_timeout(Duration::from_secs(2))).await
}

async fn health_answers(url: &str) -> Result<(), Failed> {
    let redis = connect(url).await?;
    redis.health().await?;
    redis.close().await;
    assert_eq!(redis.health().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(redis.connection().is_err());
    Ok(())
}

async fn a_script_runs(url: &str) -> Result<(), Failed> {
    let redis = connect(url).await?;
    let mut connection = redis.connection()?;
    // The comment makes it a script that no server has seen.
    let prefix = unique("backends");
    let script = Script::new(&format!("-- {prefix}\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])"));
    // Enough keys for every master of a cluster.
    for n in 0..50 {
        let key = format!("{prefix}:{n}");
        for _ in 0..2 {
            script.key(&key).arg(n).invoke_async::<i64>(&mut connection).await?;
        }
        let got: i64 = cmd("GETDEL").arg(&key).query_async(&mut connection).await?;
        assert_eq!(got, 2 * n);
    }
    Ok(())
}

async fn a_pipeline_that_failed_in_part_is_ambiguous(url: &str) -> Result<(), Failed> {
    let redis = connect(url).await?;
    let mut connection = redis.connection()?;
    // In one slot; the second command alone would be safe to repeat.
    let key = unique("backends");
    let unknown_script = "0".repeat(40);
    let mut batch = redis::pipe();
    batch.cmd("INCR").arg(&key).cmd("EVALSHA").arg(&unknown_script).arg(1).arg(&key);
    let sent: redis::RedisResult<(i64, i64)> = batch.query_async(&mut connection).await;
    let error = redis_error("redis", "batch", sent.unwrap_err());
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
    let got: i64 = cmd("GETDEL").arg(&key).query_async(&mut connection).await?;
    assert_eq!(got, 1);
    let alone: redis::RedisResult<i64> =
        cmd("EVALSHA").arg(&unknown_script).arg(1).arg(&key).query_async(&mut connection).await;
    assert_eq!(redis_error("redis", "run", alone.unwrap_err()).retry(), Retry::Safe);
    Ok(())
}

async fn a_wrong_password_is_a_configuration_error(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let admin = connect(&server.url()).await?;
    set(&mut admin.connection()?, "requirepass", "s3cret").await?;
    connect(&format!("redis://:s3cret@{}/1", server.addr())).await?.health().await?;
    for login in ["", ":n0t-it@", "default:n0t-it@"] {
        for scheme in ["redis", "redis-cluster"] {
            let error = connect(&format!("{scheme}://{login}{}", server.addr())).await.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("n0t-it"), "{shown}");
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Never), "{shown}");
        }
    }
    Ok(())
}

async fn a_refused_connection_is_safe_to_repeat(program: &str) -> Result<(), Failed> {
    let mut server = RedisServer::builder(program).start()?;
    let redis = connect(&server.url()).await?;
    server.kill()?;
    for url in [server.url(), server.url().replace("redis", "redis-cluster")] {
        let error = connect(&url).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{error:?}");
    }
    // The first request finds the broken connection, later ones are refused.
    let mut connection = redis.connection()?;
    let _ = increment(&mut connection, "n").await;
    let error = increment(&mut connection, "n").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{error:?}");
    server.restart()?;
    // One request may still meet the last refusal; the connection is back without a new `connect`.
    let _ = redis.health().await;
    redis.health().await?;
    Ok(())
}

async fn a_lost_answer_is_ambiguous(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let proxy = FaultProxy::start(server.addr())?;
    let config = Config::parse(&url("redis", proxy.addr()))?.request_timeout(Duration::from_millis(200));
    let redis = Redis::connect(&config).await?;
    let mut connection = redis.connection()?;
    increment(&mut connection, "n").await?;
    proxy.drop_bytes(Direction::ToClient);
    let error = increment(&mut connection, "n").await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Ambiguous), "{error:?}");
    let direct = connect(&server.url()).await?;
    assert_eq!(get(&mut direct.connection()?, "n").await?, 2, "it was applied, once");
    proxy.heal();
    let _ = redis.health().await;
    redis.health().await?;
    Ok(())
}

/// A cluster of one node, and a connection to that node.
async fn cluster_of_one(program: &str) -> Result<(RedisServer, Redis), Failed> {
    let server = RedisServer::builder(program).arg("--cluster-enabled").arg("yes").start()?;
    let direct = connect(&server.url()).await?;
    let mut connection = direct.connection()?;
    cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec_async(&mut connection).await?;
    loop {
        let info: String = cmd("CLUSTER").arg("INFO").query_async(&mut connection).await?;
        if info.contains("cluster_state:ok") {
            return Ok((server, direct));
        }
    }
}

async fn a_cut_write_to_a_cluster_is_not_repeated(program: &str) -> Result<(), Failed> {
    let (server, direct) = cluster_of_one(program).await?;
    let proxy = FaultProxy::start(server.addr())?;
    let mut admin = direct.connection()?;
    set(&mut admin, "cluster-announce-port", &proxy.addr().port().to_string()).await?;
    let cluster = connect(&url("redis-cluster", proxy.addr())).await?;
    let mut connection = cluster.connection()?;
    increment(&mut connection, "n").await?;
    proxy.drop_bytes(Direction::ToClient);
    let (write, ()) = tokio::join!(increment(&mut connection, "n"), async {
        while get(&mut admin, "n").await != Ok(2) {}
        // What would be repeated could succeed now.
        proxy.heal();
    });
    let error = write.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
    // The driver connects again behind the back of its user.
    while cluster.health().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&mut admin, "n").await?, 2, "it was not repeated");
    Ok(())
}

async fn a_moved_slot_is_followed(program: &str) -> Result<(), Failed> {
    let (first, direct) = cluster_of_one(program).await?;
    let second = RedisServer::builder(program).arg("--cluster-enabled").arg("yes").start()?;
    let (mut from, other) = (direct.connection()?, connect(&second.url()).await?);
    let mut to = other.connection()?;
    let meet = second.addr();
    cmd("CLUSTER").arg("MEET").arg(meet.ip().to_string()).arg(meet.port()).exec_async(&mut from).await?;
    let id: String = cmd("CLUSTER").arg("MYID").query_async(&mut to).await?;
    loop {
        let known: String = cmd("CLUSTER").arg("INFO").query_async(&mut to).await?;
        if known.contains("cluster_state:ok") {
            break;
        }
    }
    let cluster = connect(&url("redis-cluster", first.addr())).await?;
    let mut connection = cluster.connection()?;
    increment(&mut connection, "before").await?;
    let slot: u16 = cmd("CLUSTER").arg("KEYSLOT").arg("moved").query_async(&mut from).await?;
    for node in [&mut to, &mut from] {
        cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(&id).exec_async(node).await?;
    }
    assert_eq!(increment(&mut connection, "moved").await?, 1);
    assert_eq!(get(&mut to, "moved").await?, 1);
    Ok(())
}

fn url(scheme: &str, addr: SocketAddr) -> String {
    format!("{scheme}://{addr}")
}

async fn set(connection: &mut RedisConnection, name: &str, value: &str) -> Result<(), Failed> {
    Ok(cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(connection).await?)
}

async fn increment(connection: &mut impl ConnectionLike, key: &str) -> Result<i64, Error> {
    let count = cmd("INCR").arg(key).query_async(connection).await;
    count.map_err(|error| redis_error("redis", "increment", error))
}

async fn get(connection: &mut RedisConnection, key: &str) -> redis::RedisResult<i64> {
    cmd("GET").arg(key).query_async(connection).await
}
