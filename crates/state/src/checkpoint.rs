//! The state as bytes, so that a start need not read the whole log.
//!
//! Lines of JSON: a header, then one line for each document, managed digest, unknown document and
//! blob. Blobs are named, not contained.

use std::sync::Arc;

use plane_model::{Digest, DocumentKey, Kind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::BodyRef;
use crate::state::{Content, Head, State, read_entry};

const CHECKPOINT_FORMAT: u32 = 1;

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint cannot be used: {0}")]
pub struct CheckpointError(String);

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    log: String,
    revision: u64,
    hash: Digest,
    at: Timestamp,
    state: Digest,
    anomalies: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: u64,
    kinds: Vec<(Kind, u64)>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Document {
        kind: Kind,
        scope: String,
        name: String,
        revision: u64,
        body: BodyRef,
        /// The bytes, where they are JSON.
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        content: Option<&'a RawValue>,
        /// The bytes in hexadecimal, where they are not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hex: Option<String>,
    },
    Managed {
        kind: Kind,
        scope: String,
        name: String,
        digest: Digest,
    },
    Unknown {
        kind: String,
        scope: String,
        name: String,
        body: BodyRef,
    },
    Blob {
        digest: Digest,
    },
}

/// Writes the state; the same state always gives the same bytes.
pub fn encode(state: &State) -> Vec<u8> {
    let header = Header {
        format: CHECKPOINT_FORMAT,
        log: state.log().to_owned(),
        revision: state.head.revision,
        hash: state.head.hash,
        at: state.head.at,
        state: state.digest(),
        anomalies: state.anomalies,
        epoch: state.epoch,
        kinds: Kind::ALL
            .iter()
            .map(|kind| (*kind, state.kind_revision(*kind)))
            .collect(),
    };
    let mut out = Vec::new();
    write_line(&mut out, &header);
    for (key, entry) in &state.entries {
        let erased = entry.content == Content::Erased;
        let json = std::str::from_utf8(&entry.bytes)
            .ok()
            .and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        write_line(
            &mut out,
            &Line::Document {
                kind: key.kind(),
                scope: key.scope().to_owned(),
                name: key.name().to_owned(),
                revision: entry.revision,
                body: entry.body,
                content: json.filter(|_| !erased),
                hex: (json.is_none() && !erased).then(|| hex::encode(&entry.bytes)),
            },
        );
    }
    for (key, digest) in &state.managed {
        write_line(
            &mut out,
            &Line::Managed {
                kind: key.kind(),
                scope: key.scope().to_owned(),
                name: key.name().to_owned(),
                digest: *digest,
            },
        );
    }
    for ((kind, scope, name), body) in &state.unknown {
        let (kind, scope, name) = (kind.clone(), scope.clone(), name.clone());
        write_line(
            &mut out,
            &Line::Unknown {
                kind,
                scope,
                name,
                body: *body,
            },
        );
    }
    for digest in state.blobs.keys() {
        write_line(&mut out, &Line::Blob { digest: *digest });
    }
    out
}

/// The blobs that a checkpoint names; whoever decodes it has to find them.
pub fn blobs(bytes: &[u8]) -> Result<Vec<Digest>, CheckpointError> {
    let mut digests = Vec::new();
    for line in lines(bytes).skip(1) {
        if let Line::Blob { digest } = read_line(line)? {
            digests.push(digest);
        }
    }
    Ok(digests)
}

/// Reads a state back, and proves by its digest that it is the one that was written.
///
/// # Errors
/// The bytes are not a checkpoint of this version, or not the one that was written: start from an
/// older one, or from the log's beginning.
pub fn decode(
    bytes: &[u8],
    blob: &dyn Fn(&Digest) -> Option<Arc<[u8]>>,
) -> Result<State, CheckpointError> {
    let mut lines = lines(bytes);
    let header: Header = read_line(lines.next().unwrap_or_default())?;
    if header.format != CHECKPOINT_FORMAT {
        return Err(CheckpointError(format!("it has format {}", header.format)));
    }
    let mut state = State::genesis(&header.log);
    state.head = Head {
        revision: header.revision,
        hash: header.hash,
        at: header.at,
    };
    state.anomalies = header.anomalies;
    state.epoch = header.epoch;
    for (kind, revision) in header.kinds {
        if let Some(last) = state.kind_revisions.get_mut(kind as usize) {
            *last = revision;
        }
    }
    for line in lines {
        match read_line(line)? {
            Line::Document {
                kind,
                scope,
                name,
                revision,
                body,
                content,
                hex,
            } => {
                let key = key(kind, &scope, &name)?;
                let bytes = match (content, hex) {
                    (Some(content), _) => Some(Arc::from(content.get().as_bytes())),
                    (None, Some(text)) => Some(
                        hex::decode(text)
                            .map_err(|error| CheckpointError(error.to_string()))?
                            .into(),
                    ),
                    (None, None) => None,
                };
                let (entry, _) = read_entry(&key, revision, body, bytes);
                state.insert(&key, Some(entry));
            }
            Line::Managed {
                kind,
                scope,
                name,
                digest,
            } => {
                state.managed.insert(key(kind, &scope, &name)?, digest);
            }
            Line::Unknown {
                kind,
                scope,
                name,
                body,
            } => {
                state.unknown.insert((kind, scope, name), body);
            }
            Line::Blob { digest } => {
                let bytes = blob(&digest)
                    .ok_or_else(|| CheckpointError(format!("the blob {digest} is missing")))?;
                state.blobs.insert(digest, bytes);
            }
        }
    }
    if state.digest() == header.state {
        Ok(state)
    } else {
        Err(CheckpointError(
            "its documents do not have the digest that its header names".to_owned(),
        ))
    }
}

fn key(kind: Kind, scope: &str, name: &str) -> Result<DocumentKey, CheckpointError> {
    DocumentKey::new(kind, scope, name).map_err(|error| CheckpointError(error.detail))
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

fn read_line<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, CheckpointError> {
    serde_json::from_slice(line).map_err(|error| CheckpointError(error.to_string()))
}

fn write_line(out: &mut Vec<u8>, line: &impl Serialize) {
    // Strings, numbers and JSON that was read before: there is nothing that cannot be written.
    if let Ok(line) = serde_json::to_vec(line) {
        out.extend_from_slice(&line);
        out.push(b'\n');
    }
}
