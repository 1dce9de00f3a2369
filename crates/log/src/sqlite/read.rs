//! What connections read; none of these functions writes.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};

use super::schema::{
    Digest, INSTALLATION_PREFIX, LOG_ID_KEY, Revision, Salt, State, digest_ref, facet_number,
    facet_of,
};
use super::tail::stored;
use crate::query::Gathered;
use crate::{
    Body, Bytes, ChangeRow, Checkpoint, CheckpointMeta, DocumentKey, Entry, Facet, Hash, Head,
    Order, Point, Query, ReadLimit, SnapshotRow, StoredBlob, StoredBody, StoredChange, StoredEntry,
    StoredFacet,
};

const ENTRY: &str = "e.revision, e.parent, e.hash, e.id, e.request, e.at_ms, e.record";

/// Reads the head and its time; an empty log ended before all time.
pub(crate) fn head(db: &Connection) -> rusqlite::Result<(Head, i64)> {
    db.prepare_cached("SELECT revision, hash, at_ms FROM entry ORDER BY revision DESC LIMIT 1")?
        .query_row([], |row| {
            let head = Head {
                revision: row.get::<_, Revision>(0)?.0,
                hash: row.get::<_, Digest>(1)?.0,
            };
            Ok((head, row.get(2)?))
        })
        .optional()
        .map(|last| last.unwrap_or((Head::GENESIS, i64::MIN)))
}

/// Reads the hash of the entry at `revision`.
pub(crate) fn hash_at(db: &Connection, revision: u64) -> rusqlite::Result<Option<Hash>> {
    db.prepare_cached("SELECT hash FROM entry WHERE revision = ?")?
        .query_row([Revision(revision)], |row| row.get::<_, Digest>(0))
        .optional()
        .map(|found| found.map(|Digest(hash)| hash))
}

