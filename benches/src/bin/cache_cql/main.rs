//! Rows in a table as the cache loads and stores them, beside the same driver's bare prepared statements.

use std::{
    fmt::Write as _,
    process::ExitCode,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use backends::{Config, Cql};
use bench::{BoxError, Machine, format};
use bytes::Bytes;
use cache::{CqlSource, Source};
use clap::Parser;
use clock::{Clock, PreciseClock};
use peers::server::run_to_end;
use scylla::{
    client::session::Session,
    statement::{Consistency, prepared::PreparedStatement},
};

/// Compares loads and stores of rows in CQL with bare prepared statements of the same driver
#[derive(Parser)]
#[command(after_help = "Exit codes: 0 all bars met, 1 failed, 2 usage, 3 a bar was missed")]
struct Args {
    /// The nodes; rows have as many replicas
    #[arg(long, default_value = "scylla://127.0.0.1")]
    url: String,
    /// Statements of each subject in a round
    #[arg(long, default_value = "10k", value_parser = format::parse_count)]
    requests: u64,
    /// Statements in flight
    #[arg(long, default_value_t = 64)]
    depth: u64,
    /// Interleaved rounds
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Rounds before them that don't count: the server is a JVM
    #[arg(long, default_value_t = 2)]
    warmup: usize,
    /// Rows in the table
    #[arg(long, default_value = "20k", value_parser = format::parse_count)]
    rows: u64,
}

const VALUE: Bytes = Bytes::from_static(&[b'v'; 100]);
/// The bar: throughput against the bare statement.
const BAR: f64 = 0.8;

/// What is compared, ours first; then the bare statement that decides, then one for comparison.
const CASES: [(&str, &[Subject]); 2] = [
    ("load", &[Subject::Load, Subject::Select, Subject::SelectWithTime]),
    ("store", &[Subject::Store, Subject::Insert, Subject::InsertAtTime]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Load,
    /// The value alone.
    Select,
    SelectWithTime,
    Store,
    /// With the timestamp of the coordinator.
    Insert,
    InsertAtTime,
}

struct Subjects {
    source: CqlSource<u64, Bytes>,
    session: Arc<Session>,
    select: PreparedStatement,
    select_with_time: PreparedStatement,
    insert: PreparedStatement,
    insert_at_time: PreparedStatement,
}

fn main() -> ExitCode {
    run_to_end("cache_cql", run(&Args::parse()))
}

/// In a keyspace of its own, which it drops.
async fn run(args: &Args) -> Result<bool, BoxError> {
    let admin = connect(&args.url).await?.session()?;
    let keyspace = format!("peers_cache_{}", std::process::id());
    let replicas = args.url.split(',').count();
    let create = format!(
        "CREATE KEYSPACE {keyspace} WITH replication = \
         {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
    );
    admin.query_unpaged(create, ()).await?;
    let met = compare(args, &format!("{}/{keyspace}", args.url)).await;
    admin.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await?;
    met
}

async fn connect(url: &str) -> Result<Cql, BoxError> {
    Ok(Cql::connect(&Config::parse(url)?.request_timeout(Duration::from_secs(30))).await?)
}

async fn compare(args: &Args, url: &str) -> Result<bool, BoxError> {
    let source: Arc<CqlSource<u64, Bytes>> = Arc::new(CqlSource::create(connect(url).await?, "rows").await?);
    let clock = PreciseClock::new();
    let start = clock.now();
    let written = source.store_many((0..args.rows).map(|key| (key, VALUE)), 128).await?;
    let per_second = written as f64 / clock.now().since(start).as_secs_f64();
    let load = Machine::this().load.unwrap_or(f64::NAN);
    bench::print(&format!(
        "{written} rows preloaded, cold, at {per_second:.0}/s; load average {load:.1}\n\
         {} statements a round, {} in flight, medians of {} interleaved rounds (lowest to highest) after {}\n\
         bar: >= {BAR} of the bare statement\n\n\
         | case | ours/s | bare/s | ratio | | bare, with its timestamp/s | ratio |\n\
         |---|---|---|---|---|---|---|\n",
        args.requests, args.depth, args.rounds, args.warmup
    ))?;
    let source = Arc::into_inner(source).ok_or("a writer still runs")?;
    let subjects = Arc::new(Subjects::new(source, url).await?);
    let mut met = true;
    for (name, subject) in CASES {
        let mut rounds = vec![Vec::new(); subject.len()];
        for round in 0..args.warmup + args.rounds {
            for turn in 0..subject.len() {
                let index = (round + turn) % subject.len();
                let per_second = timed(args, &subjects, subject[index], round as u64).await?;
                if round >= args.warmup {
                    rounds[index].push(per_second);
                }
            }
        }
        met &= report(name, &rounds)?;
    }
    Ok(met)
}

fn report(name: &str, rounds: &[Vec<f64>]) -> Result<bool, BoxError> {
    let ratios = |bare: usize| rounds[0].iter().zip(&rounds[bare]).map(|(ours, bare)| ours / bare).collect();
    let [rate, bare, other] = [0, 1, 2].map(|subject| Spread::of(rounds[subject].clone()));
    let (ratio, to_other) = (Spread::of(ratios(1)), Spread::of(ratios(2)));
    let met = ratio.median >= BAR;
    let mut row = String::new();
    writeln!(
        row,
        "| {name} | {rate:.0} | {bare:.0} | {ratio:.2} | {} | {other:.0} | {to_other:.2} |",
        if met { "met" } else { "MISSED" }
    )?;
    bench::print(&row)?;
    Ok(met)
}

/// Statements a second of `subject`.
async fn timed(args: &Args, subjects: &Arc<Subjects>, subject: Subject, round: u64) -> Result<f64, BoxError> {
    let (each, rows) = (args.requests / args.depth, args.rows);
    let clock = PreciseClock::new();
    let start = clock.now();
    let tasks: Vec<_> = (0..args.depth)
        .map(|task| {
            let subjects = Arc::clone(subjects);
            tokio::spawn(async move {
                for index in 0..each {
                    let number = (round << 32) + task * each + index;
                    subjects.ask(subject, number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows).await?;
                }
                Ok::<(), BoxError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok((each * args.depth) as f64 / clock.now().since(start).as_secs_f64())
}

impl Subjects {
    /// The bare statements have a connection of their own, made in the same way.
    async fn new(source: CqlSource<u64, Bytes>, url: &str) -> Result<Self, BoxError> {
        let session = connect(url).await?.session()?;
        let prepare = async |statement| {
            let mut prepared = session.prepare(statement).await?;
            prepared.set_consistency(Consistency::Quorum);
            prepared.set_is_idempotent(true);
            Ok::<PreparedStatement, BoxError>(prepared)
        };
        Ok(Self {
            select: prepare("SELECT value FROM rows WHERE key = ?").await?,
            select_with_time: prepare("SELECT value, WRITETIME(value) FROM rows WHERE key = ?").await?,
            insert: prepare("INSERT INTO rows (key, value) VALUES (?, ?)").await?,
            insert_at_time: prepare("INSERT INTO rows (key, value) VALUES (?, ?) USING TIMESTAMP ?").await?,
            source,
            session,
        })
    }

    /// Fails unless there is a row.
    async fn ask(&self, subject: Subject, key: u64) -> Result<(), BoxError> {
        let bytes = || key.to_string().into_bytes();
        let value = match subject {
            Subject::Load => self.source.load(&key).await?.value,
            Subject::Select => {
                let rows = self.session.execute_unpaged(&self.select, (bytes(),)).await?;
                rows.into_rows_result()?.maybe_first_row::<(Bytes,)>()?.map(|(value,)| value)
            }
            Subject::SelectWithTime => {
                let rows = self.session.execute_unpaged(&self.select_with_time, (bytes(),)).await?;
                rows.into_rows_result()?.maybe_first_row::<(Bytes, i64)>()?.map(|(value, _)| value)
            }
            Subject::Store => {
                self.source.store(&key, Some(&VALUE)).await?;
                return Ok(());
            }
            Subject::Insert => {
                self.session.execute_unpaged(&self.insert, (bytes(), &VALUE)).await?;
                return Ok(());
            }
            Subject::InsertAtTime => {
                let time = UNIX_EPOCH.elapsed()?.as_micros() as i64;
                self.session.execute_unpaged(&self.insert_at_time, (bytes(), &VALUE, time)).await?;
                return Ok(());
            }
        };
        if value.is_some_and(|value| value == VALUE) { Ok(()) } else { Err("a row is missing".into()) }
    }
}

/// Lowest, median and highest.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self { low: at(0), median: at(values.len() / 2), high: at(values.len().saturating_sub(1)) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { low, median, high } = self;
        write!(f, "{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}
