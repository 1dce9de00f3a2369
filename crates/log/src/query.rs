//! What to read and how much.

use crate::DocumentKey;

/// Bounds a read by records and by bytes; a read returns at least one record if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// How many records at most; 0 reads as 1.
    pub records: usize,
    /// After how many bytes of payload the read stops; a single larger record is returned alone.
    pub bytes: usize,
}

impl ReadLimit {
    /// Bounds a read by `records`, and by the default number of bytes.
    #[must_use]
    pub fn records(records: usize) -> Self {
        Self {
            records,
            ..Self::default()
        }
    }
}

impl Default for ReadLimit {
    /// 1,000 records or 16 MiB, whichever is less.
    fn default() -> Self {
        Self {
            records: 1_000,
            bytes: 16 << 20,
        }
    }
}

/// Counts what a read has gathered against its limit.
#[derive(Debug)]
pub(crate) struct Gathered {
    limit: ReadLimit,
    records: usize,
    bytes: usize,
}

impl Gathered {
    pub(crate) fn new(limit: ReadLimit) -> Self {
        Self {
            limit,
            records: 0,
            bytes: 0,
        }
    }

    /// Counts one more record of `bytes`, and says whether it still belongs to this read.
    pub(crate) fn admits(&mut self, bytes: usize) -> bool {
        let total = self.bytes.saturating_add(bytes);
        let fits =
            self.records == 0 || (self.records < self.limit.records && total <= self.limit.bytes);
        if fits {
            self.records += 1;
            self.bytes = total;
        }
        fits
    }

    /// Says whether no further record belongs to this read, whatever its size.
    pub(crate) fn is_full(&self) -> bool {
        self.records >= self.limit.records
    }
}

/// Names a point in the log's order, by revision or by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// A revision.
    Revision(u64),
    /// A time, in milliseconds since 1970.
    AtMs(i64),
}

/// Says from which end of the log a query answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last commit first.
    #[default]
    NewestFirst,
    /// The first commit first.
    OldestFirst,
}

/// By what a commit can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Facet {
    /// Who committed.
    Actor,
    /// What the commit was.
    Action,
    /// A tenant that it touches.
    Tenant,
    /// A kind of document that it changes.
    Kind,
}

/// Selects commits; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Only commits from here on, the point included.
    pub since: Option<Point>,
    /// Only commits up to here, the point included.
    pub until: Option<Point>,
    /// Only commits by this principal.
    pub actor: Option<String>,
    /// Only commits of this action.
    pub action: Option<String>,
    /// Only commits that touch this tenant.
    pub tenant: Option<String>,
    /// Only commits that change a document of this kind.
    pub kind: Option<String>,
    /// Only commits that change this document.
    pub document: Option<DocumentKey>,
    /// From which end to answer.
    pub order: Order,
    /// The last revision of the page before: the answer goes on from there, that revision left out.
    pub cursor: Option<u64>,
    /// How much to answer.
    pub limit: ReadLimit,
}
