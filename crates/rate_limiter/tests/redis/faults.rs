//! The cases, each with a server of its own.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rate_limiter::{
    Ask, AskMany, Limit, RateLimiter, Store,
    fallback::{Fallback, OnStoreError},
    redis::RedisStore,
};
use testkit::{FaultProxy, RedisServer};
use tokio::time::Instant;

type Outcome = Result<(), testkit::Failed>;

pub(crate) async fn run(case: &str, program: &str) -> Outcome {
    let server =
        || RedisServer::builder(program).arg("--appendonly").arg("yes").arg("--appendfsync").arg("always");
    let mut server = server().start()?;
    match case {
        "a_killed_server_comes_back_with_what_it_persisted" => killed_and_restarted(&mut server).await,
        "a_flushed_script_is_not_noticed" => flushed(&server).await,
        "many_decisions_at_once_are_exact" => many(&server).await,
        "processes_with_different_clocks_share_one_quota" => two_processes(&server).await,
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
        "a_wait_that_stalls_delays_nobody_else" => stalled_wait(&server).await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

fn limit(quota: &str) -> Limit {
    Limit::token_bucket(quota.parse().unwrap()).unwrap()
}

async fn connect(url: &str) -> Result<RedisStore, testkit::Failed> {
    let config = backends::Config::parse(url)?;
    Ok(RedisStore::new(backends::Redis::connect(&config).await?))
}

async fn granted(store: &impl Store, key: &[u8], limit: &Limit) -> u64 {
    let mut granted = 0;
    while store.ask(key, limit, Ask::Take(1)).await.unwrap().decision.is_allowed() {
        granted += 1;
    }
    granted
}

/// Asks for one token over and over in eight tasks until told to stop; grants and errors.
struct Load {
    stop: Arc<AtomicBool>,
    granted: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(store: &Arc<RedisStore>, limit: &Limit) -> Self {
        let (stop, granted, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let task = |_| {
            let (store, limit) = (Arc::clone(store), limit.clone());
            let (stop, granted, failed) = (Arc::clone(&stop), Arc::clone(&granted), Arc::clone(&failed));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match store.ask(b"loaded", &limit, Ask::Take(1)).await {
                        Ok(answer) => {
                            granted.fetch_add(u64::from(answer.decision.is_allowed()), Ordering::Relaxed);
                        }
                        Err(_) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                        }
                    }
                }
            })
        };
        let tasks = (0..8).map(task).collect();
        Self { stop, granted, failed, tasks }
    }

    fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until `condition` holds while the load goes on.
    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition(self) {
            assert!(Instant::now() < deadline, "{} granted, {} failed", self.granted(), self.failed());
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.granted.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

async fn killed_and_restarted(server: &mut RedisServer) -> Outcome {
    let limit = limit("100000/day burst 100000");
    let load = Load::start(&Arc::new(connect(&server.url()).await?), &limit);
    load.until(|load| load.granted() > 200).await;
    server.kill()?;
    load.until(|load| load.failed() > 0).await;
    server.restart()?;
    let before = load.granted();
    load.until(|load| load.granted() > before + 200).await;
    let (granted, failed) = load.stop().await;
    // Every write was on the disk before it was answered: what was granted is taken. What failed may be, too.
    let answer = connect(&server.url()).await?.ask(b"loaded", &limit, Ask::Peek(1)).await?;
    let rate_limiter::Decision::Allowed { remaining, .. } = answer.decision else {
        return Err("the quota is used up".into());
    };
    let taken = 100_000 - remaining - 1;
    assert!(
        taken + 10 >= granted && taken <= granted + failed + 1,
        "{taken} taken, {granted} granted, {failed} failed"
    );
    Ok(())
}

async fn flushed(server: &RedisServer) -> Outcome {
    let limit = limit("1000000/day");
    let store = Arc::new(connect(&server.url()).await?);
    let load = Load::start(&store, &limit);
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
    let (_, failed) = load.stop().await;
    assert_eq!(failed, 0, "callers noticed");
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

async fn two_processes(server: &RedisServer) -> Outcome {
    // Callers have no part in the time: two that share a quota get it together, whatever their clocks say. So
    // what may go wrong is a caller that sends a time; what goes out is looked at here.
    let limit = limit("1/day burst 1000");
    let stores = [connect(&server.url()).await?, connect(&server.url()).await?];
    let loads = stores.map(|store| Load::start(&Arc::new(store), &limit));
    let deadline = Instant::now() + Duration::from_secs(20);
    while loads.iter().map(Load::granted).sum::<u64>() < 1_000 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    let mut granted = 0;
    for load in loads {
        granted += load.stop().await.0;
    }
    assert_eq!(granted, 1_000);
    let request = rate_limiter::redis::script::Request::Ask(Ask::Take(1));
    let arguments = rate_limiter::redis::script::arguments(&limit, request, None)?;
    assert_eq!(arguments[2], 0, "the time is the server's");
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

/// No replica is there to acknowledge: every wait takes its second.
async fn stalled_wait(server: &RedisServer) -> Outcome {
    let limit = limit("1000000/day");
    let store = Arc::new(connect(&server.url()).await?);
    let waiting = tokio::spawn({
        let (store, limit) = (Arc::clone(&store), limit.clone());
        async move { store.ask_acknowledged(b"w", &limit, Ask::Take(1), 1, Duration::from_secs(1)).await }
    });
    let mut slow = 0;
    let mut asked = 0;
    while !waiting.is_finished() {
        let start = Instant::now();
        assert!(store.ask(b"k", &limit, Ask::Take(1)).await?.decision.is_allowed());
        slow += u64::from(start.elapsed() > Duration::from_millis(500));
        asked += 1;
    }
    let acknowledged = waiting.await??;
    assert_eq!(acknowledged.replicas, 0);
    assert!(acknowledged.answer.decision.is_allowed() && asked > 10);
    // Behind the one that waits, each would have taken as long.
    assert!(slow * 10 <= asked, "{slow} of {asked}");
    Ok(())
}
