//! Rows in a table: what a load sees, which timestamps writes get, and what they leave behind.

use std::process::ExitCode;

use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    let cases = vec![
        "rows_come_back_with_the_version_that_the_database_keeps",
        "what_a_write_leaves_is_known",
        "deletes_leave_nothing_to_load",
        "timestamps_differ_in_many_tasks",
        "a_clock_set_back_loses_no_write",
        "an_older_write_loses_and_what_is_kept_may_be_cached",
        "writes_of_one_microsecond_are_both_in_doubt",
        "a_write_that_arrives_twice_is_one",
        "a_write_whose_answer_was_lost_has_left_its_floor",
        "timestamps_that_are_no_version_are_corrupt",
        "values_that_cannot_be_decoded_are_corrupt",
        "loads_tell_whether_they_may_lag",
        "every_consistency_reads_and_writes",
        "too_few_replicas_are_an_error_by_the_consistency_that_was_chosen",
        "many_rows_are_written_at_once",
        "bad_names_tables_and_keys_are_refused",
        "a_table_that_vanished_is_an_error_with_a_floor",
        "a_closed_source_says_so",
        "a_table_of_ones_own_is_a_source",
    ];
    Suite::new(cases, |case| case)
        .on(Backend::Scylla, cql())
        .on(Backend::ScyllaCluster, cql())
        .deadline(std::time::Duration::from_secs(120))
        .main()
}

#[cfg(not(feature = "scylla"))]
fn cql() -> Setup<&'static str> {
    Setup::not_compiled("scylla")
}

#[cfg(feature = "scylla")]
fn cql() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(cases::run(case, url))
    })
}

#[cfg(feature = "scylla")]
#[expect(unreachable_pub, reason = "it is an example for a library")]
#[path = "../src/scylla/own_table.rs"]
mod own_table;

