//! What is particular to limits in a table: transactions that meet, states that come back, leases over them.

use std::process::ExitCode;

use testkit::{Backend, Setup, Suite};

fn main() -> ExitCode {
    let cases = vec![
        "every_algorithm_finds_its_state_again",
        "callers_at_once_share_one_quota_exactly",
        "what_is_given_back_is_there",
        "leases_admit_the_quota_and_no_more",
        "bad_names_and_keys_are_refused",
    ];
    Suite::new(cases, |case| case)
        .on(Backend::Scylla, cql())
        .on(Backend::ScyllaCluster, cql())
        .deadline(std::time::Duration::from_secs(120))
        .main()
}

#[cfg(not(all(feature = "scylla", feature = "lease")))]
fn cql() -> Setup<&'static str> {
    Setup::not_compiled("scylla,lease")
}

#[cfg(all(feature = "scylla", feature = "lease"))]
fn cql() -> Setup<&'static str> {
    Setup::compiled(|case: &&str, url| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(cases::run(case, url))
    })
}

#[cfg(all(feature = "scylla", feature = "lease"))]
#[expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod cases {
    use std::{sync::Arc, time::Duration};

    use rate_limiter::{Algorithm, Ask, CqlStore, ErrorKind, Limit, Store, lease::Leased};
    use testkit::{Failed, unique};

    type Outcome = Result<(), Failed>;

    async fn connect(url: &str) -> Result<backends::Cql, Failed> {
        // A cold node takes its time for the first schema change.
        let config = backends::Config::parse(url)?.request_timeout(Duration::from_secs(30));
        Ok(backends::Cql::connect(&config).await?)
    }

    /// Runs the case in a keyspace of its own.
    pub(crate) async fn run(case: &str, url: &str) -> Outcome {
        let admin = connect(url).await?;
        let session = admin.session()?;
        let keyspace = unique("limits");
        // As many replicas as there are nodes.
        let replicas = url.split(',').count();
        let create = format!(
            "CREATE KEYSPACE {keyspace} WITH replication = \
             {{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"
        );
        session.query_unpaged(create, ()).await?;
        let outcome = in_keyspace(case, &format!("{url}/{keyspace}")).await;
        session.query_unpaged(format!("DROP KEYSPACE {keyspace}"), ()).await?;
        outcome
    }

    async fn in_keyspace(case: &str, url: &str) -> Outcome {
        let store = CqlStore::create(connect(url).await?, "limits").await?;
        match case {
            "every_algorithm_finds_its_state_again" => every_algorithm(url, &store).await,
            "callers_at_once_share_one_quota_exactly" => at_once(store).await,
            "what_is_given_back_is_there" => given_back(&store).await,
            "leases_admit_the_quota_and_no_more" => leased(store).await,
            "bad_names_and_keys_are_refused" => refused(url, &store).await,
            unknown => Err(format!("no case {unknown}").into()),
        }
    }

    async fn takes(store: &impl Store, key: &str, limit: &Limit, cost: u32) -> Result<bool, Failed> {
        Ok(store.ask(key.as_bytes(), limit, Ask::Take(cost)).await?.decision.is_allowed())
    }

    async fn every_algorithm(url: &str, store: &CqlStore) -> Outcome {
        let limits =
            Algorithm::ALL.map(|algorithm| (algorithm, Limit::new(algorithm, "5/day".parse().unwrap())));
        for (algorithm, limit) in limits {
            let (key, limit) = (algorithm.to_string(), limit?);
            assert!(takes(store, &key, &limit, 2).await?, "{algorithm}");
            // Another process reads what this one wrote.
            let other = CqlStore::create(connect(url).await?, "limits").await?;
            assert!(takes(&other, &key, &limit, 3).await?, "{algorithm}");
            assert!(!takes(store, &key, &limit, 1).await?, "{algorithm}");
            let peeked = store.ask(b"new", &limit, Ask::Peek(5)).await?;
            assert!(peeked.decision.is_allowed() && peeked.taken == 0);
        }
        Ok(())
    }

    async fn at_once(store: CqlStore) -> Outcome {
        let (store, limit) = (Arc::new(store), Limit::token_bucket("1/day burst 20".parse()?)?);
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (store, limit) = (Arc::clone(&store), limit.clone());
                tokio::spawn(async move {
                    let mut granted = 0;
                    for _ in 0..6 {
                        match store.ask(b"k", &limit, Ask::Take(1)).await {
                            Ok(answer) => granted += answer.taken,
                            // Another came first too often, or it is not known whether it was written.
                            Err(error) => assert!(matches!(
                                error.kind(),
                                ErrorKind::Conflict | ErrorKind::Timeout | ErrorKind::Unavailable
                            )),
                        }
                    }
                    granted
                })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            granted += task.await?;
        }
        assert!(granted <= 20 && granted > 0, "{granted}");
        Ok(())
    }

    async fn given_back(store: &CqlStore) -> Outcome {
        let limit = Limit::token_bucket("1/day burst 3".parse()?)?;
        let taken = store.ask(b"k", &limit, Ask::TakeUpTo(10)).await?;
        assert_eq!(taken.taken, 3);
        store.refund(b"k", &limit, 2, taken.at).await?;
        assert!(takes(store, "k", &limit, 2).await? && !takes(store, "k", &limit, 1).await?);
        Ok(())
    }

    async fn leased(store: CqlStore) -> Outcome {
        let limit = Limit::token_bucket("100000/s burst 1000".parse()?)?;
        let leased = Leased::builder().build(store)?;
        let start = tokio::time::Instant::now();
        let mut granted = 0_u64;
        for _ in 0..20_000 {
            granted += u64::from(takes(&leased, "k", &limit, 1).await?);
        }
        // A day of clocks that differ would show as well.
        let most = limit.most_within(start.elapsed() + Duration::from_millis(2));
        assert!(u128::from(granted) <= most && granted > 0, "{granted} of {most}");
        assert!(leased.stats().trips < granted, "{:?}", leased.stats());
        leased.close().await?;
        Ok(())
    }

    async fn refused(url: &str, store: &CqlStore) -> Outcome {
        let limit = Limit::token_bucket("1/s".parse()?)?;
        for name in ["", "Limits", "a;b", "1a"] {
            let refused = CqlStore::create(connect(url).await?, name).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
        for (key, cost) in [("", 1), ("k", 0)] {
            let refused = store.ask(key.as_bytes(), &limit, Ask::Take(cost)).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
        Ok(())
    }
}
