//! Observations in a `SQLite` file.

use std::fs;
use std::path::Path;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::{
    Aggregate, Cursor, Filter, GroupBy, Groups, Observation, ObservationStore, Retention,
    check_batch,
};
use crate::sqlite::{
    Abort, DirLock, Lane, Schema, check_engine, create_if_absent, open_writer, read_error, transact,
};
use crate::{OpenError, ReadError, WriteError};

/// The file of observations. `NORMAL`: a commit does not wait for the disk, so the last few may be lost with the
/// machine's power, never torn. Observations are counts, and nothing that was acknowledged rests on one.
const OBSERVATIONS: Schema = Schema {
    file: "observations.db",
    application_id: 0x706f_6273,
    version: 1,
    sql: "
CREATE TABLE observation (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    labels TEXT NOT NULL,
    count INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    dedupe TEXT
) STRICT;
CREATE INDEX observation_subject ON observation (kind, subject, at_ms);
CREATE INDEX observation_at ON observation (at_ms);
CREATE UNIQUE INDEX observation_dedupe ON observation (kind, dedupe) WHERE dedupe IS NOT NULL;
",
    upgrades: &[],
    synchronous: "NORMAL",
};

/// How many rows one transaction drops, so that an append never waits for long.
const DROP_BATCH: i64 = 10_000;

const COLUMNS: &str = "kind, subject, labels, count, at_ms, dedupe, seq";

/// Keeps observations in `observations.db`, on a thread and a connection of its own.
///
/// Counts and their sums are exact up to 2^53.
#[derive(Debug)]
pub struct SqliteObservations {
    lane: Lane<Connection>,
    _lock: DirLock,
}

impl SqliteObservations {
    /// Opens the store in `dir`, and creates both if they are not there.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        check_engine()?;
        fs::create_dir_all(dir).map_err(|error| OpenError::Io {
            path: dir.to_owned(),
            detail: error.to_string(),
        })?;
        let lock = DirLock::acquire(dir, "observations.lock")?;
        create_if_absent(dir, &OBSERVATIONS, |_| Ok(()))?;
        let db = open_writer(dir, &OBSERVATIONS)?;
        Ok(Self {
            lane: Lane::start("observations", db)?,
            _lock: lock,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.lane.run(|db| read(db)).await?.map_err(read_error)
    }

    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        self.lane
            .run(|db| transact(db, |db| write(db).map_err(Abort::Engine)))
            .await?
    }
}

#[async_trait]
impl ObservationStore for SqliteObservations {
    async fn append(&self, batch: &[Observation]) -> Result<u64, WriteError> {
        check_batch(batch)?;
        let batch = batch.to_vec();
        self.write(move |db| insert(db, &batch)).await
    }

    async fn aggregate(&self, filter: &Filter, by: &GroupBy) -> Result<Vec<Aggregate>, ReadError> {
        let (filter, by) = (filter.clone(), by.clone());
        self.read(move |db| aggregate(db, &filter, &by)).await
    }

    async fn latest(
        &self,
        kind: &str,
        subject: Option<&str>,
    ) -> Result<Vec<Observation>, ReadError> {
        let (kind, subject) = (kind.to_owned(), subject.map(str::to_owned));
        self.read(move |db| latest(db, &kind, subject.as_deref()))
            .await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<(Cursor, Observation)>, ReadError> {
        let filter = filter.clone();
        self.read(move |db| list(db, &filter, before, limit)).await
    }

    async fn retain(&self, retention: &Retention) -> Result<u64, WriteError> {
        let retention = *retention;
        let Some(last) = self.write(move |db| last_to_drop(db, &retention)).await? else {
            return Ok(0);
        };
        let mut dropped = 0;
        loop {
            let rows = self.write(move |db| drop_some(db, last)).await?;
            if rows == 0 {
                return Ok(dropped);
            }
            dropped += rows as u64;
        }
    }
}

fn insert(db: &Connection, batch: &[Observation]) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached(
        "INSERT INTO observation (kind, subject, labels, count, at_ms, dedupe)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, dedupe) WHERE dedupe IS NOT NULL DO NOTHING",
    )?;
    let mut added = 0;
    for seen in batch {
        let labels = serde_json::to_string(&seen.labels)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let count = i64::try_from(seen.count).unwrap_or(i64::MAX);
        added += statement.execute(params![
            seen.kind,
            seen.subject,
            labels,
            count,
            seen.at_ms,
            seen.dedupe
        ])?;
    }
    Ok(added as u64)
}

