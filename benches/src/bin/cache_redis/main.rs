//! Hits of the cache on one Redis beside the server's own load tool and a bare driver loop, all reading the same keys.

use std::process::ExitCode;

use backends::{Config, Redis};
use bench::{BoxError, Machine, format};
use bytes::Bytes;
use cache::{Cache, Floor, Reads, RedisStore, Row, Source, SourceError, Version};
use clap::Parser;
use clock::{Clock, PreciseClock};
use peers::server::{in_flight, median, redis_benchmark, run_to_end};

/// Compares hits on a Redis with redis-benchmark and with a bare redis-rs loop
#[derive(Parser)]
#[command(after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed")]
struct Args {
    /// The server
    #[arg(long, default_value = "redis://127.0.0.1:6379")]
    url: String,
    /// Reads of each subject in a round
    #[arg(long, default_value = "200k", value_parser = format::parse_count)]
    requests: u64,
    /// Keys in a round trip, and requests in flight of the loops that send each alone
    #[arg(long, default_value_t = 64)]
    depth: u64,
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    payload: usize,
}

const KEYS: u64 = 100_000;
const PREFIX: &str = "peers-cache";
/// The bars: single hits against the bare loop, and batches against redis-benchmark.
const BARE: f64 = 0.9;
const BENCHMARK: f64 = 0.7;

/// Rows that all have the same payload.
#[derive(Debug)]
struct Same(Bytes);

impl Source<String, Bytes> for Same {
    fn reads(&self) -> Reads {
        Reads::Latest
    }

    async fn load(&self, _: &String) -> cache::Result<Row<Bytes>> {
        Ok(Row::new(self.0.clone(), Version::default()))
    }

    async fn store(&self, _: &String, _: Option<&Bytes>) -> Result<Floor, SourceError> {
        Ok(Floor::UNKNOWN)
    }
}

type Client = Cache<String, Bytes, Same, RedisStore<String, Bytes>>;

fn main() -> ExitCode {
    run_to_end("cache_redis", run(&Args::parse()))
}

async fn run(args: &Args) -> Result<bool, BoxError> {
    let load = Machine::this().load.unwrap_or(f64::NAN);
    bench::print(&format!(
        "{} hits a round, {} rounds, {} at a time, {} bytes each; load average {load:.1}\n\n",
        args.requests, args.rounds, args.depth, args.payload
    ))?;
    let redis = Redis::connect(&Config::parse(&args.url)?).await?;
    let store = RedisStore::<String, Bytes>::builder().prefix(PREFIX).build(redis);
    let hour = std::time::Duration::from_secs(3_600);
    let cache: Client = Cache::builder(Same(vec![b'x'; args.payload].into()), store).ttl(hour).build()?;
    for from in (0..KEYS).step_by(1_000) {
        let keys: Vec<String> = (from..from + 1_000).map(name).collect();
        for filled in cache.get_many(&keys).await {
            filled?;
        }
    }
    let client = redis::Client::open(args.url.as_str())?;
    let bare = client.get_multiplexed_async_connection().await?;

    let mut rounds = [const { Vec::new() }; 4];
    for round in 0..args.rounds {
        for turn in 0..4 {
            let subject = (round + turn) % 4;
            rounds[subject].push(match subject {
                0 => single(args, &cache).await?,
                1 => bare_loop(args, &bare).await?,
                2 => many(args, &cache).await?,
                _ => {
                    let get = ["GET", &format!("{PREFIX}:__rand_int__")];
                    redis_benchmark(&args.url, args.requests, args.depth, KEYS, &get)?.0
                }
            });
        }
    }
    let stats = cache.stats();
    if stats.misses != KEYS || stats.store_errors > 0 {
        return Err(format!("not all were hits: {stats:?}").into());
    }
    let [single, bare, many, benchmark] = rounds;
    let single = row("get, to a bare loop", &single, &bare, BARE)?;
    let many = row("get_many, to redis-benchmark", &many, &benchmark, BENCHMARK)?;
    Ok(single && many)
}

fn row(what: &str, ours: &[f64], theirs: &[f64], bar: f64) -> Result<bool, BoxError> {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_by(f64::total_cmp);
    let (low, middle, high) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    let met = middle >= bar;
    bench::print(&format!(
        "{} {what:<30} {:>8.1} k/s  {:>8.1} k/s  ratio {middle:.2} ({low:.2} to {high:.2}), bar {bar}\n",
        if met { "met   " } else { "MISSED" },
        median(ours.to_vec()) / 1e3,
        median(theirs.to_vec()) / 1e3,
    ))?;
    Ok(met)
}

/// As redis-benchmark makes them.
fn name(key: u64) -> String {
    format!("{:012}", key % KEYS)
}

fn scattered(index: u64) -> String {
    name(index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16)
}

/// Runs `work`, and gives its rate.
async fn timed(requests: u64, work: impl Future<Output = Result<(), BoxError>>) -> Result<f64, BoxError> {
    let clock = PreciseClock::new();
    let start = clock.now();
    work.await?;
    Ok(requests as f64 / clock.now().since(start).as_secs_f64())
}

async fn single(args: &Args, cache: &Client) -> Result<f64, BoxError> {
    let (each, cache) = (args.requests / args.depth, cache.clone());
    let get = move |index| {
        let cache = cache.clone();
        async move { cache.get(&scattered(index)).await.map(drop) }
    };
    timed(each * args.depth, in_flight(args.depth, each, get)).await
}

async fn bare_loop(args: &Args, connection: &redis::aio::MultiplexedConnection) -> Result<f64, BoxError> {
    let (each, connection) = (args.requests / args.depth, connection.clone());
    let get = move |index| {
        let mut connection = connection.clone();
        async move {
            let mut get = redis::cmd("GET");
            get.arg(format!("{PREFIX}:{}", scattered(index)));
            get.query_async::<Vec<u8>>(&mut connection).await.map(drop)
        }
    };
    timed(each * args.depth, in_flight(args.depth, each, get)).await
}

/// One task, as a service has for a request; `redis_benchmark` has one thread.
async fn many(args: &Args, cache: &Client) -> Result<f64, BoxError> {
    let (batches, depth) = (args.requests / args.depth, args.depth);
    let cache = cache.clone();
    timed(batches * depth, async move {
        let task = tokio::spawn(async move {
            for batch in 0..batches {
                let keys: Vec<String> = (batch * depth..(batch + 1) * depth).map(scattered).collect();
                for value in cache.get_many(&keys).await {
                    value?;
                }
            }
            Ok::<(), backends::Error>(())
        });
        Ok(task.await??)
    })
    .await
}
