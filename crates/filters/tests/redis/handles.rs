//! Several handles of a filter, one of which dies, and keys of the server that are lost.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::VecDeque, future::poll_fn, pin::pin, task::Poll, time::Duration};

use filters::{
    Answer, BoxFuture, ErrorKind, Membership as _, Plan, Result, Scan, Xxh3, fingerprint,
    redis::{Ack, HostedBloom, HostedBuilder},
};
use redis::cmd;
use testkit::Failed;

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn connect(url: &str) -> Result<backends::Redis, Failed> {
    let config = backends::Config::parse(url)?.request_timeout(LONG);
    Ok(backends::Redis::connect(&config).await?)
}

pub(crate) fn keys(kind: u64, count: u64) -> Vec<u64> {
    (0..count).map(|number| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), kind)).collect()
}

pub(crate) fn plan(items: u64) -> Plan {
    Plan::for_rate(items, 0.01).unwrap()
}

/// How many of `hashes` may be there.
pub(crate) async fn found(filter: &HostedBloom, hashes: &[u64]) -> Result<usize> {
    Ok(filter.check(hashes).await?.iter().filter(|answer| **answer == Answer::Maybe).count())
}

pub(crate) async fn rebuild(filter: &HostedBloom, items: u64, scan: Vec<u64>) -> Result<()> {
    filter.rebuild(plan(items), &mut scan.into_iter()).await.map(drop)
}

/// A filter that only this case uses.
struct Own {
    url: String,
    builder: HostedBuilder,
    prefix: String,
}

impl Own {
    async fn with(&self, change: impl FnOnce(HostedBuilder) -> HostedBuilder) -> Result<HostedBloom, Failed> {
        Ok(change(self.builder.clone()).build(connect(&self.url).await?)?)
    }

    async fn handle(&self) -> Result<HostedBloom, Failed> {
        self.with(|builder| builder).await
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, Failed> {
        let redis = connect(&self.url).await?;
        Ok(command.query_async(&mut redis.connection()?).await?)
    }

    /// What the servers have of a segment, behind its prefix.
    async fn names(&self, segment: u16) -> Result<Vec<String>, Failed> {
        let prefix = format!("{{{}:{segment}}}:", self.prefix);
        let head: Vec<u8> = self.ask(cmd("GET").arg(format!("{prefix}head"))).await?;
        let number = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().unwrap());
        let mut names = Vec::new();
        for (letter, at) in [('e', 16), ('b', 50)] {
            if number(at) > 0 {
                names.push(format!("{prefix}{letter}{}:{:016x}", number(at), number(at + 8)));
            }
        }
        Ok(names)
    }
}

pub(crate) async fn run(case: &str, url: &str) -> Result<(), Failed> {
    let prefix = testkit::unique("hosted");
    let builder = HostedBloom::builder().prefix(&prefix).segments(8).lease(Duration::from_millis(300));
    let own = Own { url: url.to_owned(), builder, prefix };
    match case {
        "a_segment_without_a_head_is_unknown_alone" => headless(&own).await?,
        "a_table_that_is_lost_stays_lost" => lost(&own).await?,
        "a_table_lost_while_it_is_built_is_not_served" => lost_in_the_making(&own).await?,
        "a_swap_that_a_failover_takes_back_denies_no_key" => taken_back(&own).await?,
        "a_rebuild_that_died_is_taken_over" => died(&own).await?,
        "a_rebuild_that_was_taken_over_changes_nothing" => taken_over(&own).await?,
        "keys_that_are_no_longer_in_doubt_are_not_carried_over" => forgotten(&own).await?,
        "too_many_keys_in_doubt_are_overload" => overloaded(&own).await?,
        "handles_of_another_shape_are_refused" => misshapen(&own).await?,
        "what_others_wrote_is_told_apart" => foreign(&own).await?,
        "nothing_is_left_of_a_filter_that_was_removed" => removed(&own).await?,
        unknown => return Err(format!("no case {unknown}").into()),
    }
    own.handle().await?.remove().await?;
    Ok(())
}

