#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{net::SocketAddr, time::Duration};

use backends::{
    Config, Error, ErrorKind, Redis, Retry,
    redis_1::{RedisConnection, redis_error},
};
use redis::{Script, Value, aio::ConnectionLike, cmd};
use testkit::{Direction, Failed, FaultProxy, RedisServer, unique};
use tokio::time::Instant;

mod cluster;
mod durable;
mod fsync;
mod outage;
mod subscribe;
#[cfg(feature = "redis-tls")]
mod tls;

/// Long enough for whatever should happen at all.
const LONG: Duration = Duration::from_secs(20);

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
        "each_command_has_a_result_of_its_own" => each_command_has_a_result_of_its_own(target).await,
        "a_moved_slot_is_followed" => a_moved_slot_is_followed(target).await,
        "a_slot_moves_under_load_without_an_error" => {
            cluster::a_slot_moves_under_load_without_an_error(target).await
        }
        "a_promoted_replica_is_found" => cluster::a_promoted_replica_is_found(target).await,
        "a_durable_write_counts_replicas" => durable::a_durable_write_counts_replicas(target).await,
        "a_durable_write_holds_up_nobody_else" => durable::a_durable_write_holds_up_nobody_else(target).await,
        "a_dropped_durable_write_leaves_no_answer" => {
            durable::a_dropped_durable_write_leaves_no_answer(target).await
        }
        "durable_writes_queue_for_few_connections" => {
            durable::durable_writes_queue_for_few_connections(target).await
        }
        "a_dead_server_fails_at_once_and_is_found_again" => {
            outage::a_dead_server_fails_at_once_and_is_found_again(target).await
        }
        "a_frozen_server_fails_in_time_and_is_found_again" => {
            outage::a_frozen_server_fails_in_time_and_is_found_again(target).await
        }
        "a_server_that_only_accepts_is_tried_one_at_a_time" => {
            outage::a_server_that_only_accepts_is_tried_one_at_a_time(target).await
        }
        "a_write_waits_for_disks" => fsync::a_write_waits_for_disks(target).await,
        "a_disk_that_cannot_be_waited_for_is_told" => {
            fsync::a_disk_that_cannot_be_waited_for_is_told(target).await
        }
        "an_early_answer_is_found" => fsync::an_early_answer_is_found(target).await,
        "an_early_answer_of_a_master_is_found" => fsync::an_early_answer_of_a_master_is_found(target).await,
        "messages_of_channels_arrive" => subscribe::messages_of_channels_arrive(target).await,
        "a_subscription_outlives_its_server" => subscribe::a_subscription_outlives_its_server(target).await,
        "a_mute_server_is_lost_to_its_subscribers" => {
            subscribe::a_mute_server_is_lost_to_its_subscribers(target).await
        }
        "a_slow_reader_is_told_what_it_missed" => {
            subscribe::a_slow_reader_is_told_what_it_missed(target).await
        }
        "a_refused_subscriber_is_told_why" => subscribe::a_refused_subscriber_is_told_why(target).await,
        "a_subscription_moves_to_another_node" => {
            subscribe::a_subscription_moves_to_another_node(target).await
        }
        #[cfg(feature = "redis-tls")]
        "tls_is_spoken_to_who_is_trusted" => tls::tls_is_spoken_to_who_is_trusted(target).await,
        #[cfg(feature = "redis-tls")]
        "tls_is_spoken_to_a_cluster" => tls::tls_is_spoken_to_a_cluster(target).await,
        #[cfg(feature = "redis-tls")]
        "a_client_certificate_is_shown" => tls::a_client_certificate_is_shown(target).await,
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

