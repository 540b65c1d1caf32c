//! The limiter on one Redis beside the server's own load tool and a bare driver loop, all calling the same script.

use std::{fmt::Write as _, process::ExitCode, sync::Arc, time::Duration};

use backends::{Config, Redis};
use bench::{BoxError, Machine, format};
use clap::Parser;
use clock::{Clock, PreciseClock};
use peers::server::{in_flight, median, redis_benchmark, run_to_end};
use rate_limiter::{
    Algorithm, Ask, Limit, Quota, RateLimiter, RedisStore,
    redis::script::{self, Request, Script},
};
use rustix::time::{ClockId, clock_gettime};

/// Compares decisions on a Redis with redis-benchmark and with a bare redis-rs loop, by the same script
#[derive(Parser)]
#[command(after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed")]
struct Args {
    /// The server
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    url: String,
    /// Decisions of each subject in a round
    #[arg(long, default_value = "200k", value_parser = format::parse_count)]
    requests: u64,
    /// Decisions in a round trip, and requests in flight of the loops that send each alone
    #[arg(long, default_value_t = 64)]
    depth: u64,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// One algorithm only [default: all]
    #[arg(long)]
    algorithm: Option<Algorithm>,
}

const KEYS: u64 = 100_000;
/// The bars: throughput against the bare loop and against redis-benchmark, processor time against redis-benchmark's.
const BARE: f64 = 0.9;
const BENCHMARK: f64 = 0.8;
const PROCESSOR: f64 = 1.5;

/// What one subject did in one round.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    /// Microseconds of processor time of the client for a decision.
    processor: f64,
}

fn main() -> ExitCode {
    run_to_end("rate_limiter_redis", run(&Args::parse()))
}

async fn run(args: &Args) -> Result<bool, BoxError> {
    let load = Machine::this().load.unwrap_or(f64::NAN);
    bench::print(&format!(
        "{} decisions a round, {} rounds, {} at a time; load average {load:.1}\n\
         bars: single >= {BARE} of a bare loop; acquire_many >= {BENCHMARK} of redis-benchmark, processor <= {PROCESSOR} of its\n\n\
         | algorithm | single k/s | bare loop k/s | ratio | acquire_many k/s | redis-benchmark k/s | ratio | us a decision: ours | redis-benchmark | ratio | |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        args.requests, args.rounds, args.depth
    ))?;
    let mut met = true;
    let algorithms: Vec<Algorithm> = args.algorithm.map_or(Algorithm::ALL.to_vec(), |one| vec![one]);
    for algorithm in algorithms {
        met &= compare(args, algorithm).await?;
    }
    Ok(met)
}

async fn compare(args: &Args, algorithm: Algorithm) -> Result<bool, BoxError> {
    // Everything is granted: a denial writes nothing, and is quicker.
    let limit = Limit::new(algorithm, Quota::per_second(1_000_000)?)?;
    let prefix = format!("peers:{algorithm}:");
    let redis = Redis::connect(&Config::parse(&args.url)?).await?;
    let limiter =
        Arc::new(RateLimiter::new(RedisStore::builder().prefix(&prefix).build(redis), limit.clone()));
    let arguments: Vec<String> =
        script::arguments(&limit, Request::Ask(Ask::Take(1)), None)?.iter().map(u64::to_string).collect();
    let script = redis::Script::new(Script::of(&limit).text());
    let client = redis::Client::open(args.url.as_str())?;
    let mut bare = client.get_multiplexed_async_connection().await?;
    script.load_async(&mut bare).await?;

    let mut rounds = [const { Vec::new() }; 4];
    for round in 0..args.rounds {
        for turn in 0..4 {
            let subject = (round + turn) % 4;
            rounds[subject].push(match subject {
                0 => single(args, &limiter).await?,
                1 => bare_loop(args, &bare, script.get_hash(), &prefix, &arguments).await?,
                2 => many(args, &limiter).await?,
                _ => benchmark(args, script.get_hash(), &prefix, &arguments)?,
            });
        }
    }
    let [single, bare, many, benchmark] = rounds;
    let rate = |figures: &[Figures]| median(figures.iter().map(|figures| figures.per_second / 1e3).collect());
    let processor = |figures: &[Figures]| median(figures.iter().map(|figures| figures.processor).collect());
    let ratio = |a: &[Figures], b: &[Figures], of: fn(&Figures) -> f64| {
        median(a.iter().zip(b).map(|(a, b)| of(a) / of(b)).collect())
    };
    let of_bare = ratio(&single, &bare, |figures| figures.per_second);
    let of_benchmark = ratio(&many, &benchmark, |figures| figures.per_second);
    let of_processor = ratio(&many, &benchmark, |figures| figures.processor);
    let kept = of_bare >= BARE && of_benchmark >= BENCHMARK && of_processor <= PROCESSOR;
    let mut row = String::new();
    writeln!(
        row,
        "| {algorithm} | {:.1} | {:.1} | {of_bare:.2} | {:.1} | {:.1} | {of_benchmark:.2} | {:.2} | {:.2} | {of_processor:.2} | {} |",
        rate(&single),
        rate(&bare),
        rate(&many),
        rate(&benchmark),
        processor(&many),
        processor(&benchmark),
        if kept { "met" } else { "MISSED" },
    )?;
    bench::print(&row)?;
    Ok(kept)
}