/// A scan whose lots come one by one, and that waits for ever behind the last.
struct Stuck(VecDeque<Vec<u64>>);

impl Stuck {
    fn new(hashes: &[u64]) -> Self {
        Self(hashes.chunks(100).map(<[u64]>::to_vec).collect())
    }
}

impl Scan for Stuck {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let Some(lot) = self.0.pop_front() else { return std::future::pending().await };
            hashes.extend(lot);
            Ok(true)
        })
    }
}

/// Of the head of a segment that is gone, that segment alone knows nothing.
async fn headless(own: &Own) -> Result<(), Failed> {
    let (filter, other) = (own.handle().await?, own.handle().await?);
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    let strangers = keys(2, 4_000);
    assert!(found(&other, &strangers).await? < 100);
    let tables = own.names(3).await?;
    own.ask::<u64>(cmd("DEL").arg(format!("{{{}:3}}:head", own.prefix))).await?;
    // Whoever knows the table may go on asking it; announcements find out.
    assert!(found(&filter, &strangers).await? < 100);
    filter.announce(&keys(3, 100)).await?.settle();
    assert_eq!(found(&other, &keys(3, 100)).await?, 100);
    own.ask::<u64>(cmd("DEL").arg(&tables)).await?;
    for filter in [&filter, &other, &own.handle().await?] {
        let maybe = found(filter, &strangers).await?;
        assert!((400..700).contains(&maybe), "{maybe} of 4000, not an eighth");
        assert_eq!(found(filter, &keys(1, 1_000)).await?, 1_000);
        assert_eq!(found(filter, &keys(3, 100)).await?, 100);
    }
    rebuild(&other, 1_000, keys(1, 1_000)).await?;
    for filter in [&filter, &other] {
        assert!(found(filter, &strangers).await? < 100);
        assert_eq!(found(filter, &keys(3, 100)).await?, 100, "they are in doubt still");
    }
    Ok(())
}

/// A table that is gone is not made anew by an announcement, which would deny what was in it.
async fn lost(own: &Own) -> Result<(), Failed> {
    let (filter, other) = (own.handle().await?, own.handle().await?);
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    assert_eq!(found(&other, &keys(1, 1_000)).await?, 1_000);
    for segment in 0..8 {
        assert_eq!(own.ask::<u64>(cmd("DEL").arg(own.names(segment).await?)).await?, 1);
    }
    filter.announce(&keys(2, 500)).await?.settle();
    for filter in [&filter, &other, &own.handle().await?] {
        for _ in 0..2 {
            assert_eq!(found(filter, &keys(1, 1_000)).await?, 1_000);
            assert_eq!(found(filter, &keys(9, 1_000)).await?, 1_000);
        }
        assert!(filter.stats().unknown >= 1_000, "{:?}", filter.stats());
    }
    rebuild(&filter, 2_000, keys(1, 1_000)).await?;
    for filter in [&filter, &other] {
        assert_eq!(found(filter, &keys(2, 500)).await?, 500, "they are in doubt still");
        assert!(found(filter, &keys(9, 1_000)).await? < 60);
    }
    Ok(())
}

/// A scan that does something to the servers when it ends.
struct Meddling<'a>(&'a Own, Vec<u64>);

impl Scan for Meddling<'_> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            if self.1.is_empty() {
                let building = self.0.names(5).await.unwrap().pop().unwrap();
                assert_eq!(self.0.ask::<u64>(cmd("DEL").arg(building)).await.unwrap(), 1);
                self.0.handle().await.unwrap().announce(&keys(3, 100)).await?.settle();
                return Ok(false);
            }
            hashes.append(&mut self.1);
            Ok(true)
        })
    }
}

