//! The log's records, format 1: who changed which documents, when and why, chained by hashes.
//!
//! INVARIANT: a record is hashed as it is stored, and never written again. Bodies are detached: a
//! record holds only their digests, so that personal data can be erased without breaking the chain.

use std::fmt;
use std::str::FromStr;

use plane_model::{Digest, DocumentKey, Kind, PrincipalId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The format that records are written in.
pub const RECORD_FORMAT: u32 = 1;

/// One commit, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format of the record.
    pub format: u32,
    /// The log that the record belongs to.
    pub log: String,
    /// Its place in the log; the first record has revision 1.
    pub revision: u64,
    /// The hash of the record before it; the hash of nothing for the first.
    pub parent: Digest,
    /// The key that makes a repeated request one commit.
    pub id: String,
    /// The digest of what is stored of the request; none in records of versions that did not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Digest>,
    /// When it was committed; never before the record before it.
    pub at: Timestamp,
    /// Who.
    pub actor: PrincipalId,
    /// What kind of change.
    pub action: String,
    /// Why.
    pub reason: String,
    /// Through what: a command, the API, a tree.
    pub source: String,
    /// The documents that were put and deleted.
    pub ops: Vec<RecordOp>,
}

/// What a record does to one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordOp {
    /// Put or delete.
    pub op: OpKind,
    /// The kind; a later version may write kinds that this one does not know.
    pub kind: String,
    /// The scope.
    pub scope: String,
    /// The name.
    pub name: String,
    /// The body that is put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<BodyRef>,
    /// The body that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BodyRef>,
    /// The format of the body.
    pub format: u32,
    /// The blobs that the body refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Digest>,
}

impl RecordOp {
    /// The key of the document, if this version knows its kind.
    pub fn key(&self) -> Option<DocumentKey> {
        let kind: Kind = self.kind.parse().ok()?;
        DocumentKey::new(kind, &self.scope, &self.name).ok()
    }
}

/// Put or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpKind {
    /// The document is there afterwards, with this body.
    Put,
    /// The document is not there afterwards.
    Delete,
}

/// Where a body is found, and what its bytes hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyRef {
    /// A row of its own; the digest covers its salt and its bytes. Written `salted:HEX`.
    Salted(Digest),
    /// A blob; the digest covers its bytes. Written `sha256:HEX`.
    Blob(Digest),
}

impl BodyRef {
    /// The digest, of whichever kind.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Salted(digest) | Self::Blob(digest) => *digest,
        }
    }
}

/// The digest that a body with this salt has.
pub fn salted_digest(salt: &[u8; 16], bytes: &[u8]) -> Digest {
    let mut salted = Vec::with_capacity(16 + bytes.len());
    salted.extend_from_slice(salt);
    salted.extend_from_slice(bytes);
    Digest::of(&salted)
}

impl fmt::Display for BodyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Salted(digest) => write!(f, "salted:{}", digest.hex()),
            Self::Blob(digest) => write!(f, "{digest}"),
        }
    }
}

impl FromStr for BodyRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (blob, hex) = match text.split_once(':') {
            Some(("salted", hex)) => (false, hex),
            Some(("sha256", hex)) => (true, hex),
            _ => return Err("a body is named by `salted:HEX` or `sha256:HEX`".to_owned()),
        };
        let digest = format!("sha256:{hex}")
            .parse::<Digest>()
            .map_err(|it| it.to_string())?;
        Ok(if blob {
            Self::Blob(digest)
        } else {
            Self::Salted(digest)
        })
    }
}

impl Serialize for BodyRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BodyRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Record {
    /// The bytes that are stored and hashed.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists only: there is nothing that JSON cannot write.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.format > RECORD_FORMAT {
            return Err(format!(
                "the record has format {}, this version reads up to {RECORD_FORMAT}",
                record.format
            ));
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../golden/record-1.json");

    fn golden() -> Record {
        Record {
            format: 1,
            log: "01J8X4T6Z0PLANEPLANEPLANE0".to_owned(),
            revision: 2,
            parent: Digest::of(b"parent"),
            id: "01J8X4T6Z0AAAAAAAAAAAAAAAA".to_owned(),
            request: None,
            at: Timestamp(1_767_225_600_000),
            actor: PrincipalId::new("admin").unwrap(),
            action: "write".to_owned(),
            reason: "raise the limit".to_owned(),
            source: "api".to_owned(),
            ops: vec![
                RecordOp {
                    op: OpKind::Put,
                    kind: "targeting".to_owned(),
                    scope: "production".to_owned(),
                    name: "enhanced_reasoning".to_owned(),
                    digest: Some(BodyRef::Salted(Digest::of(b"body"))),
                    before: None,
                    format: 1,
                    blobs: Vec::new(),
                },
                RecordOp {
                    op: OpKind::Put,
                    kind: "agent".to_owned(),
                    scope: String::new(),
                    name: "support@1.0.0".to_owned(),
                    digest: Some(BodyRef::Salted(Digest::of(b"facts"))),
                    before: None,
                    format: 1,
                    blobs: vec![Digest::of(b"manifest")],
                },
                RecordOp {
                    op: OpKind::Delete,
                    kind: "segment".to_owned(),
                    scope: String::new(),
                    name: "early".to_owned(),
                    digest: None,
                    before: Some(BodyRef::Blob(Digest::of(b"large"))),
                    format: 1,
                    blobs: Vec::new(),
                },
            ],
        }
    }

    #[test]
    fn format_1_is_written_as_the_golden_file_says() {
        assert_eq!(
            String::from_utf8(golden().encode()).unwrap(),
            GOLDEN.trim_end()
        );
    }

    #[test]
    fn the_golden_file_is_read_back() {
        assert_eq!(Record::decode(GOLDEN.trim_end().as_bytes()), Ok(golden()));
    }

    #[test]
    fn a_record_names_what_is_stored_of_the_request_as_the_golden_file_says() {
        let record = Record {
            request: Some(Digest::of(b"mark")),
            ..golden()
        };
        let with_request = include_str!("../golden/record-1-request.json").trim_end();
        assert_eq!(String::from_utf8(record.encode()).unwrap(), with_request);
        assert_eq!(Record::decode(with_request.as_bytes()), Ok(record));
    }

    #[test]
    fn a_record_of_a_later_format_is_refused_by_its_number() {
        let later = GOLDEN.replacen("\"format\":1", "\"format\":2", 1);
        assert!(
            Record::decode(later.as_bytes())
                .unwrap_err()
                .contains("format 2")
        );
    }
}