fn key(index: u64) -> String {
    format!("{:012}", index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS)
}

/// Runs `work`, and gives its rate and what it cost.
async fn timed(requests: u64, work: impl Future<Output = Result<(), BoxError>>) -> Result<Figures, BoxError> {
    let clock = PreciseClock::new();
    let (start, before) = (clock.now(), processor_time());
    work.await?;
    let (elapsed, used) = (clock.now().since(start), processor_time() - before);
    Ok(figures(requests, elapsed, used))
}

fn figures(requests: u64, elapsed: Duration, used: Duration) -> Figures {
    let requests = requests as f64;
    Figures { per_second: requests / elapsed.as_secs_f64(), processor: used.as_secs_f64() * 1e6 / requests }
}

/// Of all threads of this process so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

type Limiter = Arc<RateLimiter<RedisStore>>;

async fn single(args: &Args, limiter: &Limiter) -> Result<Figures, BoxError> {
    let (each, limiter) = (args.requests / args.depth, Arc::clone(limiter));
    let acquire = move |index| {
        let limiter = Arc::clone(&limiter);
        async move { limiter.acquire(key(index), 1).await.map(drop) }
    };
    timed(each * args.depth, in_flight(args.depth, each, acquire)).await
}

async fn bare_loop(
    args: &Args,
    connection: &redis::aio::MultiplexedConnection,
    hash: &str,
    prefix: &str,
    arguments: &[String],
) -> Result<Figures, BoxError> {
    let each = args.requests / args.depth;
    let shared = Arc::new((connection.clone(), hash.to_owned(), prefix.to_owned(), arguments.to_vec()));
    let call = move |index| {
        let shared = Arc::clone(&shared);
        async move {
            let (connection, hash, prefix, arguments) = &*shared;
            let mut command = redis::cmd("EVALSHA");
            command.arg(hash).arg(1).arg(format!("{prefix}{}", key(index))).arg(arguments);
            command.query_async::<redis::Value>(&mut connection.clone()).await.map(drop)
        }
    };
    timed(each * args.depth, in_flight(args.depth, each, call)).await
}

/// One task, as a service has for a request, so that no hop between threads is measured; `redis_benchmark` has one thread.
async fn many(args: &Args, limiter: &Limiter) -> Result<Figures, BoxError> {
    let (batches, depth) = (args.requests / args.depth, args.depth);
    let limiter = Arc::clone(limiter);
    timed(batches * depth, async move {
        let task = tokio::spawn(async move {
            for batch in 0..batches {
                let keys: Vec<String> = (batch * depth..(batch + 1) * depth).map(key).collect();
                for decision in limiter.acquire_many(&keys, 1).await {
                    decision?;
                }
            }
            Ok::<(), backends::Error>(())
        });
        Ok(task.await??)
    })
    .await
}

/// One connection, as `many` has.
fn benchmark(args: &Args, hash: &str, prefix: &str, arguments: &[String]) -> Result<Figures, BoxError> {
    let key = format!("{prefix}__rand_int__");
    let mut command = vec!["EVALSHA", hash, "1", &key];
    command.extend(arguments.iter().map(String::as_str));
    let (per_second, used) = redis_benchmark(&args.url, args.requests, args.depth, KEYS, &command)?;
    Ok(Figures { per_second, processor: used * 1e6 / args.requests as f64 })
}