async fn lost_in_the_making(own: &Own) -> Result<(), Failed> {
    let filter = own.handle().await?;
    // Found out by the swap where no piece is added, and otherwise when one is.
    for scanned in [Vec::new(), keys(2, 1_000)] {
        rebuild(&filter, 1_000, keys(1, 1_000)).await?;
        let error = filter.rebuild(plan(1_000), &mut Meddling(own, scanned)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    for kind in [1, 3] {
        assert_eq!(found(&filter, &keys(kind, 100)).await?, 100);
    }
    assert!(found(&filter, &keys(2, 1_000)).await? < 60);
    for segment in 0..8 {
        assert_eq!(own.names(segment).await?.len(), 1, "what was half built is gone");
    }
    rebuild(&filter, 1_000, keys(2, 1_000)).await?;
    assert_eq!(found(&filter, &keys(2, 1_000)).await?, 1_000);
    Ok(())
}

/// A scan that sees what the servers have while the filter is built: heads, and the names of the new tables.
struct Watching<'a> {
    own: &'a Own,
    keys: Vec<u64>,
    seen: Vec<(Vec<u8>, String)>,
}

impl Scan for Watching<'_> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            for segment in 0..8 {
                let name = format!("{{{}:{segment}}}:head", self.own.prefix);
                let head = self.own.ask(cmd("GET").arg(name)).await.unwrap();
                self.seen.push((head, self.own.names(segment).await.unwrap().pop().unwrap()));
            }
            hashes.append(&mut self.keys);
            Ok(false)
        })
    }
}

/// The replica that is promoted has the beginning of a rebuild, and neither its bits nor its end.
async fn taken_back(own: &Own) -> Result<(), Failed> {
    let (filter, other) = (own.handle().await?, own.handle().await?);
    let mut scan = Watching { own, keys: keys(1, 1_000), seen: Vec::new() };
    filter.rebuild(plan(1_000), &mut scan).await?;
    assert_eq!(found(&other, &keys(1, 1_000)).await?, 1_000);
    for (segment, (head, building)) in (0..).zip(&scan.seen) {
        let finished = own.names(segment).await?.pop().unwrap();
        let len: u64 = own.ask(cmd("STRLEN").arg(&finished)).await?;
        let _: u64 = own.ask(cmd("DEL").arg(&finished)).await?;
        let _: u64 = own.ask(cmd("SETRANGE").arg(building).arg(len - 1).arg(&b"\0"[..])).await?;
        let name = format!("{{{}:{segment}}}:head", own.prefix);
        let _: String = own.ask(cmd("SET").arg(name).arg(head)).await?;
    }
    for filter in [&filter, &other] {
        assert_eq!(found(filter, &keys(1, 1_000)).await?, 1_000);
    }
    // The rebuild that was taken back is one that died.
    rebuild(&other, 1_000, keys(1, 1_000)).await?;
    assert_eq!(found(&filter, &keys(1, 1_000)).await?, 1_000);
    assert!(found(&filter, &keys(9, 1_000)).await? < 60);
    Ok(())
}

/// A process ends after each number of steps of its rebuild; another one builds the filter in its place.
async fn died(own: &Own) -> Result<(), Failed> {
    let survivor = own.handle().await?;
    rebuild(&survivor, 1_000, keys(1, 1_000)).await?;
    let (mut written, mut ends) = (keys(1, 1_000), 0);
    for steps in 0..16 {
        // The one before it ends by its lease.
        while survivor.state().await?.rebuilding {}
        let dying = own.handle().await?;
        // Some end in the middle of the scan, some later.
        let mut scan: Box<dyn Scan> = if steps % 2 == 0 {
            Box::new(Stuck::new(&keys(1, 1_000)))
        } else {
            Box::new(written.clone().into_iter())
        };
        {
            let (mut rebuild, mut left) = (pin!(dying.rebuild(plan(500 + 100 * steps), &mut *scan)), steps);
            poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(());
                }
                left -= 1;
                match rebuild.as_mut().poll(context) {
                    Poll::Ready(Ok(_)) => {
                        ends += 1;
                        Poll::Ready(())
                    }
                    Poll::Ready(Err(error)) => panic!("{error}"),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
        }
        drop(dying);
        let new = keys(100 + steps, 20);
        survivor.announce(&new).await?.settle();
        written.extend(&new);
        assert_eq!(found(&survivor, &written).await?, written.len(), "after {steps} steps");
        assert_eq!(found(&own.handle().await?, &written).await?, written.len(), "after {steps} steps");
    }
    let heir = own.handle().await?;
    while let Err(error) = rebuild(&heir, 2_000, written.clone()).await {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    }
    for filter in [&survivor, &heir] {
        assert_eq!(found(filter, &written).await?, written.len());
        assert!(found(filter, &keys(9, 1_000)).await? < 60);
    }
    for segment in 0..8 {
        assert_eq!(own.names(segment).await?.len(), 1, "what was half built is gone");
    }
    assert!(ends < 8, "then none of them died");
    Ok(())
}

