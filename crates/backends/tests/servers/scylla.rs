#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::time::Duration;

use backends::{Config, Cql, ErrorKind, Retry, scylla_1::cql_error};
use scylla::client::session::Session;
use testkit::{Failed, unique};

pub(crate) async fn run(case: &str, url: &str) -> Result<(), Failed> {
    match case {
        "health_answers" => health_answers(url).await,
        "a_lightweight_transaction_applies_once" => a_lightweight_transaction_applies_once(url).await,
        "an_unknown_keyspace_is_a_configuration_error" => {
            an_unknown_keyspace_is_a_configuration_error(url).await
        }
        "a_missing_node_is_safe_to_repeat" => a_missing_node_is_safe_to_repeat().await,
        unknown => Err(format!("no case {unknown}").into()),
    }
}

async fn connect(url: &str) -> Result<Cql, Failed> {
    // A cold node takes its time for the first schema change.
    Ok(Cql::connect(&Config::parse(url)?.request_timeout(Duration::from_secs(30))).await?)
}

async fn health_answers(url: &str) -> Result<(), Failed> {
    let cql = connect(url).await?;
    cql.health().await?;
    cql.close().await;
    assert_eq!(cql.health().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(cql.session().is_err());
    Ok(())
}

async fn a_lightweight_transaction_applies_once(url: &str) -> Result<(), Failed> {
    let cql = connect(url).await?;
    let session = cql.session()?;
    let keyspace = unique("backends");
    // As many replicas as there are nodes.
    let replicas = url.split(',').count();
    let replication = format!("{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}");
    execute(&session, &format!("CREATE KEYSPACE {keyspace} WITH replication = {replication}")).await?;
    let applied = insert_twice(&session, &keyspace).await;
    // A keyspace in the URL is used.
    let inside = connect(&format!("{url}/{keyspace}")).await?;
    let read = inside.session()?.query_unpaged("SELECT v FROM t WHERE k = 1", ()).await;
    execute(&session, &format!("DROP KEYSPACE {keyspace}")).await?;
    assert_eq!(applied?, [true, false]);
    assert_eq!(read?.into_rows_result()?.single_row::<(i32,)>()?, (0,));
    Ok(())
}

async fn insert_twice(session: &Session, keyspace: &str) -> Result<Vec<bool>, Failed> {
    execute(session, &format!("CREATE TABLE {keyspace}.t (k int PRIMARY KEY, v int)")).await?;
    let insert = format!("INSERT INTO {keyspace}.t (k, v) VALUES (1, ?) IF NOT EXISTS");
    let insert = session.prepare(insert).await.map_err(|error| cql_error("prepare", error))?;
    let mut applied = Vec::new();
    for value in 0..2 {
        let result = session.execute_unpaged(&insert, (value,)).await?;
        // What follows the first column differs between servers.
        let rows = result.into_rows_result()?;
        let row: scylla::value::Row = rows.single_row()?;
        let first = row.columns.first().cloned().flatten();
        applied.push(first.and_then(|value| value.as_boolean()).ok_or("no column [applied]")?);
    }
    Ok(applied)
}

async fn execute(session: &Session, statement: &str) -> Result<(), Failed> {
    session.query_unpaged(statement, ()).await.map_err(|error| cql_error("execute", error))?;
    Ok(())
}

async fn an_unknown_keyspace_is_a_configuration_error(url: &str) -> Result<(), Failed> {
    let config = Config::parse(&format!("{url}/{}", unique("missing")))?;
    let error = Cql::connect(&config).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Config, Retry::Never), "{error:?}");
    Ok(())
}

async fn a_missing_node_is_safe_to_repeat() -> Result<(), Failed> {
    // Nobody listens on port 1 of loopback.
    let error = Cql::connect(&Config::parse("scylla://127.0.0.1:1")?).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Safe), "{error:?}");
    Ok(())
}