fn aggregate(db: &Connection, filter: &Filter, by: &GroupBy) -> rusqlite::Result<Vec<Aggregate>> {
    let (condition, values) = conditions(filter);
    // total() instead of sum(): it gets less exact where sum() would overflow and fail.
    let mut statement = db.prepare_cached(&format!(
        "SELECT kind, subject, labels, CAST(min(total(count), 9e18) AS INTEGER), min(at_ms), max(at_ms)
         FROM observation WHERE {condition} GROUP BY kind, subject, labels"
    ))?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut groups = Groups::new(by);
    while let Some(row) = rows.next()? {
        groups.add(Aggregate {
            kind: row.get(0)?,
            subject: Some(row.get(1)?),
            labels: labels(row, 2)?,
            count: count(row, 3)?,
            first_at_ms: row.get(4)?,
            last_at_ms: row.get(5)?,
        });
    }
    Ok(groups.finish())
}

fn latest(
    db: &Connection,
    kind: &str,
    subject: Option<&str>,
) -> rusqlite::Result<Vec<Observation>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM (
             SELECT {COLUMNS}, row_number() OVER (PARTITION BY subject ORDER BY at_ms DESC, seq DESC)
             AS place FROM observation WHERE kind = ?1 AND (?2 IS NULL OR subject = ?2)
         ) WHERE place = 1 ORDER BY subject"
    ))?;
    statement
        .query_map(params![kind, subject], observation)?
        .collect()
}

fn list(
    db: &Connection,
    filter: &Filter,
    before: Option<Cursor>,
    limit: usize,
) -> rusqlite::Result<Vec<(Cursor, Observation)>> {
    let (mut condition, mut values) = conditions(filter);
    if let Some(before) = before {
        condition.push_str(" AND (at_ms, seq) < (?, ?)");
        values.extend([Value::from(before.at_ms), Value::from(before.seq)]);
    }
    values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM observation WHERE {condition}
         ORDER BY at_ms DESC, seq DESC LIMIT ?"
    ))?;
    let rows = statement.query_map(params_from_iter(values), |row| {
        let seen = observation(row)?;
        Ok((
            Cursor {
                at_ms: seen.at_ms,
                seq: row.get(6)?,
            },
            seen,
        ))
    })?;
    rows.collect()
}

/// Finds the newest observation that `retention` does not keep.
fn last_to_drop(db: &Connection, retention: &Retention) -> rusqlite::Result<Option<Cursor>> {
    let cursor = |row: &Row<'_>| {
        Ok(Cursor {
            at_ms: row.get(0)?,
            seq: row.get(1)?,
        })
    };
    let by_age = db
        .query_row(
            "SELECT at_ms, seq FROM observation WHERE at_ms < ?
             ORDER BY at_ms DESC, seq DESC LIMIT 1",
            [retention.from_ms],
            cursor,
        )
        .optional()?;
    let by_number = db
        .query_row(
            "SELECT at_ms, seq FROM observation ORDER BY at_ms DESC, seq DESC LIMIT 1 OFFSET ?",
            [i64::try_from(retention.rows_max).unwrap_or(i64::MAX)],
            cursor,
        )
        .optional()?;
    Ok(by_age.max(by_number))
}

fn drop_some(db: &Connection, last: Cursor) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "DELETE FROM observation WHERE seq IN
         (SELECT seq FROM observation WHERE (at_ms, seq) <= (?, ?) ORDER BY at_ms, seq LIMIT ?)",
    )?
    .execute(params![last.at_ms, last.seq, DROP_BATCH])
}

/// Writes `filter` as a condition on `observation`.
fn conditions(filter: &Filter) -> (String, Vec<Value>) {
    let mut sql = "true".to_owned();
    let mut values = Vec::new();
    let single = [
        (" AND kind = ?", filter.kind.clone().map(Value::from)),
        (" AND subject = ?", filter.subject.clone().map(Value::from)),
        (" AND at_ms >= ?", filter.from_ms.map(Value::from)),
        (" AND at_ms < ?", filter.until_ms.map(Value::from)),
    ];
    for (condition, value) in single {
        if let Some(value) = value {
            sql.push_str(condition);
            values.push(value);
        }
    }
    for (label, value) in &filter.labels {
        sql.push_str(
            " AND EXISTS (SELECT 1 FROM json_each(labels) AS l WHERE l.key = ? AND l.value = ?)",
        );
        values.extend([Value::from(label.clone()), Value::from(value.clone())]);
    }
    (sql, values)
}

fn observation(row: &Row<'_>) -> rusqlite::Result<Observation> {
    Ok(Observation {
        kind: row.get(0)?,
        subject: row.get(1)?,
        labels: labels(row, 2)?,
        count: count(row, 3)?,
        at_ms: row.get(4)?,
        dedupe: row.get(5)?,
    })
}

fn labels(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<std::collections::BTreeMap<String, String>> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}
