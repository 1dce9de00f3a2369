-- A log of schema version 1 with two entries, as `.dump` gives it.
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
CREATE INDEX entry_at ON entry (at_ms);
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
INSERT INTO meta VALUES ('log', x'30314f4c44');
INSERT INTO meta VALUES ('installation/epoch', x'31');
INSERT INTO entry VALUES (1, zeroblob(32), x'0101010101010101010101010101010101010101010101010101010101010101', 'id-1',
    x'1111111111111111111111111111111111111111111111111111111111111111', 1000, x'7265636f72642031');
INSERT INTO entry VALUES (2, x'0101010101010101010101010101010101010101010101010101010101010101',
    x'0202020202020202020202020202020202020202020202020202020202020202', 'id-2',
    x'1212121212121212121212121212121212121212121212121212121212121212', 2000, x'7265636f72642032');
INSERT INTO facet VALUES (1, 'ana', 1), (1, 'ana', 2), (2, 'commit', 1), (2, 'commit', 2), (4, 'flag', 1), (4, 'flag', 2);
INSERT INTO change VALUES ('flag', 'prod', 'f', 1, 0, x'2121212121212121212121212121212121212121212121212121212121212121');
INSERT INTO change VALUES ('flag', 'prod', 'f', 2, NULL, NULL);
INSERT INTO body VALUES (x'2121212121212121212121212121212121212121212121212121212121212121', zeroblob(16), x'6f6e');
PRAGMA application_id = 1886154599;
PRAGMA user_version = 1;
