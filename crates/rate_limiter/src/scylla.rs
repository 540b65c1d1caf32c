//! Limits in ScyllaDB, or Cassandra, by lightweight transactions. Feature `scylla`.
//!
//! A decision reads the state of a key and writes the next one if the state is still the same: two or more rounds of
//! Paxos, hundreds to a few thousand a second. Take permits in lots, by [`lease`](crate::lease), and the decision is
//! one of memory.
//!
//! The time is that of the coordinator, in milliseconds, and for one key never goes back. Where the clocks of the nodes
//! differ by d, at most what flows in within d is granted too early, once.

use std::{fmt, sync::Arc, time::Duration};

use ::scylla::{
    client::session::Session,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
    value::{CqlTimestamp, Row},
};
use backends::{Cql, Error, ErrorKind, Result, scylla_1::cql_error};

use crate::{
    Answer, Ask, Capability, Limit, LimitState, Rule, State, Store, encoding, rule::take_up_to,
    store::no_cost,
};

const BACKEND: &str = "scylla";
/// So often is a decision made anew because another one came first.
const ATTEMPTS: usize = 64;

/// Where limits are kept: a table with a row for each key.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use rate_limiter::{Limit, RateLimiter, lease::Leased, scylla::CqlStore};
///
/// let config = backends::Config::parse("scylla://127.0.0.1/limits")?;
/// let store = CqlStore::create(backends::Cql::connect(&config).await?, "rate_limits").await?;
/// let limiter =
///     RateLimiter::new(Leased::builder().build(store)?, Limit::token_bucket("100000/s".parse()?)?);
/// assert!(limiter.allow("alice").await?);
/// # Ok(())
/// # }
/// ```
pub struct CqlStore {
    cql: Cql,
    read: PreparedStatement,
    insert: PreparedStatement,
    update: PreparedStatement,
}

/// What a row says.
struct Found {
    /// The state as it is stored; `None` where there is no row.
    bytes: Option<Vec<u8>>,
    state: LimitState,
    /// Microseconds.
    now: u64,
}

