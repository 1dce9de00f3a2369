//! Proves a log: the chain of its records, and every byte that they name.

use std::collections::BTreeSet;

use plane_model::Digest;

use crate::record::{BodyRef, Record, salted_digest};
use crate::seal::RequestMark;

/// A stored record, as the store gives it back.
#[derive(Debug, Clone, Copy)]
pub struct StoredRecord<'a> {
    /// The revision column.
    pub revision: u64,
    /// The parent column.
    pub parent: Digest,
    /// The hash column.
    pub hash: Digest,
    /// The idempotency column.
    pub id: &'a str,
    /// The column that tells repeated requests.
    pub request: RequestMark,
    /// The time column, in milliseconds.
    pub at_ms: i64,
    /// The record's bytes.
    pub bytes: &'a [u8],
}

/// One thing that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// What is damaged: a record, a hash, a body, a blob, a checkpoint.
    pub what: String,
    /// How it shows.
    pub detail: String,
}

/// Follows the chain record by record, and collects what it names.
#[derive(Debug)]
pub struct ChainCheck {
    log: String,
    next: u64,
    parent: Digest,
    at_ms: i64,
    bodies: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
    requests_unnamed: u64,
    damages: Vec<Damage>,
}

impl ChainCheck {
    /// Begins before the first record of a log.
    pub fn new(log: &str) -> Self {
        let head = crate::Head::genesis();
        Self {
            log: log.to_owned(),
            next: 1,
            parent: head.hash,
            at_ms: i64::MIN,
            bodies: BTreeSet::new(),
            blobs: BTreeSet::new(),
            requests_unnamed: 0,
            damages: Vec::new(),
        }
    }

    /// Checks the next record, and gives it if it can be read.
    pub fn record(&mut self, stored: &StoredRecord<'_>) -> Option<Record> {
        let at = stored.revision;
        let mut damage = |what: &str, detail: String| {
            self.damages.push(Damage {
                what: format!("{what} of revision {at}"),
                detail,
            });
        };
        if stored.revision != self.next {
            damage("place", format!("revision {} was expected", self.next));
        }
        let hash = Digest::of(stored.bytes);
        if hash != stored.hash {
            damage(
                "record or hash",
                format!("the record hashes to {hash}, stored is {}", stored.hash),
            );
        }
        if stored.parent != self.parent {
            damage(
                "parent",
                format!(
                    "it is {}, the record before has the hash {}",
                    stored.parent, self.parent
                ),
            );
        }
        let record = match Record::decode(stored.bytes) {
            Err(detail) => {
                damage("record", detail);
                None
            }
            Ok(record) => {
                if record.revision != stored.revision
                    || record.parent != stored.parent
                    || record.id != stored.id
                    || record.at.as_ms() != stored.at_ms
                    || record.log != self.log
                {
                    damage(
                        "record",
                        "it does not say what the columns beside it say".to_owned(),
                    );
                }
                match record.request {
                    Some(named) if named != stored.request.digest() => {
                        damage(
                            "request",
                            "it is not the one that the record names".to_owned(),
                        );
                    }
                    Some(_) => {}
                    None => self.requests_unnamed += 1,
                }
                if record.at.as_ms() < self.at_ms {
                    damage("time", "it is before that of the record before".to_owned());
                }
                self.at_ms = record.at.as_ms();
                for op in &record.ops {
                    match op.digest {
                        Some(BodyRef::Salted(digest)) => {
                            self.bodies.insert(digest);
                        }
                        Some(BodyRef::Blob(digest)) => {
                            self.blobs.insert(digest);
                        }
                        None => {}
                    }
                    self.blobs.extend(op.blobs.iter().copied());
                }
                Some(record)
            }
        };
        self.next = stored.revision.saturating_add(1);
        self.parent = stored.hash;
        record
    }

    /// Checks a stored body; `None` where it was erased.
    pub fn body(&mut self, digest: Digest, content: Option<(&[u8; 16], &[u8])>) {
        let named = self.bodies.remove(&digest);
        let mut damage = |detail: String| {
            self.damages.push(Damage {
                what: format!("body salted:{}", digest.hex()),
                detail,
            });
        };
        if !named {
            damage("no record names it".to_owned());
        }
        if let Some((salt, bytes)) = content {
            let actual = salted_digest(salt, bytes);
            if actual != digest {
                damage(format!("its salt and bytes hash to {}", actual.hex()));
            }
        }
    }

    /// Checks a stored blob; `None` where it was erased.
    pub fn blob(&mut self, digest: Digest, bytes: Option<&[u8]>) {
        let named = self.blobs.remove(&digest);
        let mut damage = |detail: String| {
            self.damages.push(Damage {
                what: format!("blob {digest}"),
                detail,
            });
        };
        if !named {
            damage("no record names it".to_owned());
        }
        if let Some(bytes) = bytes {
            let actual = Digest::of(bytes);
            if actual != digest {
                damage(format!("its bytes hash to {actual}"));
            }
        }
    }

    /// Checks a stored checkpoint against its digest.
    pub fn checkpoint(&mut self, revision: u64, digest: Digest, bytes: &[u8]) {
        let actual = Digest::of(bytes);
        if actual != digest {
            self.damages.push(Damage {
                what: format!("checkpoint of revision {revision}"),
                detail: format!("its bytes hash to {actual}, stored is {digest}"),
            });
        }
    }

    /// Notes a damage that the caller found, such as a file that cannot be read.
    pub fn note(&mut self, what: impl Into<String>, detail: impl Into<String>) {
        self.damages.push(Damage {
            what: what.into(),
            detail: detail.into(),
        });
    }

    /// The place that the chain has reached.
    pub fn head(&self) -> (u64, Digest) {
        (self.next.saturating_sub(1), self.parent)
    }

    /// How many records do not name what is stored of their request, so that it could not be checked.
    pub fn requests_unnamed(&self) -> u64 {
        self.requests_unnamed
    }

    /// Everything that is damaged, bodies and blobs that are named and not stored among it.
    pub fn finish(mut self) -> Vec<Damage> {
        for digest in &self.bodies {
            let what = format!("body salted:{}", digest.hex());
            self.damages.push(Damage {
                what,
                detail: "a record names it; it is missing".to_owned(),
            });
        }
        for digest in &self.blobs {
            let detail = "a record names it; it is missing".to_owned();
            self.damages.push(Damage {
                what: format!("blob {digest}"),
                detail,
            });
        }
        self.damages
    }
}
