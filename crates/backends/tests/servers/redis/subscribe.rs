use std::time::Duration;

use backends::{Config, ErrorKind, Redis, Retry, Subscription, SubscriptionEvent};
use redis::cmd;
use testkit::{Failed, FaultProxy, RedisServer, unique};
use tokio::time::{Instant, timeout};

use super::{LONG, connect, look_again, meet, set, until, url};

const TIMEOUT: Duration = Duration::from_millis(300);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_millis(700);

async fn impatient(url: &str) -> Result<Redis, Failed> {
    Ok(Redis::connect(&Config::parse(url)?.request_timeout(TIMEOUT)).await?)
}

async fn next(subscription: &mut Subscription) -> Result<SubscriptionEvent, Failed> {
    Ok(timeout(LONG, subscription.next()).await?.ok_or("the subscription ended")?)
}

async fn linked(subscription: &mut Subscription) -> Result<(), Failed> {
    match next(subscription).await? {
        SubscriptionEvent::Linked => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

async fn lost(subscription: &mut Subscription) -> Result<ErrorKind, Failed> {
    match next(subscription).await? {
        SubscriptionEvent::Lost(error) if error.op() == "subscribe" => Ok(error.kind()),
        other => Err(format!("{other:?}").into()),
    }
}

async fn message(subscription: &mut Subscription) -> Result<(String, Vec<u8>), Failed> {
    match next(subscription).await? {
        SubscriptionEvent::Message { channel, payload, .. } => Ok((channel.to_string(), payload)),
        other => Err(format!("{other:?}").into()),
    }
}

async fn publish(redis: &Redis, channel: &str, payload: &[u8]) -> Result<u64, Failed> {
    Ok(cmd("PUBLISH").arg(channel).arg(payload).query_async(&mut redis.connection()?).await?)
}

/// How many listen, by the server's own account.
async fn subscribers(redis: &Redis, channel: &str) -> Result<u64, Failed> {
    let (_, count): (String, u64) =
        cmd("PUBSUB").arg("NUMSUB").arg(channel).query_async(&mut redis.connection()?).await?;
    Ok(count)
}

pub(super) async fn messages_of_channels_arrive(url: &str) -> Result<(), Failed> {
    let redis = connect(url).await?;
    let (one, other) = (unique("backends"), unique("backends"));
    // A channel that is named twice is one.
    let mut subscription = redis.subscribe(&[&one, &other, &one], 100)?;
    linked(&mut subscription).await?;
    let large = vec![b'x'; 300_000];
    for (channel, payload) in [(&one, &b"1"[..]), (&other, b"\0\r\n\xff"), (&one, &large), (&one, b"")] {
        publish(&redis, channel, payload).await?;
        assert_eq!(message(&mut subscription).await?, (channel.clone(), payload.to_vec()));
    }
    // Longer than it takes to be asked whether it is there.
    let silent = timeout(Duration::from_millis(2_500), subscription.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    publish(&redis, &one, b"after").await?;
    assert_eq!(message(&mut subscription).await?.1, b"after");
    assert_eq!(subscription.dropped(), 0);
    for (channels, capacity) in [(&[][..], 1), (&[&*one][..], 0)] {
        assert_eq!(redis.subscribe(channels, capacity).unwrap_err().kind(), ErrorKind::Invalid);
    }
    redis.close().await;
    assert_eq!(redis.subscribe(&[&one], 1).unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}

pub(super) async fn a_subscription_outlives_its_server(program: &str) -> Result<(), Failed> {
    let mut server = RedisServer::builder(program).start()?;
    let redis = impatient(&server.url()).await?;
    let mut subscription = redis.subscribe(&["c", "d"], 10)?;
    linked(&mut subscription).await?;
    for _ in 0..2 {
        let killed = Instant::now();
        server.kill()?;
        assert_eq!(lost(&mut subscription).await?, ErrorKind::Unavailable);
        assert!(killed.elapsed() < TIMEOUT + SLACK, "told after {:?}", killed.elapsed());
        server.restart()?;
        let back = Instant::now();
        linked(&mut subscription).await?;
        assert!(back.elapsed() < Duration::from_secs(1) + SLACK, "linked after {:?}", back.elapsed());
        until(|| redis.health()).await?;
        // Whoever was told so is heard on every channel.
        for channel in ["c", "d"] {
            assert_eq!(publish(&redis, channel, b"x").await?, 1);
            assert_eq!(message(&mut subscription).await?.0, channel);
        }
    }
    assert_eq!(subscribers(&redis, "c").await?, 1);
    drop(subscription);
    let deadline = Instant::now() + LONG;
    while subscribers(&redis, "c").await? > 0 {
        assert!(Instant::now() < deadline, "the connection stays");
        look_again().await;
    }
    Ok(())
}

pub(super) async fn a_mute_server_is_lost_to_its_subscribers(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let proxy = FaultProxy::start(server.addr())?;
    let redis = impatient(&url("redis", proxy.addr())).await?;
    let direct = connect(&server.url()).await?;
    let mut subscription = redis.subscribe(&["c"], 10)?;
    linked(&mut subscription).await?;
    let frozen = Instant::now();
    server.freeze()?;
    assert_eq!(lost(&mut subscription).await?, ErrorKind::Timeout);
    // A silence, and the time for an answer.
    assert!(frozen.elapsed() < TIMEOUT * 2 + SLACK, "told after {:?}", frozen.elapsed());
    server.thaw()?;
    linked(&mut subscription).await?;
    proxy.cut();
    assert_eq!(lost(&mut subscription).await?, ErrorKind::Unavailable);
    linked(&mut subscription).await?;
    assert!(publish(&direct, "c", b"x").await? >= 1);
    assert_eq!(message(&mut subscription).await?.1, b"x");
    Ok(())
}

pub(super) async fn a_slow_reader_is_told_what_it_missed(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let redis = connect(&server.url()).await?;
    let mut subscription = redis.subscribe(&["c"], 10)?;
    linked(&mut subscription).await?;
    // Far more than sockets hold, so that a reader who stalled them would be cut off by the server.
    let payload = vec![b'x'; 100_000];
    for n in 0..1_000_u32 {
        let numbered = [&n.to_be_bytes()[..], &payload].concat();
        assert_eq!(publish(&redis, "c", &numbered).await?, 1, "it is still there");
    }
    let deadline = Instant::now() + LONG;
    while subscription.dropped() < 990 {
        assert!(Instant::now() < deadline, "{} dropped", subscription.dropped());
        look_again().await;
    }
    for n in 0..10_u32 {
        assert_eq!(message(&mut subscription).await?.1[..4], n.to_be_bytes());
    }
    assert_eq!(lost(&mut subscription).await?, ErrorKind::Overloaded);
    linked(&mut subscription).await?;
    publish(&redis, "c", b"after").await?;
    assert_eq!(message(&mut subscription).await?.1, b"after");
    assert_eq!(subscription.dropped(), 990);
    Ok(())
}

pub(super) async fn a_refused_subscriber_is_told_why(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let admin = connect(&server.url()).await?;
    let user = |rules: &[&str]| {
        let mut user = cmd("ACL");
        user.arg("SETUSER").arg("reader").arg(rules);
        user
    };
    user(&["on", ">s3cret", "+@all", "allkeys", "resetchannels"])
        .exec_async(&mut admin.connection()?)
        .await?;
    let redis = connect(&format!("redis://reader:s3cret@{}", server.addr())).await?;
    let mut subscription = redis.subscribe(&["c"], 10)?;
    match next(&mut subscription).await? {
        SubscriptionEvent::Lost(error) => {
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Never), "{error:?}");
        }
        other => return Err(format!("{other:?}").into()),
    }
    user(&["allchannels"]).exec_async(&mut admin.connection()?).await?;
    linked(&mut subscription).await?;
    // A password that changes does not end what is there.
    set(&mut admin.connection()?, "requirepass", "other").await?;
    publish(&redis, "c", b"x").await?;
    assert_eq!(message(&mut subscription).await?.1, b"x");
    Ok(())
}

/// Three masters, and how to speak to each of them alone; what two of them agree on holds.
async fn three_masters(program: &str) -> Result<Vec<(RedisServer, Redis)>, Failed> {
    let mut nodes: Vec<(RedisServer, Redis)> = Vec::new();
    for slots in [(0, 5_460), (5_461, 10_921), (10_922, 16_383)] {
        let server = RedisServer::builder(program).cluster_node(Duration::from_secs(2));
        let server = server.arg("--cluster-require-full-coverage").arg("no").start()?;
        let redis = connect(&server.url()).await?;
        let connection = &mut redis.connection()?;
        cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(slots).exec_async(connection).await?;
        for (other, _) in &nodes {
            meet(other).exec_async(connection).await?;
        }
        nodes.push((server, redis));
    }
    let deadline = Instant::now() + LONG;
    for (_, redis) in &nodes {
        loop {
            let info: String = cmd("CLUSTER").arg("INFO").query_async(&mut redis.connection()?).await?;
            if info.contains("cluster_slots_ok:16384") && info.contains("cluster_state:ok") {
                break;
            }
            assert!(Instant::now() < deadline, "{info}");
            look_again().await;
        }
    }
    Ok(nodes)
}

pub(super) async fn a_subscription_moves_to_another_node(program: &str) -> Result<(), Failed> {
    let mut nodes = three_masters(program).await?;
    let redis = impatient(&url("redis-cluster", nodes[0].0.addr())).await?;
    let mut subscription = redis.subscribe(&["c"], 10)?;
    linked(&mut subscription).await?;
    let mut host = None;
    for (n, (_, direct)) in nodes.iter().enumerate() {
        host = if subscribers(direct, "c").await? > 0 { Some(n) } else { host };
    }
    let (mut dead, _) = nodes.remove(host.ok_or("nobody has the subscription")?);
    dead.kill()?;
    assert_eq!(lost(&mut subscription).await?, ErrorKind::Unavailable);
    let cut = Instant::now();
    linked(&mut subscription).await?;
    assert!(cut.elapsed() < Duration::from_secs(1) + SLACK, "linked after {:?}", cut.elapsed());
    // Whichever it is now, it hears what is said to the other.
    for (_, direct) in &nodes {
        publish(direct, "c", b"x").await?;
        assert_eq!(message(&mut subscription).await?.1, b"x");
    }
    Ok(())
}