/// A scan in which another process takes the rebuild over.
struct Overtaken<'a>(&'a HostedBloom, bool);

impl Scan for Overtaken<'_> {
    fn next<'a>(&'a mut self, _: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            if std::mem::take(&mut self.1) {
                rebuild(self.0, 1_000, keys(1, 1_000)).await?;
            }
            Ok(false)
        })
    }
}

async fn taken_over(own: &Own) -> Result<(), Failed> {
    // It does not think of its lease while it scans.
    let (slow, fast) = (own.with(|builder| builder.lease(LONG)).await?, own.handle().await?);
    rebuild(&fast, 100, keys(1, 100)).await?;
    // As if its process had been stopped for longer than its lease.
    let mut scan = Forgetful { own, then: Overtaken(&fast, true) };
    let error = slow.rebuild(plan(100), &mut scan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    for filter in [&slow, &fast] {
        assert_eq!(found(filter, &keys(1, 1_000)).await?, 1_000);
        assert!(found(filter, &keys(9, 1_000)).await? < 60);
        assert_eq!(filter.state().await?.planned, 1_000);
    }
    Ok(())
}

/// Ends the lease of the rebuild that it is of.
struct Forgetful<'a> {
    own: &'a Own,
    then: Overtaken<'a>,
}

impl Scan for Forgetful<'_> {
    fn next<'a>(&'a mut self, hashes: &'a mut Vec<u64>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async {
            let lock = format!("{{{}:0}}:rebuild", self.own.prefix);
            self.own.ask::<u64>(cmd("DEL").arg(lock)).await.unwrap();
            self.then.next(hashes).await
        })
    }
}

async fn forgotten(own: &Own) -> Result<(), Failed> {
    let filter = own.with(|builder| builder.in_doubt(Duration::from_millis(1))).await?;
    filter.announce(&keys(1, 1_000)).await?.settle();
    while filter.state().await?.unsettled > 0 {}
    let rebuilt = filter.rebuild(plan(1_000), &mut Vec::new().into_iter()).await?;
    assert_eq!(rebuilt.carried, 0);
    assert_eq!(found(&filter, &keys(1, 1_000)).await?, 0);
    filter.remove().await?;
    Ok(())
}

async fn overloaded(own: &Own) -> Result<(), Failed> {
    let filter = own.with(|builder| builder.unsettled(8_000)).await?;
    rebuild(&filter, 10_000, Vec::new()).await?;
    let mut taken = 0;
    let error = loop {
        match filter.announce(&keys(taken, 100)).await {
            Ok(announced) => announced.settle(),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 1_000, "nothing is refused");
    };
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    // Two windows of half of it each.
    assert!((30..=90).contains(&taken), "{taken} hundreds");
    for kind in 0..taken {
        assert_eq!(found(&filter, &keys(kind, 100)).await?, 100);
    }
    assert_eq!(filter.stats().overloaded, 1);
    let rebuilt = filter.rebuild(plan(10_000), &mut Vec::new().into_iter()).await?;
    assert!(rebuilt.carried >= taken * 100, "{rebuilt:?}");
    for kind in 0..taken {
        assert_eq!(found(&filter, &keys(kind, 100)).await?, 100);
    }
    Ok(())
}

