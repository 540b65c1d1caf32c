//! A process that is killed forgets nothing it has announced.

use std::{
    env,
    future::ready,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use filters::{Answer, BoxFuture, Local, Membership, Result, Scan};
use testkit::Scratch;

use super::{hashes, plan};
use crate::common::hash;

const FOLDER: &str = "FILTERS_TEST_FOLDER";

/// The rows of a database: all keys up to a number, which is read when the scan begins.
struct Rows {
    last: Arc<AtomicU64>,
    read: bool,
}

impl Scan for Rows {
    fn next<'a>(&'a mut self, lot: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        let first = !std::mem::replace(&mut self.read, true);
        if first {
            lot.extend(hashes(0..self.last.load(Ordering::SeqCst) + 1));
        }
        Box::pin(ready(Ok(first)))
    }
}

/// Not a test: the process that is killed. Announces keys one after another, and says which; rebuilds all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_to_be_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let filter = Local::builder().folder(folder).build().expect("a filter");
    let from: u64 = env::var("FILTERS_TEST_FROM").expect("a start").parse().expect("a number");
    let last = Arc::new(AtomicU64::new(from - 1));
    let (rebuilder, rows) = (filter.clone(), Arc::clone(&last));
    tokio::spawn(async move {
        loop {
            let mut scan = Rows { last: Arc::clone(&rows), read: false };
            rebuilder.rebuild(plan(10_000), &mut scan).await.expect("a rebuild");
        }
    });
    let mut out = std::io::stdout().lock();
    for key in from.. {
        let announced = filter.announce(&[hash(key)]).await.expect("an announcement");
        last.store(key, Ordering::SeqCst);
        announced.settle();
        writeln!(out, "\nannounced {key}").and_then(|()| out.flush()).expect("a reader");
    }
}

#[tokio::test]
async fn a_killed_process_forgets_no_key() {
    let scratch = Scratch::new().unwrap();
    let mut from = 1;
    for round in 0..6 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "local::deaths::a_writer_to_be_killed", "--nocapture"])
            .env(FOLDER, scratch.path())
            .env("FILTERS_TEST_FROM", from.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let until = from + 200 + round * 370;
        for line in lines {
            let Some(key) = line.unwrap().strip_prefix("announced ").map(str::to_owned) else { continue };
            from = key.parse::<u64>().unwrap() + 1;
            if from > until {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let filter = Local::builder().folder(scratch.path()).build().unwrap();
        let denied: Vec<u64> = (1..from).filter(|key| filter.answer(hash(*key)) == Answer::Absent).collect();
        assert!(denied.is_empty(), "after {from} keys: {denied:?}");
    }
}