async fn each_command_has_a_result_of_its_own(url: &str) -> Result<(), Failed> {
    let redis = connect(url).await?;
    let connection = redis.connection()?;
    let prefix = unique("backends");
    let command = |name: &str, n: usize| {
        let mut command = cmd(name);
        command.arg(format!("{prefix}:{n}"));
        command
    };
    assert!(connection.each("batch", &[]).await.is_empty());
    // Many more than the driver's buffers hold, over every slot of a cluster, and twice the same key.
    let mut batch: Vec<_> = (0..20_000).map(|n| command("INCR", n / 2)).collect();
    batch[7] = command("LPOP", 2);
    batch[9] = cmd("EVALSHA");
    batch[9].arg("0".repeat(40)).arg(1).arg(format!("{prefix}:4"));
    let results = connection.each("batch", &batch).await;
    assert_eq!(results.len(), batch.len());
    for (n, result) in results.iter().enumerate() {
        match (n, result) {
            (7, Err(error)) => assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never)),
            (9, Err(error)) => {
                assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe));
                assert_eq!((error.backend(), error.op()), (redis.backend(), "batch"));
            }
            (_, Ok(value)) => assert_eq!(*value, Value::Int(1 + i64::from(n % 2 == 1)), "{n}"),
            (_, Err(error)) => panic!("{n}: {error}"),
        }
    }
    let removals: Vec<_> = (0..10_000).map(|n| command("DEL", n)).collect();
    assert!(
        connection.each("remove", &removals).await.iter().all(|removed| matches!(removed, Ok(Value::Int(1))))
    );
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
    // The connection comes back without a new `connect`.
    Ok(until(|| redis.health()).await?)
}

/// A moment, in which a server that is waited for has the processor.
async fn look_again() {
    let mut moments = tokio::time::interval(Duration::from_millis(5));
    moments.tick().await;
    moments.tick().await;
}

/// Repeats what is refused until it succeeds.
async fn until<T, F: Future<Output = Result<T, Error>>>(mut step: impl FnMut() -> F) -> Result<T, Error> {
    let deadline = Instant::now() + LONG;
    loop {
        match step().await {
            Err(error) if error.retry() != Retry::Never && Instant::now() < deadline => look_again().await,
            result => return result,
        }
    }
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
    Ok(until(|| redis.health()).await?)
}

/// A cluster of one node, and a connection to that node.
async fn cluster_of_one(program: &str) -> Result<(RedisServer, Redis), Failed> {
    let server = RedisServer::builder(program).cluster_node(LONG).start()?;
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

/// What another node is told to meet this one.
fn meet(node: &RedisServer) -> redis::Cmd {
    let (addr, mut meet) = (node.addr(), cmd("CLUSTER"));
    meet.arg("MEET").arg(addr.ip().to_string()).arg(addr.port()).arg(node.bus_port());
    meet
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
        while get(&mut admin, "n").await != Ok(2) || proxy.traffic().dropped == 0 {}
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
    let second = RedisServer::builder(program).cluster_node(LONG).start()?;
    let (mut from, other) = (direct.connection()?, connect(&second.url()).await?);
    let mut to = other.connection()?;
    meet(&second).exec_async(&mut from).await?;
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
    // Another connection that does not know yet, for each kind of request.
    let stale = connect(&url("redis-cluster", first.addr())).await?;
    let (mut stale, mut atomic) = (stale.connection()?, redis::pipe());
    assert_eq!(increment(&mut connection, "moved").await?, 1);
    assert_eq!(get(&mut to, "moved").await?, 1);
    cmd("DEL").arg("moved").exec_async(&mut to).await?;
    let back: String = cmd("CLUSTER").arg("MYID").query_async(&mut from).await?;
    for node in [&mut from, &mut to] {
        cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(&back).exec_async(node).await?;
    }
    let mut batch = redis::pipe();
    batch.incr("moved", 1).get("moved");
    assert_eq!(batch.query_async::<(i64, i64)>(&mut connection).await?, (1, 1), "all of it was refused");
    atomic.atomic().incr("moved", 1).get("moved");
    assert_eq!(atomic.query_async::<(i64, i64)>(&mut stale).await?, (2, 2));
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
