//! The cases, each with servers of its own.

use std::{sync::Arc, time::Duration};

use rate_limiter::{
    Ask, AskMany, RateLimiter, Store,
    fallback::{Fallback, OnStoreError},
};
use testkit::{FaultProxy, RedisServer};
use tokio::time::Instant;

use self::load::{Load, Outcome, Totals, connect, granted, limit, taken};

mod failover;
mod layer;
mod load;
pub(crate) mod processes;
mod slot;
mod waits;

pub(crate) async fn run(case: &str, program: &str) -> Outcome {
    match case {
        "what_a_replica_has_acknowledged_outlives_the_master" => failover::acknowledged(program).await,
        "what_no_replica_has_acknowledged_may_be_lost" => failover::not_acknowledged(program).await,
        "a_slot_moves_while_its_limits_are_asked_for" => slot::moves(program).await,
        "a_wait_that_stalls_delays_nobody_else" => waits::stalled(program).await,
        one_server => run_on_one(one_server, program).await,
    }
}

async fn run_on_one(case: &str, program: &str) -> Outcome {
    let mut server = RedisServer::builder(program).arg("--appendfsync").arg("always").start()?;
    match case {
        "a_killed_server_comes_back_with_what_it_persisted" => killed_and_restarted(&mut server).await,
        "a_flushed_script_is_not_noticed" => flushed(&server).await,
        "many_decisions_at_once_are_exact" => many(&server).await,
        "processes_with_different_clocks_share_one_quota" => processes::share(&server),
        "the_http_layer_limits_by_a_server" => layer::limits(&mut server).await,
        "decisions_go_on_while_the_server_is_killed" => {
            goes_on(&server.url(), || server.kill(), OnStoreError::Deny).await
        }
        "decisions_go_on_while_the_server_is_frozen" => {
            let result = goes_on(&server.url(), || server.freeze(), OnStoreError::Allow).await;
            server.thaw()?;
            result
        }
        "decisions_go_on_while_nobody_answers" => {
            let proxy = FaultProxy::start(server.addr())?;
            let url = format!("redis://{}", proxy.addr());
            let fault = || {
                proxy.cut();
                proxy.accept_only();
                Ok(())
            };
            goes_on(&url, fault, OnStoreError::Local { fraction: 0.5 }).await
        }
        "there_is_no_burst_when_the_server_is_back" => no_burst(&mut server).await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

async fn killed_and_restarted(server: &mut RedisServer) -> Outcome {
    let limit = limit("100000/day burst 100000");
    let load = Load::start(&Arc::new(connect(&server.url()).await?), "loaded", &limit);
    load.until(|load| load.granted() > 200).await;
    server.kill()?;
    load.until(|load| load.failed() > 0).await;
    server.restart()?;
    let before = load.granted();
    load.until(|load| load.granted() > before + 200).await;
    let Totals { granted, failed, .. } = load.stop().await;
    // Every write was on the disk before it was answered: what was granted is taken. What failed may be, too.
    let taken = taken(&connect(&server.url()).await?, b"loaded", &limit).await?;
    assert!(
        taken + 10 >= granted && taken <= granted + failed + 1,
        "{taken} taken, {granted} granted, {failed} failed"
    );
    Ok(())
}

async fn flushed(server: &RedisServer) -> Outcome {
    let limit = limit("1000000/day");
    let store = Arc::new(connect(&server.url()).await?);
    let load = Load::start(&store, "loaded", &limit);
    let flusher = backends::Redis::connect(&backends::Config::parse(&server.url())?).await?;
    let mut connection = flusher.connection()?;
    for round in 1..=20 {
        redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut connection).await?;
        let keys = [&b"a"[..], b"b", b"c"].map(|key| (key, Ask::Take(1)));
        for answer in store.ask_many(&limit, &keys).await {
            assert!(answer?.decision.is_allowed());
        }
        load.until(|load| load.granted() > round * 50).await;
    }
    assert_eq!(load.stop().await.failed, 0, "callers noticed");
    Ok(())
}

async fn many(server: &RedisServer) -> Outcome {
    let limiter = RateLimiter::new(connect(&server.url()).await?, limit("1/day burst 3"));
    let keys: Vec<String> = (0..5_000).map(|place| format!("{{}}{}", place % 1_000)).collect();
    let decisions = limiter.acquire_many(&keys, 1).await;
    let allowed: Vec<bool> = decisions
        .into_iter()
        .map(|decision| Ok(decision?.is_allowed()))
        .collect::<Result<_, backends::Error>>()?;
    // Each of a thousand keys was asked five times, in order.
    assert!(allowed[..3_000].iter().all(|allowed| *allowed) && !allowed[3_000..].contains(&true));
    assert!(limiter.acquire_many(&keys[..2], 0).await.iter().all(Result::is_err));
    Ok(())
}

/// No decision takes more than 50 ms while the server is out, and the server is found again.
async fn goes_on(url: &str, fault: impl FnOnce() -> std::io::Result<()>, on_error: OnStoreError) -> Outcome {
    let limit = limit("1/day burst 100");
    let store = Fallback::builder(on_error).build(connect(url).await?)?;
    assert_eq!(granted(&store, b"before", &limit).await, 100);
    fault()?;
    let (mut longest, mut allowed) = (Duration::ZERO, 0);
    for _ in 0..2_000 {
        let start = Instant::now();
        let answer = store.ask(b"during", &limit, Ask::Take(1)).await?;
        longest = longest.max(start.elapsed());
        allowed += u64::from(answer.decision.is_allowed());
    }
    let expected = match on_error {
        OnStoreError::Allow => 2_000,
        OnStoreError::Deny => 0,
        OnStoreError::Local { .. } => 50,
    };
    assert_eq!(allowed, expected, "{on_error:?}");
    assert!(store.stats().is_down && store.stats().decided_here > 1_990);
    // The deadline is 40 ms; what is above it is the machine's.
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    Ok(())
}

async fn no_burst(server: &mut RedisServer) -> Outcome {
    let limit = limit("1/day burst 100");
    let store =
        Fallback::builder(OnStoreError::Local { fraction: 0.5 }).build(connect(&server.url()).await?)?;
    server.kill()?;
    assert_eq!(granted(&store, b"k", &limit).await, 50, "half of it is enforced here");
    // It has forgotten everything: there was nothing.
    server.restart()?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut more = 0;
    while store.stats().is_down {
        assert!(Instant::now() < deadline, "the server was not found again");
        more += u64::from(store.ask(b"k", &limit, Ask::Take(1)).await?.decision.is_allowed());
        store.ask(b"other", &limit, Ask::Peek(1)).await?;
        tokio::task::yield_now().await;
    }
    more += granted(&store, b"k", &limit).await;
    assert_eq!(more, 0, "what was granted here is not granted again");
    Ok(())
}
