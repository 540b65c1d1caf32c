use backends::{Cql, scylla_1::cql_error};
use cache::{Floor, Reads, Result, Row, Source, SourceError, Version, scylla::Timestamps};
use scylla::statement::{Consistency, prepared::PreparedStatement};

/// `users (id bigint PRIMARY KEY, name text, mail text)`, of which the names are cached.
#[derive(Debug)]
pub struct Names {
    cql: Cql,
    select: PreparedStatement,
    update: PreparedStatement,
    timestamps: Timestamps,
}

impl Names {
    pub async fn new(cql: Cql) -> Result<Self> {
        let select = "SELECT name, WRITETIME(name) FROM users WHERE id = ?";
        let update = "UPDATE users USING TIMESTAMP ? SET name = ? WHERE id = ?";
        let prepare = async |statement| {
            let prepared = cql.session()?.prepare(statement).await;
            let mut prepared = prepared.map_err(|error| cql_error("prepare", error))?;
            prepared.set_consistency(Consistency::Quorum);
            Ok::<PreparedStatement, backends::Error>(prepared)
        };
        let (select, update) = (prepare(select).await?, prepare(update).await?);
        Ok(Self { cql, select, update, timestamps: Timestamps::new() })
    }
}

impl Source<i64, String> for Names {
    fn reads(&self) -> Reads {
        Reads::Latest // a quorum of a quorum
    }

    async fn load(&self, id: &i64) -> Result<Row<String>> {
        let corrupt = || backends::Error::new(backends::ErrorKind::Corrupt, "scylla", "load", "no name");
        let rows = self.cql.session()?.execute_unpaged(&self.select, (id,)).await;
        let rows =
            rows.map_err(|error| cql_error("load", error))?.into_rows_result().map_err(|_| corrupt())?;
        let row = rows.maybe_first_row::<(Option<String>, Option<i64>)>().map_err(|_| corrupt())?;
        let Some((Some(name), Some(at))) = row else { return Ok(Row::ABSENT) };
        let version = u64::try_from(at).ok().and_then(Version::new).ok_or_else(corrupt)?;
        Ok(Row::new(name, version))
    }

    /// No name: the user stays, without one.
    async fn store(&self, id: &i64, name: Option<&String>) -> Result<Floor, SourceError> {
        let (session, at) = (self.cql.session()?, self.timestamps.next()?);
        let floor = self.timestamps.floor(at);
        match session.execute_unpaged(&self.update, (at.get() as i64, name, id)).await {
            Ok(_) => Ok(floor),
            Err(error) => Err(SourceError { error: cql_error("store", error), floor }),
        }
    }
}