/// Reads the rows of the journal, the oldest first.
pub(crate) fn journal(db: &Connection) -> rusqlite::Result<Vec<(Revision, Vec<u8>)>> {
    let mut statement = db.prepare("SELECT revision, entries FROM journal ORDER BY revision")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Reads the id that the log was created with.
pub(crate) fn log_id(db: &Connection) -> rusqlite::Result<Option<String>> {
    db.query_row(
        "SELECT CAST(value AS TEXT) FROM meta WHERE key = ?",
        [LOG_ID_KEY],
        |row| row.get(0),
    )
    .optional()
}

/// Reads the entries after a revision from the tables, and goes on in `tail`, which was looked at before.
pub(crate) fn entries(
    db: &Connection,
    after: u64,
    limit: ReadLimit,
    tail: &[Arc<Entry>],
) -> rusqlite::Result<Vec<StoredEntry>> {
    let (mut gathered, mut found) = (Gathered::new(limit), Vec::new());
    let first = tail.first().map(|entry| entry.revision);
    if first.is_none_or(|first| first > after.saturating_add(1)) {
        let sql =
            format!("SELECT {ENTRY} FROM entry AS e WHERE e.revision > ? ORDER BY e.revision");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query([Revision(after)])?;
        if !gather(rows, &mut gathered, &mut found)? {
            return Ok(found);
        }
    }
    let last = found
        .last()
        .map_or(after, |entry: &StoredEntry| entry.revision);
    for entry in tail.iter().filter(|entry| entry.revision > last) {
        if !gathered.admits(entry.record.len()) {
            break;
        }
        found.push(stored(entry));
    }
    Ok(found)
}

pub(crate) fn find(db: &Connection, id: &str) -> rusqlite::Result<Option<StoredEntry>> {
    let sql = format!("SELECT {ENTRY} FROM entry AS e WHERE e.id = ?");
    db.prepare_cached(&sql)?
        .query_row([id], stored_entry)
        .optional()
}

pub(crate) fn bodies(db: &Connection, digests: &[Hash]) -> rusqlite::Result<Vec<Option<Body>>> {
    let mut statement =
        db.prepare_cached("SELECT digest, salt, bytes FROM body WHERE digest = ?")?;
    let mut read = |digest: &Hash| {
        let found = statement
            .query_row([Digest(*digest)], stored_body)
            .optional()?;
        Ok(found.and_then(|stored| stored.body))
    };
    digests.iter().map(&mut read).collect()
}

pub(crate) fn blobs(db: &Connection, digests: &[Hash]) -> rusqlite::Result<Vec<Option<Bytes>>> {
    let mut statement = db.prepare_cached("SELECT digest, bytes FROM blob WHERE digest = ?")?;
    let mut read = |digest: &Hash| {
        let found = statement
            .query_row([Digest(*digest)], stored_blob)
            .optional()?;
        Ok(found.and_then(|stored| stored.bytes))
    };
    digests.iter().map(&mut read).collect()
}

pub(crate) fn bodies_page(
    db: &Connection,
    after: Option<Hash>,
    limit: ReadLimit,
) -> rusqlite::Result<Vec<StoredBody>> {
    let mut statement = db.prepare_cached(
        "SELECT digest, salt, bytes FROM body WHERE digest > ? ORDER BY digest LIMIT ?",
    )?;
    let mut rows = statement.query(params![start(after), records(limit)])?;
    let (mut gathered, mut page) = (Gathered::new(limit), Vec::new());
    while let Some(row) = rows.next()? {
        let stored = stored_body(row)?;
        if !gathered.admits(stored.body.as_ref().map_or(0, |body| body.bytes.len())) {
            break;
        }
        page.push(stored);
    }
    Ok(page)
}

pub(crate) fn blobs_page(
    db: &Connection,
    after: Option<Hash>,
    limit: ReadLimit,
) -> rusqlite::Result<Vec<StoredBlob>> {
    let mut statement = db.prepare_cached(
        "SELECT digest, bytes FROM blob WHERE digest > ? ORDER BY digest LIMIT ?",
    )?;
    let mut rows = statement.query(params![start(after), records(limit)])?;
    let (mut gathered, mut page) = (Gathered::new(limit), Vec::new());
    while let Some(row) = rows.next()? {
        let stored = stored_blob(row)?;
        if !gathered.admits(stored.bytes.as_ref().map_or(0, |bytes| bytes.len())) {
            break;
        }
        page.push(stored);
    }
    Ok(page)
}

/// Finds the last revision at or before a time: times never go back along the log, so halving finds it.
pub(crate) fn revision_at(db: &Connection, at_ms: i64) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached(
        "SELECT revision, at_ms FROM entry WHERE revision <= ? ORDER BY revision DESC LIMIT 1",
    )?;
    let (mut low, mut high) = (0, head(db)?.0.revision);
    // INVARIANT: what is at or before `low` is not later than `at_ms`, and what is after `high` is.
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let row = |row: &Row<'_>| Ok((row.get::<_, Revision>(0)?.0, row.get::<_, i64>(1)?));
        match statement.query_row([Revision(middle)], row).optional()? {
            Some((_, at)) if at <= at_ms => low = middle,
            Some((revision, _)) if revision > low => high = revision - 1,
            _ => return Ok(low),
        }
    }
    Ok(low)
}