#[cfg(feature = "scylla")]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod cases {
    use std::{
        collections::HashSet,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::{Duration, SystemTime, UNIX_EPOCH},
    };

    use backends::{Config, Cql};
    use bytes::Bytes;
    use cache::{
        ErrorKind, Filled, Floor, Leased, Reads, Refusal, Retry, Row, Source, Token, Version,
        scylla::{Consistency, CqlSource, CqlSourceBuilder, Timestamps},
        slot::{Content, Slot},
    };
    use testkit::{Failed, unique};

    use crate::own_table::Names;

    type Outcome = Result<(), Failed>;
    type Plain = CqlSource<String, Bytes>;

    async fn connect(url: &str) -> Result<Cql, Failed> {
        // A cold node takes its time for the first schema change.
        Ok(Cql::connect(&Config::parse(url)?.request_timeout(Duration::from_secs(30))).await?)
    }

    /// Runs the case in a keyspace of its own.
    pub(crate) async fn run(case: &str, url: &str) -> Outcome {
        let admin = connect(url).await?;
        let session = admin.session()?;
        let keyspace = unique("rows");
        // As many replicas as there are nodes.
        let replicas = url.split(',').count();
        let create = format!(
            "CREATE KEYSPACE {keyspace} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
        );
        session.query_unpaged(create, ()).await?;
        let outcome = in_keyspace(case, url, &keyspace).await;
        session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await?;
        outcome
    }

    async fn in_keyspace(case: &str, server: &str, keyspace: &str) -> Outcome {
        let url = &format!("{server}/{keyspace}");
        match case {
            "rows_come_back_with_the_version_that_the_database_keeps" => come_back(url).await,
            "what_a_write_leaves_is_known" => floors(url).await,
            "deletes_leave_nothing_to_load" => deletes(url).await,
            "timestamps_differ_in_many_tasks" => many_tasks(url).await,
            "a_clock_set_back_loses_no_write" => set_back(url).await,
            "an_older_write_loses_and_what_is_kept_may_be_cached" => older(url).await,
            "writes_of_one_microsecond_are_both_in_doubt" => tie(url).await,
            "a_write_that_arrives_twice_is_one" => twice(url).await,
            "a_write_whose_answer_was_lost_has_left_its_floor" => lost(url).await,
            "timestamps_that_are_no_version_are_corrupt" => no_version(url).await,
            "values_that_cannot_be_decoded_are_corrupt" => damaged(url).await,
            "loads_tell_whether_they_may_lag" => lag(url, keyspace).await,
            "every_consistency_reads_and_writes" => every_consistency(url).await,
            "too_few_replicas_are_an_error_by_the_consistency_that_was_chosen" => {
                too_few(url, keyspace).await
            }
            "many_rows_are_written_at_once" => many_rows(url).await,
            "bad_names_tables_and_keys_are_refused" => refused(server, url).await,
            "a_table_that_vanished_is_an_error_with_a_floor" => vanished(url).await,
            "a_closed_source_says_so" => closed(url).await,
            "a_table_of_ones_own_is_a_source" => own_table(url).await,
            unknown => Err(format!("no case {unknown}").into()),
        }
    }

    async fn create(url: &str) -> Result<Plain, Failed> {
        Ok(CqlSource::create(connect(url).await?, "rows").await?)
    }

    async fn builder(url: &str) -> Result<CqlSourceBuilder<Bytes>, Failed> {
        Ok(CqlSource::builder(connect(url).await?))
    }

    /// A source whose clock stands still at `time`.
    async fn at(url: &str, time: u64) -> Result<Plain, Failed> {
        Ok(builder(url).await?.timestamps(Timestamps::new().time(move || time)).create("rows").await?)
    }

    async fn query(url: &str, statement: &str) -> Outcome {
        connect(url).await?.session()?.query_unpaged(statement, ()).await?;
        Ok(())
    }

    /// What the server itself says about the row of `key`.
    async fn kept(url: &str, key: &str) -> Result<Option<(Vec<u8>, i64)>, Failed> {
        let statement = "SELECT value, WRITETIME(value) FROM rows WHERE key = ?";
        let rows = connect(url).await?.session()?.query_unpaged(statement, (key.as_bytes(),)).await?;
        Ok(rows.into_rows_result()?.maybe_first_row()?)
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn version(version: u64) -> Version {
        Version::new(version).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "the timestamps of the server are wall time")]
    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_micros()).unwrap()
    }

    /// Puts `row` into a cache that a write has left `floor` in.
    fn fill(floor: Floor, row: Row<Bytes>) -> Filled {
        let (mut slot, token) = (Slot::default(), Token(1.try_into().unwrap()));
        slot.invalidate(0, floor, 1_000);
        assert_eq!(slot.lease(1, token, 100, None), Leased::Granted);
        let Row { value, version } = row;
        slot.fill(2, token, Content { value, version, fresh_until: 100, expires_at: 100, load_ms: 0 })
    }

    async fn come_back(url: &str) -> Outcome {
        let source = create(url).await?;
        let key = "k".to_owned();
        assert_eq!(source.load(&key).await?, Row::ABSENT);
        for value in ["one", "two", ""] {
            let before = now();
            source.store(&key, Some(&bytes(value))).await?;
            let after = now();
            let row = source.load(&key).await?;
            assert_eq!(row.value, Some(bytes(value)));
            assert!((before..=after).contains(&row.version.get()), "{row:?}");
            let (bytes, writetime) = kept(url, "k").await?.unwrap();
            assert_eq!((bytes.as_slice(), writetime), (value.as_bytes(), row.version.get() as i64));
        }
        // Another process reads the same, and another kind of key has its own bytes.
        assert_eq!(create(url).await?.load(&key).await?.value, Some(bytes("")));
        let numbers: CqlSource<u64, Bytes> = CqlSource::create(connect(url).await?, "rows").await?;
        numbers.store(&7, Some(&bytes("seven"))).await?;
        assert_eq!(source.load(&"7".to_owned()).await?.value, Some(bytes("seven")));
        // Behind the object-safe twin, too.
        let dynamic: Arc<dyn cache::DynSource<u64, Bytes>> = Arc::new(numbers);
        assert_eq!(Source::load(&dynamic, &7).await?.value, Some(bytes("seven")));
        Ok(())
    }

    async fn floors(url: &str) -> Outcome {
        let (key, value) = ("k".to_owned(), bytes("v"));
        let source = create(url).await?;
        let floor = source.store(&key, Some(&value)).await?;
        let row = source.load(&key).await?;
        assert_eq!(floor, Floor::at(row.version));
        assert_eq!(fill(floor, row), Filled::Refused(Refusal::Tie));

        let unique: Plain = builder(url).await?.unique_timestamps().create("rows").await?;
        let floor = unique.store(&key, Some(&value)).await?;
        let row = unique.load(&key).await?;
        assert_eq!(floor, Floor::below(row.version));
        assert_eq!(fill(floor, row), Filled::Stored);

        for index in 0..3 {
            let timestamps = Timestamps::of_writer(index, 3)?;
            let writer: Plain = builder(url).await?.timestamps(timestamps).create("rows").await?;
            let floor = writer.store(&key, Some(&value)).await?;
            let row = writer.load(&key).await?;
            assert_eq!(row.version.get() % 3, u64::from(index));
            assert_eq!(floor, Floor::below(row.version));
        }
        Ok(())
    }

    async fn deletes(url: &str) -> Outcome {
        let (key, source) = ("k".to_owned(), create(url).await?);
        source.store(&key, Some(&bytes("v"))).await?;
        let loaded = source.load(&key).await?;
        let floor = source.store(&key, None).await?;
        assert!(floor > Floor::at(loaded.version));
        let absent = source.load(&key).await?;
        assert_eq!(absent, Row::ABSENT);
        // Neither the old row nor its absence is cached on the strength of this.
        assert_eq!(fill(floor, loaded), Filled::Refused(Refusal::Older));
        assert_eq!(fill(floor, absent), Filled::Refused(Refusal::Tie));
        // A delete of nothing is one, too.
        assert!(source.store(&"other".to_owned(), None).await? > floor);
        let again = source.store(&key, Some(&bytes("w"))).await?;
        let row = source.load(&key).await?;
        assert_eq!((row.value, Floor::at(row.version)), (Some(bytes("w")), again));
        // A row that has no value counts as none.
        query(url, "UPDATE rows SET value = null WHERE key = 0x6b").await?;
        assert_eq!(source.load(&key).await?, Row::ABSENT);
        Ok(())
    }

    async fn many_tasks(url: &str) -> Outcome {
        let time = now();
        let source = Arc::new(at(url, time).await?);
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let source = Arc::clone(&source);
                tokio::spawn(async move {
                    let mut floors = Vec::new();
                    for _ in 0..4 {
                        let value = Bytes::from(task.to_string());
                        floors.push((source.store(&"k".to_owned(), Some(&value)).await.unwrap(), value));
                    }
                    assert!(floors.is_sorted_by_key(|(floor, _)| *floor));
                    floors
                })
            })
            .collect();
        let mut floors = Vec::new();
        for task in tasks {
            floors.extend(task.await?);
        }
        let distinct: HashSet<Floor> = floors.iter().map(|(floor, _)| *floor).collect();
        assert_eq!(distinct.len(), 256);
        // What was written at the highest is what is there.
        let (floor, value) = floors.into_iter().max().unwrap();
        assert_eq!(floor, Floor::at(version(time + 255)));
        assert_eq!(source.load(&"k".to_owned()).await?, Row::new(value, floor.version()));
        Ok(())
    }

    async fn set_back(url: &str) -> Outcome {
        let (key, clock) = ("k".to_owned(), Arc::new(AtomicU64::new(now())));
        let time = Arc::clone(&clock);
        let timestamps = Timestamps::new().time(move || time.load(Ordering::Relaxed));
        let source: Plain = builder(url).await?.timestamps(timestamps).create("rows").await?;
        let first = source.store(&key, Some(&bytes("first"))).await?;
        clock.fetch_sub(3_600_000_000, Ordering::Relaxed);
        let second = source.store(&key, Some(&bytes("second"))).await?;
        assert!(second > first);
        assert_eq!(source.load(&key).await?, Row::new(bytes("second"), second.version()));
        // So is a delete, and a write after it.
        source.store(&key, None).await?;
        assert_eq!(source.load(&key).await?, Row::ABSENT);
        source.store(&key, Some(&bytes("third"))).await?;
        assert_eq!(source.load(&key).await?.value, Some(bytes("third")));
        Ok(())
    }

    async fn older(url: &str) -> Outcome {
        let (key, time) = ("k".to_owned(), now());
        let (ahead, behind) = (at(url, time).await?, at(url, time - 1_000_000).await?);
        ahead.store(&key, Some(&bytes("kept"))).await?;
        for lost in [Some(&bytes("lost")), None] {
            let floor = behind.store(&key, lost).await?;
            let row = behind.load(&key).await?;
            assert_eq!(row, Row::new(bytes("kept"), version(time)));
            // Nothing is stale: what the database kept is newer than what the write left.
            assert!(floor < Floor::at(row.version));
            assert_eq!(fill(floor, row), Filled::Stored);
        }
        // A delete by the clock ahead hides later writes of the one behind.
        ahead.store(&key, None).await?;
        behind.store(&key, Some(&bytes("hidden"))).await?;
        assert_eq!(behind.load(&key).await?, Row::ABSENT);
        Ok(())
    }

    async fn tie(url: &str) -> Outcome {
        let (key, time) = ("k".to_owned(), now());
        let (a, b) = (at(url, time).await?, at(url, time).await?);
        let one = a.store(&key, Some(&bytes("greater"))).await?;
        let stale = a.load(&key).await?;
        let other = b.store(&key, Some(&bytes("equal"))).await?;
        assert_eq!(one, other);
        // The greater value won, here the earlier one; it might have been the stale one.
        let row = b.load(&key).await?;
        assert_eq!((&row, row.version), (&stale, version(time)));
        assert_eq!(fill(other, row), Filled::Refused(Refusal::Tie));
        // A delete beats a write of the same microsecond.
        assert_eq!(at(url, time).await?.store(&key, None).await?, one);
        assert_eq!(a.load(&key).await?, Row::ABSENT);
        Ok(())
    }

    async fn twice(url: &str) -> Outcome {
        let (key, time) = ("k".to_owned(), now());
        let first = at(url, time).await?.store(&key, Some(&bytes("v"))).await?;
        let row = create(url).await?.load(&key).await?;
        // As if the driver had sent the statement again.
        assert_eq!(at(url, time).await?.store(&key, Some(&bytes("v"))).await?, first);
        assert_eq!(create(url).await?.load(&key).await?, row);
        // Also when another write came between.
        let between = at(url, time + 1).await?;
        between.store(&key, Some(&bytes("w"))).await?;
        at(url, time).await?.store(&key, Some(&bytes("v"))).await?;
        assert_eq!(between.load(&key).await?, Row::new(bytes("w"), version(time + 1)));
        Ok(())
    }

    async fn lost(url: &str) -> Outcome {
        const ROWS: u64 = 32;
        let patient: CqlSource<u64, Bytes> = CqlSource::create(connect(url).await?, "rows").await?;
        let config = Config::parse(url)?.request_timeout(Duration::from_micros(1));
        let hasty = CqlSource::builder(Cql::connect(&config).await?).create::<u64>("rows").await?;
        let mut floors = Vec::new();
        for key in 0..ROWS {
            match hasty.store(&key, Some(&bytes("v"))).await {
                Ok(floor) => floors.push(floor),
                Err(failed) => {
                    let of_kind = (failed.error.kind(), failed.error.retry());
                    assert_eq!(of_kind, (ErrorKind::Timeout, Retry::Ambiguous), "{failed:?}");
                    floors.push(failed.floor);
                }
            }
            // A read that was not answered may be made again.
            if let Err(error) = hasty.load(&key).await {
                assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Safe));
            }
        }
        assert!(floors.is_sorted() && floors[0] > Floor::UNKNOWN);
        let start = tokio::time::Instant::now();
        loop {
            let mut arrived = 0;
            for key in 0..ROWS {
                let row = patient.load(&key).await?;
                if row.value.is_some() {
                    assert_eq!(Floor::at(row.version), floors[key as usize]);
                    arrived += 1;
                }
            }
            // Those that were never sent never arrive.
            if arrived > 0 {
                return Ok(());
            }
            assert!(start.elapsed() < Duration::from_secs(20), "no write arrived");
        }
    }

    async fn no_version(url: &str) -> Outcome {
        let (key, source) = ("k".to_owned(), create(url).await?);
        for timestamp in [i64::MIN + 1, -1, 0, 1 << 53, i64::MAX] {
            query(url, "TRUNCATE rows").await?;
            query(
                url,
                &format!("INSERT INTO rows (key, value) VALUES (0x6b, 0x76) USING TIMESTAMP {timestamp}"),
            )
            .await?;
            let error = source.load(&key).await.unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Corrupt, Retry::Never));
            assert!(error.to_string().contains(&timestamp.to_string()), "{error}");
        }
        query(url, "TRUNCATE rows").await?;
        query(url, "INSERT INTO rows (key, value) VALUES (0x6b, 0x76) USING TIMESTAMP 1").await?;
        assert_eq!(source.load(&key).await?, Row::new(bytes("v"), version(1)));
        // A clock that says what no version can: nothing is written, nothing is left.
        let failed = at(url, 1 << 53).await?.store(&key, None).await.unwrap_err();
        assert_eq!((failed.error.kind(), failed.floor), (ErrorKind::Invalid, Floor::UNKNOWN));
        assert_eq!(source.load(&key).await?.version, version(1));
        Ok(())
    }

    async fn damaged(url: &str) -> Outcome {
        let source = builder(url).await?.values(
            |number: &u64, out| {
                out.extend_from_slice(&number.to_be_bytes());
                if *number < 10 {
                    return Ok(());
                }
                Err(backends::Error::new(ErrorKind::Invalid, "test", "encode", "too great"))
            },
            |bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)),
        );
        let source = source.create::<u32>("rows").await?;
        let floor = source.store(&1, Some(&5)).await?;
        assert_eq!(source.load(&1).await?, Row::new(5, floor.version()));
        // A value that has no bytes is not written.
        let failed = source.store(&1, Some(&10)).await.unwrap_err();
        assert_eq!((failed.error.kind(), failed.floor), (ErrorKind::Invalid, Floor::UNKNOWN));
        assert_eq!(source.load(&1).await?.value, Some(5));
        query(url, "INSERT INTO rows (key, value) VALUES (0x31, 0x76)").await?;
        assert_eq!(source.load(&1).await.unwrap_err().kind(), ErrorKind::Corrupt);
        Ok(())
    }

    async fn lag(url: &str, keyspace: &str) -> Outcome {
        use Consistency::{All, EachQuorum, LocalQuorum, One, Quorum};
        assert_eq!(create(url).await?.reads(), Reads::Latest);
        let replicas = connect(url).await?.session()?.get_cluster_state().get_nodes_info().len();
        let networked = format!("{keyspace}_dc");
        let create = format!(
            "CREATE KEYSPACE {networked} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'datacenter1': {replicas}}}"
        );
        query(url, &create).await?;
        let networked_url = url.replace(keyspace, &networked);
        let expected = [
            (Quorum, Quorum, Reads::Latest),
            (One, All, Reads::Latest),
            (All, One, Reads::Latest),
            // In one datacentre, as here.
            (LocalQuorum, LocalQuorum, Reads::Latest),
            (LocalQuorum, EachQuorum, Reads::Latest),
            (One, One, Reads::MayLag),
            (One, Quorum, Reads::MayLag),
            (Quorum, One, Reads::MayLag),
        ];
        let mut outcome = Ok(());
        for url in [url, &networked_url] {
            for (reads, writes, expected) in expected {
                let source = builder(url).await?.consistency(reads, writes);
                let source = source.create::<String>("rows").await?;
                if source.reads() != expected {
                    outcome = Err(format!("{reads:?} of {writes:?}: {:?}", source.reads()).into());
                }
            }
        }
        query(url, &format!("DROP KEYSPACE {networked}")).await?;
        outcome
    }

    async fn every_consistency(url: &str) -> Outcome {
        use Consistency::{All, EachQuorum, LocalQuorum, One, Quorum};
        for writes in [One, Quorum, LocalQuorum, EachQuorum, All] {
            for reads in [One, Quorum, LocalQuorum, All] {
                let source = builder(url).await?.consistency(reads, writes);
                let source = source.create::<String>("rows").await?;
                let key = format!("{reads:?} {writes:?}");
                let floor = source.store(&key, Some(&bytes("v"))).await?;
                let row = source.load(&key).await?;
                // One of one may come too early for the second replica.
                if source.reads() == Reads::Latest || row.value.is_some() {
                    assert_eq!(row, Row::new(bytes("v"), floor.version()), "{key}");
                }
            }
        }
        let refused = builder(url).await?.consistency(EachQuorum, Quorum).create::<String>("rows").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
        Ok(())
    }

    async fn too_few(url: &str, keyspace: &str) -> Outcome {
        use Consistency::{All, LocalQuorum, One, Quorum};
        // Of five replicas, at most two are up.
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 5}";
        query(url, &format!("ALTER KEYSPACE {keyspace} WITH replication = {replication}")).await?;
        let (key, value) = ("k".to_owned(), bytes("v"));
        let kind_of = |reads, writes| {
            let (key, value) = (key.clone(), value.clone());
            async move {
                let source = builder(url).await?.consistency(reads, writes);
                let source = source.create::<String>("rows").await?;
                let read = source.load(&key).await.err();
                let write = source.store(&key, Some(&value)).await.err();
                if let Some(failed) = &write {
                    assert!(failed.floor > Floor::UNKNOWN);
                }
                let delete = source.store(&key, None).await.err();
                let of = |error: &backends::Error| (error.kind(), error.retry());
                let [write, delete] = [write, delete].map(|failed| failed.map(|failed| of(&failed.error)));
                assert_eq!(write, delete);
                Ok::<_, Failed>((read.as_ref().map(of), write))
            }
        };
        let refused = Some((ErrorKind::Unavailable, Retry::Safe));
        let in_doubt = Some((ErrorKind::Unavailable, Retry::Ambiguous));
        assert_eq!(kind_of(One, One).await?, (None, None));
        for level in [Quorum, LocalQuorum, All] {
            assert_eq!(kind_of(level, One).await?, (refused, None), "{level:?}");
            assert_eq!(kind_of(One, level).await?, (None, in_doubt), "{level:?}");
        }
        Ok(())
    }

    async fn many_rows(url: &str) -> Outcome {
        let source: Arc<CqlSource<u64, Bytes>> =
            Arc::new(CqlSource::create(connect(url).await?, "rows").await?);
        let row = |key: u64| (key, Bytes::from(key.to_string()));
        assert_eq!(source.store_many((0..500).map(row), 32).await?, 500);
        for key in (0..500).step_by(49) {
            assert_eq!(source.load(&key).await?.value, Some(row(key).1));
        }
        assert_eq!(source.load(&500).await?, Row::ABSENT);
        assert_eq!(source.store_many([], 0).await?, 0);
        #[cfg(feature = "filters")]
        {
            use filters::{KeyHasher, Scan, Xxh3};
            let (hasher, mut found) = (Xxh3::seeded(1), Vec::new());
            let mut scan = source.scan(hasher).await?;
            while scan.next(&mut found).await? {}
            let hashes: HashSet<u64> =
                (0..500u64).map(|key| hasher.hash(key.to_string().as_bytes())).collect();
            assert_eq!((found.len(), found.into_iter().collect::<HashSet<_>>()), (500, hashes));
        }
        // One that cannot be written ends it.
        let source: Arc<Plain> = Arc::new(create(url).await?);
        let keys = ["a", "", "b"].map(|key| (key.to_owned(), bytes("v")));
        assert_eq!(source.store_many(keys, 1).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert!(source.load(&"a".to_owned()).await?.value.is_some());
        assert_eq!(source.load(&"b".to_owned()).await?, Row::ABSENT);
        Ok(())
    }

    async fn refused(server: &str, url: &str) -> Outcome {
        for name in ["", "Rows", "a;b", "1a", "select", &"a".repeat(49)] {
            let refused = builder(url).await?.create::<String>(name).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid, "{name}");
        }
        let refused = builder(server).await?.create::<String>("rows").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
        // A table with other columns.
        query(url, "CREATE TABLE other (id bigint PRIMARY KEY, name text)").await?;
        let error = builder(url).await?.create::<String>("other").await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never));

        let source = create(url).await?;
        for key in [String::new(), "k".repeat(65_536)] {
            assert_eq!(source.load(&key).await.unwrap_err().kind(), ErrorKind::Invalid);
            let failed = source.store(&key, None).await.unwrap_err();
            assert_eq!((failed.error.kind(), failed.floor), (ErrorKind::Invalid, Floor::UNKNOWN));
        }
        let longest = "k".repeat(65_535);
        source.store(&longest, Some(&bytes("v"))).await?;
        assert_eq!(source.load(&longest).await?.value, Some(bytes("v")));
        Ok(())
    }

    async fn vanished(url: &str) -> Outcome {
        let (key, time) = ("k".to_owned(), now());
        let source = at(url, time).await?;
        query(url, "DROP TABLE rows").await?;
        let error = source.load(&key).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Invalid, Retry::Never), "{error:?}");
        let failed = source.store(&key, Some(&bytes("v"))).await.unwrap_err();
        assert_eq!((failed.error.kind(), failed.error.retry()), (ErrorKind::Invalid, Retry::Never));
        assert_eq!(failed.floor, Floor::at(version(time)));
        Ok(())
    }

    async fn closed(url: &str) -> Outcome {
        let (key, source) = ("k".to_owned(), create(url).await?);
        source.health().await?;
        source.close().await;
        source.close().await;
        assert_eq!(source.health().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(source.load(&key).await.unwrap_err().kind(), ErrorKind::Closed);
        let failed = source.store(&key, None).await.unwrap_err();
        // Nothing was sent.
        assert_eq!((failed.error.kind(), failed.floor), (ErrorKind::Closed, Floor::UNKNOWN));
        Ok(())
    }

    async fn own_table(url: &str) -> Outcome {
        query(url, "CREATE TABLE users (id bigint PRIMARY KEY, name text, mail text)").await?;
        query(url, "INSERT INTO users (id, mail) VALUES (1, 'a@example.org')").await?;
        let names = Names::new(connect(url).await?).await?;
        assert_eq!(names.load(&1).await?, Row::ABSENT);
        let floor = names.store(&1, Some(&"ada".to_owned())).await?;
        assert_eq!(names.load(&1).await?, Row::new("ada".to_owned(), floor.version()));
        // Another column has a version of its own.
        query(url, "UPDATE users SET mail = 'b@example.org' WHERE id = 1").await?;
        assert_eq!(names.load(&1).await?.version, floor.version());
        assert!(names.store(&1, None).await? > floor);
        assert_eq!(names.load(&1).await?, Row::ABSENT);
        Ok(())
    }
}