impl CqlStore {
    /// Uses `table` of the keyspace of `cql`, and creates it unless it is there.
    ///
    /// # Errors
    ///
    /// `Invalid` when the name of the table is not one, and what the connection reports.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may have created the table.
    pub async fn create(cql: Cql, table: &str) -> Result<Self> {
        let is_name = table.starts_with(|c: char| c.is_ascii_lowercase())
            && table.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name || table.len() > 48 {
            let message = "a table has up to 48 lower-case letters, digits and underscores";
            return Err(Error::new(ErrorKind::Invalid, BACKEND, "create", message));
        }
        let session = cql.session()?;
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (key blob PRIMARY KEY, state blob, at bigint) \
             WITH gc_grace_seconds = 3600"
        );
        session.query_unpaged(create, ()).await.map_err(|error| cql_error("create", error))?;
        let prepare = async |statement: String, consistency| {
            let mut prepared =
                session.prepare(statement).await.map_err(|error| cql_error("create", error))?;
            prepared.set_consistency(consistency);
            prepared.set_serial_consistency(Some(SerialConsistency::Serial));
            Ok::<_, Error>(prepared)
        };
        // A serial read sees what every earlier transaction has written.
        let read = format!("SELECT state, at, toTimestamp(now()) FROM {table} WHERE key = ?");
        let insert =
            format!("INSERT INTO {table} (key, state, at) VALUES (?, ?, ?) IF NOT EXISTS USING TTL ?");
        let update =
            format!("UPDATE {table} USING TTL ? SET state = ?, at = ? WHERE key = ? IF state = ? AND at = ?");
        Ok(Self {
            read: prepare(read, Consistency::Serial).await?,
            insert: prepare(insert, Consistency::Quorum).await?,
            update: prepare(update, Consistency::Quorum).await?,
            cql,
        })
    }

    async fn find(&self, session: &Session, key: &[u8]) -> Result<(Found, i64)> {
        type Columns = (Option<Vec<u8>>, Option<i64>, CqlTimestamp);
        let rows = session.execute_unpaged(&self.read, (key,)).await;
        let rows = rows.map_err(|error| cql_error("acquire", error).with_retry(backends::Retry::Safe))?;
        let rows = rows.into_rows_result().map_err(corrupt)?;
        let Some((bytes, at, time)) = rows.maybe_first_row::<Columns>().map_err(corrupt)? else {
            let found = Found { bytes: None, state: LimitState::default(), now: self.time(session).await? };
            return Ok((found, 0));
        };
        let state = match &bytes {
            None => LimitState::default(),
            Some(bytes) => encoding::decode(bytes).ok_or_else(|| corrupt("the state of a key is damaged"))?,
        };
        let at = at.unwrap_or_default();
        let now = micros(time).max(u64::try_from(at).unwrap_or_default());
        Ok((Found { bytes, state, now }, at))
    }

    /// The time of a coordinator, where there is no row to read it with.
    async fn time(&self, session: &Session) -> Result<u64> {
        let rows = session.query_unpaged("SELECT toTimestamp(now()) FROM system.local", ()).await;
        let rows = rows.map_err(|error| cql_error("acquire", error).with_retry(backends::Retry::Safe))?;
        let rows = rows.into_rows_result().map_err(corrupt)?;
        Ok(micros(rows.single_row::<(CqlTimestamp,)>().map_err(corrupt)?.0))
    }

    /// Writes `next` if the row is still as it was found.
    async fn replace(
        &self,
        session: &Session,
        key: &[u8],
        (found, at): &(Found, i64),
        next: &LimitState,
    ) -> Result<bool> {
        let lasts = Duration::from_micros(next.fresh_at().saturating_sub(found.now));
        // A minute for clocks that differ; twenty years are the most that a server takes.
        let ttl = i32::try_from(lasts.as_secs().saturating_add(60)).unwrap_or(i32::MAX).min(630_720_000);
        let (bytes, now) = (encoding::encode(next), i64::try_from(found.now).unwrap_or(i64::MAX));
        let result = match &found.bytes {
            None => session.execute_unpaged(&self.insert, (key, bytes, now, ttl)).await,
            Some(before) => session.execute_unpaged(&self.update, (ttl, bytes, now, key, before, *at)).await,
        };
        let rows =
            result.map_err(|error| cql_error("acquire", error))?.into_rows_result().map_err(corrupt)?;
        // What follows the first column differs between servers.
        let row: Row = rows.first_row().map_err(corrupt)?;
        let first = row.columns.first().cloned().flatten();
        first.and_then(|value| value.as_boolean()).ok_or_else(|| corrupt("no column [applied]"))
    }

    /// Changes the state of `key` by `change`, which may be made several times, each time of another state.
    async fn change<T>(
        &self,
        key: &[u8],
        limit: &Limit,
        change: impl Fn(&mut LimitState, u64) -> T,
    ) -> Result<T> {
        let session: Arc<Session> = self.cql.session()?;
        for _ in 0..ATTEMPTS {
            let found = self.find(&session, key).await?;
            let (mut next, now) = (found.0.state.clone(), found.0.now);
            limit.mend(&mut next, now);
            let result = change(&mut next, now);
            if next == found.0.state || self.replace(&session, key, &found, &next).await? {
                return Ok(result);
            }
        }
        let message = format!("{ATTEMPTS} other decisions on the key came first");
        Err(Error::new(ErrorKind::Conflict, BACKEND, "acquire", message))
    }
}

impl Store for CqlStore {
    fn capability(&self) -> Capability {
        Capability::new(BACKEND).linearizable().server_clock().durable()
    }

    async fn ask(&self, key: &[u8], limit: &Limit, ask: Ask) -> Result<Answer> {
        check(key, ask.cost())?;
        self.change(key, limit, |state, at| {
            let (decision, cost) = match ask {
                Ask::Peek(cost) => (limit.peek(state, at, cost), 0),
                Ask::Take(cost) => (limit.take(state, at, cost), cost),
                Ask::TakeUpTo(most) => take_up_to(limit, state, at, most),
            };
            Answer { decision, taken: if decision.is_allowed() { cost } else { 0 }, at }
        })
        .await
    }

    async fn refund(&self, key: &[u8], limit: &Limit, cost: u32, taken_at: u64) -> Result<()> {
        check(key, cost)?;
        self.change(key, limit, |state, now| limit.refund(state, now, taken_at, cost)).await
    }

    async fn health(&self) -> Result<()> {
        self.cql.health().await
    }

    async fn close(&self) -> Result<()> {
        self.cql.close().await;
        Ok(())
    }
}

fn check(key: &[u8], cost: u32) -> Result<()> {
    let invalid = |message| Err(Error::new(ErrorKind::Invalid, BACKEND, "acquire", message));
    match (key.len(), cost) {
        (_, 0) => Err(no_cost(BACKEND)),
        (0, _) => invalid("a key of no bytes, which no table has"),
        (65_536.., _) => invalid("a key of more than 65,535 bytes, which no table has"),
        _ => Ok(()),
    }
}

fn micros(time: CqlTimestamp) -> u64 {
    u64::try_from(time.0).unwrap_or_default().saturating_mul(1_000)
}

fn corrupt(error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, BACKEND, "acquire", error.to_string().to_lowercase())
}

impl fmt::Debug for CqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CqlStore").field("cql", &self.cql).finish_non_exhaustive()
    }
}