pub(crate) fn snapshot_at(
    db: &Connection,
    revision: u64,
    kind: Option<&str>,
) -> rusqlite::Result<Vec<SnapshotRow>> {
    // With a single max(), SQLite takes the other columns from the row that has the maximum.
    let mut statement = db.prepare_cached(&format!(
        "SELECT kind, scope, name, max(revision), blob, digest FROM change
         WHERE revision <= ?1 {} GROUP BY kind, scope, name HAVING digest IS NOT NULL
         ORDER BY kind, scope, name",
        if kind.is_some() { "AND kind = ?2" } else { "" }
    ))?;
    let mut values = vec![Value::from(Revision(revision).as_integer())];
    values.extend(kind.map(|kind| Value::from(kind.to_owned())));
    let rows = statement.query_map(params_from_iter(values), |row| {
        let key = DocumentKey {
            kind: row.get(0)?,
            scope: row.get(1)?,
            name: row.get(2)?,
        };
        let Revision(revision) = row.get(3)?;
        let digest = digest_ref(row.get(4)?, row.get(5)?);
        Ok(digest.map(|digest| SnapshotRow {
            key,
            revision,
            digest,
        }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

pub(crate) fn changes_page(
    db: &Connection,
    after: Option<(DocumentKey, u64)>,
    records: usize,
) -> rusqlite::Result<Vec<StoredChange>> {
    let mut statement = db.prepare_cached(
        "SELECT kind, scope, name, revision, blob, digest FROM change
         WHERE (kind, scope, name, revision) > (?, ?, ?, ?)
         ORDER BY kind, scope, name, revision LIMIT ?",
    )?;
    let (key, revision) = after.unwrap_or_else(|| (DocumentKey::new("", "", ""), 0));
    let limit = Revision(records.max(1) as u64);
    let rows = statement.query_map(
        params![key.kind, key.scope, key.name, Revision(revision), limit],
        |row| {
            Ok(StoredChange {
                key: DocumentKey {
                    kind: row.get(0)?,
                    scope: row.get(1)?,
                    name: row.get(2)?,
                },
                revision: row.get::<_, Revision>(3)?.0,
                digest: digest_ref(row.get(4)?, row.get(5)?),
            })
        },
    )?;
    rows.collect()
}

pub(crate) fn facets_page(
    db: &Connection,
    after: Option<&StoredFacet>,
    records: usize,
) -> rusqlite::Result<Vec<StoredFacet>> {
    let mut statement = db.prepare_cached(
        "SELECT facet, value, revision FROM facet
         WHERE (facet, value, revision) > (?, ?, ?) AND facet BETWEEN 1 AND 4
         ORDER BY facet, value, revision LIMIT ?",
    )?;
    let (facet, value, revision) = after.map_or((0, "", 0), |it| {
        (facet_number(it.facet), it.value.as_str(), it.revision)
    });
    let limit = Revision(records.max(1) as u64);
    let rows = statement.query_map(params![facet, value, Revision(revision), limit], |row| {
        let number = row.get(0)?;
        Ok(StoredFacet {
            facet: facet_of(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number))?,
            value: row.get(1)?,
            revision: row.get::<_, Revision>(2)?.0,
        })
    })?;
    rows.collect()
}

pub(crate) fn history(
    db: &Connection,
    key: &DocumentKey,
    before: Option<u64>,
    limit: usize,
) -> rusqlite::Result<Vec<ChangeRow>> {
    let mut statement = db.prepare_cached(
        "SELECT c.revision, e.at_ms, c.blob, c.digest
         FROM change AS c CROSS JOIN entry AS e ON e.revision = c.revision
         WHERE c.kind = ? AND c.scope = ? AND c.name = ? AND c.revision < ?
         ORDER BY c.revision DESC LIMIT ?",
    )?;
    let before = Revision(before.unwrap_or(u64::MAX));
    let limit = Revision(limit as u64);
    let rows = statement.query_map(
        params![key.kind, key.scope, key.name, before, limit],
        |row| {
            Ok(ChangeRow {
                revision: row.get::<_, Revision>(0)?.0,
                at_ms: row.get(1)?,
                digest: digest_ref(row.get(2)?, row.get(3)?),
            })
        },
    )?;
    rows.collect()
}

/// Reads the entries that `query` selects, driven by the condition that is likely to leave the fewest.
pub(crate) fn query(db: &Connection, query: &Query) -> rusqlite::Result<Vec<StoredEntry>> {
    let (low, high) = bounds(db, query)?;
    let mut facets: Vec<_> = [
        (Facet::Tenant, &query.tenant),
        (Facet::Actor, &query.actor),
        (Facet::Action, &query.action),
        (Facet::Kind, &query.kind),
    ]
    .into_iter()
    .filter_map(|(facet, value)| Some((facet, value.as_ref()?)))
    .collect();

    let mut values: Vec<Value> = Vec::new();
    let driver = if let Some(key) = &query.document {
        values.extend([&key.kind, &key.scope, &key.name].map(|text| Value::from(text.clone())));
        "change AS d CROSS JOIN entry AS e ON e.revision = d.revision
         WHERE d.kind = ? AND d.scope = ? AND d.name = ?"
    } else if facets.is_empty() {
        "entry AS d CROSS JOIN entry AS e ON e.revision = d.revision WHERE true"
    } else {
        let (facet, value) = facets.remove(0);
        values.extend([facet_number(facet).into(), Value::from(value.clone())]);
        "facet AS d CROSS JOIN entry AS e ON e.revision = d.revision
         WHERE d.facet = ? AND d.value = ?"
    };
    let mut sql = format!("SELECT {ENTRY} FROM {driver} AND d.revision > ? AND d.revision < ?");
    values.extend([low, high].map(|bound| Value::from(Revision(bound).as_integer())));
    for (facet, value) in facets {
        sql.push_str(
            " AND EXISTS (SELECT 1 FROM facet AS f
             WHERE f.facet = ? AND f.value = ? AND f.revision = d.revision)",
        );
        values.extend([facet_number(facet).into(), Value::from(value.clone())]);
    }
    sql.push_str(match query.order {
        Order::OldestFirst => " ORDER BY d.revision ASC LIMIT ?",
        Order::NewestFirst => " ORDER BY d.revision DESC LIMIT ?",
    });
    values.push(Value::from(records(query.limit)));
    let mut statement = db.prepare_cached(&sql)?;
    let (mut gathered, mut found) = (Gathered::new(query.limit), Vec::new());
    let rows = statement.query(params_from_iter(values))?;
    gather(rows, &mut gathered, &mut found)?;
    Ok(found)
}

/// Turns the ends and the cursor of `query` into revisions, both left out.
fn bounds(db: &Connection, query: &Query) -> rusqlite::Result<(u64, u64)> {
    let low = match query.since {
        None => 0,
        Some(Point::Revision(since)) => since.saturating_sub(1),
        Some(Point::AtMs(i64::MIN)) => 0,
        Some(Point::AtMs(since)) => revision_at(db, since - 1)?,
    };
    let high = match query.until {
        None => u64::MAX,
        Some(Point::Revision(until)) => until.saturating_add(1),
        Some(Point::AtMs(until)) => revision_at(db, until)?.saturating_add(1),
    };
    Ok(match (query.cursor, query.order) {
        (None, _) => (low, high),
        (Some(cursor), Order::NewestFirst) => (low, high.min(cursor)),
        (Some(cursor), Order::OldestFirst) => (low.max(cursor), high),
    })
}

pub(crate) fn checkpoints(db: &Connection) -> rusqlite::Result<Vec<CheckpointMeta>> {
    let mut statement = db.prepare_cached(
        "SELECT revision, head, digest, bytes_len, id FROM checkpoint WHERE state = ?
         ORDER BY revision DESC",
    )?;
    statement
        .query_map([State::Kept as i64], checkpoint_meta)?
        .collect()
}

/// Reads a checkpoint; `Err` if its chunks do not add up.
pub(crate) fn checkpoint(
    db: &Connection,
    revision: u64,
) -> rusqlite::Result<Option<Result<Checkpoint, String>>> {
    // Both statements must see the same state: the checkpoint may be dropped meanwhile.
    let snapshot = db.unchecked_transaction()?;
    let found = snapshot
        .prepare_cached(
            "SELECT revision, head, digest, bytes_len, id FROM checkpoint
             WHERE state = ? AND revision = ?",
        )?
        .query_row(params![State::Kept as i64, Revision(revision)], |row| {
            Ok((checkpoint_meta(row)?, row.get::<_, i64>(4)?))
        })
        .optional()?;
    let Some((meta, id)) = found else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut statement = snapshot
        .prepare_cached("SELECT bytes FROM checkpoint_chunk WHERE checkpoint = ? ORDER BY seq")?;
    let mut chunks = statement.query([id])?;
    while let Some(chunk) = chunks.next()? {
        bytes.extend_from_slice(chunk.get_ref(0)?.as_blob()?);
    }
    if bytes.len() as u64 != meta.bytes_len {
        let (found, expected) = (bytes.len(), meta.bytes_len);
        return Ok(Some(Err(format!(
            "checkpoint {revision} has {found} of {expected} bytes"
        ))));
    }
    Ok(Some(Ok(Checkpoint {
        revision: meta.revision,
        head: meta.head,
        digest: meta.digest,
        bytes: bytes.into(),
    })))
}

pub(crate) fn meta(db: &Connection, key: &str) -> rusqlite::Result<Option<Bytes>> {
    db.prepare_cached("SELECT value FROM meta WHERE key = ?")?
        .query_row([format!("{INSTALLATION_PREFIX}{key}")], |row| bytes(row, 0))
        .optional()
}

/// Lists what `SQLite` finds wrong with its own structures.
pub(crate) fn check(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = db.prepare("PRAGMA integrity_check")?;
    let found: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// Adds entries up to the limit, and says whether the rows ended before it.
fn gather(
    mut rows: rusqlite::Rows<'_>,
    gathered: &mut Gathered,
    found: &mut Vec<StoredEntry>,
) -> rusqlite::Result<bool> {
    while let Some(row) = rows.next()? {
        let entry = stored_entry(row)?;
        if !gathered.admits(entry.record.len()) {
            return Ok(false);
        }
        found.push(entry);
        if gathered.is_full() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn stored_entry(row: &Row<'_>) -> rusqlite::Result<StoredEntry> {
    Ok(StoredEntry {
        revision: row.get::<_, Revision>(0)?.0,
        parent: row.get::<_, Digest>(1)?.0,
        hash: row.get::<_, Digest>(2)?.0,
        id: row.get(3)?,
        request: row.get::<_, Digest>(4)?.0,
        at_ms: row.get(5)?,
        record: bytes(row, 6)?,
    })
}

fn stored_body(row: &Row<'_>) -> rusqlite::Result<StoredBody> {
    let Digest(digest) = row.get(0)?;
    let body = match row.get(1)? {
        None => None,
        Some(Salt(salt)) => Some(Body {
            digest,
            salt,
            bytes: bytes(row, 2)?,
        }),
    };
    Ok(StoredBody { digest, body })
}

fn stored_blob(row: &Row<'_>) -> rusqlite::Result<StoredBlob> {
    let Digest(digest) = row.get(0)?;
    let erased = matches!(row.get_ref(1)?, rusqlite::types::ValueRef::Null);
    let bytes = if erased { None } else { Some(bytes(row, 1)?) };
    Ok(StoredBlob { digest, bytes })
}

fn checkpoint_meta(row: &Row<'_>) -> rusqlite::Result<CheckpointMeta> {
    Ok(CheckpointMeta {
        revision: row.get::<_, Revision>(0)?.0,
        head: row.get::<_, Digest>(1)?.0,
        digest: row.get::<_, Digest>(2)?.0,
        bytes_len: row.get::<_, Revision>(3)?.0,
    })
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    let blob = row.get_ref(column)?.as_blob();
    blob.map(Bytes::from).map_err(|error| {
        let kind = rusqlite::types::Type::Blob;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}

/// Where a page starts: digests compare as bytes, and none is shorter than the empty one.
fn start(after: Option<Hash>) -> Vec<u8> {
    after.map_or_else(Vec::new, |digest| digest.as_bytes().to_vec())
}

/// How many rows a statement is asked for: one at least.
fn records(limit: ReadLimit) -> i64 {
    i64::try_from(limit.records.max(1)).unwrap_or(i64::MAX)
}
