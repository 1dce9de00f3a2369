//! The tables of `log.db`, and how Rust values look in them.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

use super::file::Schema;
use crate::{DigestRef, Facet, Hash, SALT_BYTES};

/// The change log's file. `FULL`: a commit is on the disk before it is acknowledged.
pub(crate) const LOG: Schema = Schema {
    file: "log.db",
    application_id: 0x706c_6f67,
    version: 2,
    sql: SQL,
    upgrades: &[UPGRADE_1],
    synchronous: "FULL",
};

// From version 2 on a run is one row of the journal first, and its time is found by its revision.
const UPGRADE_1: &str = "
DROP INDEX entry_at;
CREATE TABLE journal (
    revision INTEGER NOT NULL PRIMARY KEY CHECK (revision > 0),
    entries BLOB NOT NULL
) STRICT;
";

// Entries, bodies and blobs hold long rows, so they are rowid tables with an index; the others are the index.
// A `facet` row says that a commit is by an actor, of an action, of a tenant or of a kind: one tree to write to.
// An erased body or blob keeps its digest. A checkpoint is written in chunks, each its own transaction, so that a
// commit never waits for more than one of them; `state` says whether it is being written, kept or dropped. A row of
// `journal` is a run under its first revision, until its entries are in the other tables.
const SQL: &str = "
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE entry (
    revision INTEGER NOT NULL PRIMARY KEY CHECK (revision > 0),
    parent BLOB NOT NULL CHECK (length(parent) = 32),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    id TEXT NOT NULL UNIQUE,
    request BLOB NOT NULL CHECK (length(request) = 32),
    at_ms INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE TABLE journal (
    revision INTEGER NOT NULL PRIMARY KEY CHECK (revision > 0),
    entries BLOB NOT NULL
) STRICT;
CREATE TABLE facet (
    facet INTEGER NOT NULL,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (facet, value, revision)
) STRICT, WITHOUT ROWID;
CREATE TABLE change (
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    blob INTEGER,
    digest BLOB CHECK (length(digest) = 32),
    PRIMARY KEY (kind, scope, name, revision),
    CHECK ((blob IS NULL) = (digest IS NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE body (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    salt BLOB CHECK (length(salt) = 16),
    bytes BLOB,
    CHECK ((salt IS NULL) = (bytes IS NULL))
) STRICT;
CREATE TABLE blob (
    digest BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    bytes BLOB
) STRICT;
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    revision INTEGER NOT NULL,
    head BLOB NOT NULL CHECK (length(head) = 32),
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    bytes_len INTEGER NOT NULL,
    state INTEGER NOT NULL
) STRICT;
CREATE TABLE checkpoint_chunk (
    checkpoint INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (checkpoint, seq)
) STRICT;
";

/// The key of the row in `meta` that holds the log's id; keys of the installation are kept apart by a prefix.
pub(crate) const LOG_ID_KEY: &str = "log";

/// What precedes the keys of the installation.
pub(crate) const INSTALLATION_PREFIX: &str = "installation/";

/// A facet as it stands in its column.
pub(crate) fn facet_number(facet: Facet) -> i64 {
    match facet {
        Facet::Actor => 1,
        Facet::Action => 2,
        Facet::Tenant => 3,
        Facet::Kind => 4,
    }
}

/// The facet with a number, if it is one.
pub(crate) fn facet_of(number: i64) -> Option<Facet> {
    [Facet::Actor, Facet::Action, Facet::Tenant, Facet::Kind]
        .into_iter()
        .find(|facet| facet_number(*facet) == number)
}

/// What a checkpoint's row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Writing = 0,
    Kept = 1,
    Dropped = 2,
}

/// A hash as a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(pub(crate) Hash);

impl FromSql for Digest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        exactly(value).map(|bytes| Self(Hash(bytes)))
    }
}

impl ToSql for Digest {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_bytes().as_slice().into())
    }
}

/// A body's salt as a column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salt(pub(crate) [u8; SALT_BYTES]);

impl FromSql for Salt {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        exactly(value).map(Self)
    }
}

/// A revision as a column. What is beyond `SQLite`'s integers is beyond every stored revision too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Revision(pub(crate) u64);

impl Revision {
    pub(crate) fn as_integer(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl FromSql for Revision {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let integer = value.as_i64()?;
        u64::try_from(integer)
            .map(Self)
            .map_err(|_| FromSqlError::OutOfRange(integer))
    }
}

impl ToSql for Revision {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_integer().into())
    }
}

/// Joins the two columns that point to a document's bytes.
pub(crate) fn digest_ref(blob: Option<bool>, digest: Option<Digest>) -> Option<DigestRef> {
    let Digest(hash) = digest?;
    Some(if blob.unwrap_or(false) {
        DigestRef::Blob(hash)
    } else {
        DigestRef::Body(hash)
    })
}

fn exactly<const N: usize>(value: ValueRef<'_>) -> FromSqlResult<[u8; N]> {
    let bytes = value.as_blob()?;
    bytes.try_into().map_err(|_| FromSqlError::InvalidBlobSize {
        expected_size: N,
        blob_size: bytes.len(),
    })
}