async fn misshapen(own: &Own) -> Result<(), Failed> {
    let filter = own.handle().await?;
    rebuild(&filter, 100, keys(1, 100)).await?;
    for other in [
        own.with(|builder| builder.segments(4)).await?,
        own.with(|builder| builder.hasher(fingerprint(&Xxh3::seeded(7)))).await?,
        own.with(|builder| builder.in_doubt(LONG / 2)).await?,
    ] {
        assert_eq!(other.check(&keys(1, 100)).await.unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(other.announce(&keys(2, 100)).await.unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(other.state().await.unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(rebuild(&other, 100, Vec::new()).await.unwrap_err().kind(), ErrorKind::Config);
    }
    assert_eq!(found(&filter, &keys(1, 100)).await?, 100);
    assert!(found(&filter, &keys(9, 1_000)).await? < 100);
    for refused in [own.builder.clone().segments(0), own.builder.clone().prefix("{a}")] {
        assert_eq!(refused.build(connect(&own.url).await?).unwrap_err().kind(), ErrorKind::Config);
    }
    let fsync = Ack::Fsync { local: true, replicas: 0 };
    let refused = own.builder.clone().ack(fsync).build(connect(&own.url).await?).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    Ok(())
}

async fn foreign(own: &Own) -> Result<(), Failed> {
    let filter = own.handle().await?;
    for (head, kind) in [(&b"hello"[..], ErrorKind::Corrupt), (&[194, 2, 0], ErrorKind::Unsupported)] {
        for segment in 0..8 {
            let name = format!("{{{}:{segment}}}:head", own.prefix);
            own.ask::<String>(cmd("SET").arg(name).arg(head)).await?;
        }
        match filter.check(&keys(1, 100)).await {
            Ok(answers) => assert!(kind == ErrorKind::Corrupt && answers == [Answer::Maybe; 100]),
            Err(error) => assert!(kind == ErrorKind::Unsupported && error.kind() == kind, "{error}"),
        }
        assert_eq!(filter.announce(&keys(1, 100)).await.unwrap_err().kind(), kind);
    }
    for segment in 0..8 {
        own.ask::<u64>(cmd("DEL").arg(format!("{{{}:{segment}}}:head", own.prefix))).await?;
    }
    Ok(())
}

async fn removed(own: &Own) -> Result<(), Failed> {
    let (filter, dying) = (own.handle().await?, own.handle().await?);
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    filter.announce(&keys(2, 100)).await?.settle();
    {
        let mut scan = Stuck::new(&[]);
        let mut rebuild = pin!(dying.rebuild(plan(100), &mut scan));
        let mut seen = std::pin::pin!(async { while own.names(7).await.unwrap().len() < 2 {} });
        poll_fn(|context| {
            assert!(rebuild.as_mut().poll(context).is_pending());
            seen.as_mut().poll(context)
        })
        .await;
    }
    let mut names = Vec::new();
    for segment in 0..8 {
        names.extend(own.names(segment).await?);
        for name in ["head", "recent:0", "recent:1", "rebuild"] {
            names.push(format!("{{{}:{segment}}}:{name}", own.prefix));
        }
    }
    filter.remove().await?;
    for name in names {
        assert_eq!(own.ask::<u64>(cmd("EXISTS").arg(&name)).await?, 0, "{name}");
    }
    assert_eq!(found(&filter, &keys(9, 100)).await?, 100, "nothing is known");
    filter.announce(&keys(3, 100)).await?.settle();
    rebuild(&filter, 1_000, keys(1, 1_000)).await?;
    assert_eq!(found(&filter, &keys(3, 100)).await?, 100);
    assert!(found(&filter, &keys(2, 1_000)[100..]).await? < 60);
    Ok(())
}
