use std::time::Duration;

use backends::{Config, ErrorKind, Redis, Retry};
use redis::cmd;
use testkit::{Failed, FaultProxy, RedisServer};
use tokio::{task::JoinSet, time::Instant};

use super::{connect, get, increment, until, url};

const TIMEOUT: Duration = Duration::from_millis(100);
const OUTAGE: Duration = Duration::from_secs(4);
/// How soon a server has to be found again, and what a loaded machine may add to it.
const RECOVERY: Duration = Duration::from_secs(1);
const SLACK: Duration = Duration::from_millis(500);

async fn impatient(url: &str) -> Result<Redis, Failed> {
    Ok(Redis::connect(&Config::parse(url)?.request_timeout(TIMEOUT)).await?)
}

/// Sends this many requests at once. Gives how many succeeded and how many may have, and how long the
/// slowest took.
async fn storm(redis: &Redis, requests: usize) -> Result<(i64, i64, Duration), Failed> {
    let mut storm = JoinSet::new();
    for n in 0..requests {
        let mut connection = redis.connection()?;
        storm.spawn(async move {
            let start = Instant::now();
            let result = match n % 2 {
                0 => increment(&mut connection, "n").await.map(drop),
                _ => connection.each("each", &[cmd("INCR").arg("n").take()]).await.remove(0).map(drop),
            };
            (result, start.elapsed())
        });
    }
    let (mut done, mut maybe, mut slowest) = (0, 0, Duration::ZERO);
    while let Some(one) = storm.join_next().await {
        let (result, took) = one?;
        slowest = slowest.max(took);
        match result {
            Ok(()) => done += 1,
            Err(error) if error.retry() == Retry::Ambiguous => maybe += 1,
            Err(error) => assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe)),
        }
    }
    Ok((done, maybe, slowest))
}

/// Requests while the server is known to be down: none is sent, and none waits for the time-out.
async fn fails_at_once(redis: &Redis) -> Result<(), Failed> {
    let mut fastest = TIMEOUT;
    for _ in 0..20 {
        let (done, maybe, slowest) = storm(redis, 500).await?;
        assert_eq!((done, maybe), (0, 0));
        // Some may meet a machine that is busy with other things.
        fastest = fastest.min(slowest);
    }
    assert!(fastest < TIMEOUT);
    Ok(())
}

async fn is_found_again(redis: &Redis) -> Result<(), Failed> {
    let back = Instant::now();
    until(|| redis.health()).await?;
    let took = back.elapsed();
    assert!(took < RECOVERY + SLACK, "found after {took:?}");
    Ok(())
}

pub(super) async fn a_dead_server_fails_at_once_and_is_found_again(program: &str) -> Result<(), Failed> {
    let mut server = RedisServer::builder(program).start()?;
    let redis = impatient(&server.url()).await?;
    assert_eq!(storm(&redis, 100).await?.0, 100);
    server.kill()?;
    let _ = storm(&redis, 100).await?;
    // For so long that the pauses between the attempts have grown as far as they may.
    let down = Instant::now();
    while down.elapsed() < OUTAGE {
        fails_at_once(&redis).await?;
    }
    server.restart()?;
    is_found_again(&redis).await?;
    assert_eq!(storm(&redis, 100).await?.0, 100);
    Ok(())
}

pub(super) async fn a_frozen_server_fails_in_time_and_is_found_again(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let redis = impatient(&server.url()).await?;
    let (mut done, ..) = storm(&redis, 100).await?;
    let mut maybe = 0;
    server.freeze()?;
    // It is given up after some time-outs, each of which ends in time.
    let deadline = Instant::now() + RECOVERY;
    loop {
        let (more, unknown, slowest) = storm(&redis, 500).await?;
        (done, maybe) = (done + more, maybe + unknown);
        assert!(slowest < TIMEOUT + RECOVERY, "{slowest:?}");
        if unknown == 0 {
            break;
        }
        assert!(Instant::now() < deadline + RECOVERY, "it is not given up");
    }
    fails_at_once(&redis).await?;
    server.thaw()?;
    is_found_again(&redis).await?;
    done += storm(&redis, 100).await?.0;
    let count = get(&mut connect(&server.url()).await?.connection()?, "n").await?;
    assert!((done..=done + maybe).contains(&count), "{count} of {done} to {}", done + maybe);
    Ok(())
}

pub(super) async fn a_server_that_only_accepts_is_tried_one_at_a_time(program: &str) -> Result<(), Failed> {
    let server = RedisServer::builder(program).start()?;
    let proxy = FaultProxy::start(server.addr())?;
    let redis = impatient(&url("redis", proxy.addr())).await?;
    assert_eq!(storm(&redis, 100).await?.0, 100);
    proxy.accept_only();
    let before = proxy.traffic().connections;
    while storm(&redis, 500).await?.1 > 0 {}
    fails_at_once(&redis).await?;
    // Each attempt lasts for the connect time-out of 5 s.
    let attempts = proxy.traffic().connections - before;
    assert!(attempts <= 2, "{attempts} attempts");
    proxy.heal();
    is_found_again(&redis).await?;
    assert_eq!(storm(&redis, 100).await?.0, 100);
    Ok(())
}
