//! The state as bytes, so that a start need not read the whole log.
//!
//! A line of JSON says what follows: parts of documents that can be read side by side, what strayed
//! from the last applied tree, and the digests of blobs. Blobs are named, not contained. Whoever stores a
//! checkpoint stores its digest too, and checks it before reading: nothing here is hashed again.

use std::sync::Arc;

use imbl::OrdMap;
use plane_model::{Digest, DocumentKey, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::BodyRef;
use crate::state::{Entry, Head, State, read_entry};

const CHECKPOINT_FORMAT: u32 = 2;

/// Documents in a part: enough parts for all processors, few enough that each is worth its while.
const PART_DOCUMENTS: usize = 8_192;

const MANAGED: u8 = 1;
const BLOB: u8 = 2;
const ERASED: u8 = 4;

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint cannot be used: {0}")]
pub struct CheckpointError(String);

fn cut_short() -> CheckpointError {
    CheckpointError("it ends too early".to_owned())
}

/// What a checkpoint begins with; a later format need only share the first field.
#[derive(Debug, Deserialize)]
struct Format {
    format: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    log: String,
    revision: u64,
    hash: Digest,
    at: Timestamp,
    anomalies: u64,
    epoch: u64,
    /// The kinds, by the numbers that they have below, and the revisions of their last changes.
    kinds: Vec<(Kind, u64)>,
    /// The bytes of each part.
    parts: Vec<usize>,
    /// How many documents strayed from the last applied tree.
    strayed: usize,
    /// How many blobs there are.
    blobs: usize,
    unknown: Vec<((String, String, String), BodyRef)>,
}

/// Writes the state; the same state always gives the same bytes.
pub fn encode(state: &State) -> Vec<u8> {
    let mut body = Vec::new();
    let mut parts = Vec::new();
    let mut begin = 0;
    for (count, (key, entry)) in (1..).zip(&state.entries) {
        write_document(&mut body, key, entry);
        if count % PART_DOCUMENTS == 0 || count == state.entries.len() {
            parts.push(body.len() - begin);
            begin = body.len();
        }
    }
    for (key, digest) in &state.strayed {
        write_key(&mut body, key);
        body.extend_from_slice(digest.as_bytes());
    }
    for digest in state.blobs.keys() {
        body.extend_from_slice(digest.as_bytes());
    }
    let header = Header {
        format: CHECKPOINT_FORMAT,
        log: state.log().to_owned(),
        revision: state.head.revision,
        hash: state.head.hash,
        at: state.head.at,
        anomalies: state.anomalies,
        epoch: state.epoch,
        kinds: Kind::ALL
            .iter()
            .map(|kind| (*kind, state.kind_revision(*kind)))
            .collect(),
        parts,
        strayed: state.strayed.len(),
        blobs: state.blobs.len(),
        unknown: state
            .unknown
            .iter()
            .map(|(key, body)| (key.clone(), *body))
            .collect(),
    };
    // Strings, numbers and lists only: there is nothing that JSON cannot write.
    let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
    bytes.push(b'\n');
    bytes.append(&mut body);
    bytes
}

/// A checkpoint whose parts can be read one by one, in any order and at the same time.
#[derive(Debug)]
pub struct Opened<'a> {
    header: Header,
    parts: Vec<&'a [u8]>,
    strayed: Vec<(DocumentKey, Digest)>,
    blobs: Vec<Digest>,
}

/// The documents of one part.
#[derive(Debug)]
pub struct Part(Vec<(DocumentKey, Arc<Entry>)>);

/// Reads what a checkpoint begins with, and finds its parts.
///
/// # Errors
/// The bytes are not a checkpoint of this version: start from an older one, or from the log's beginning.
pub fn open(bytes: &[u8]) -> Result<Opened<'_>, CheckpointError> {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(cut_short)?;
    let (line, rest) = bytes.split_at(end);
    let malformed = |error: serde_json::Error| CheckpointError(error.to_string());
    let Format { format } = serde_json::from_slice(line).map_err(malformed)?;
    if format != CHECKPOINT_FORMAT {
        return Err(CheckpointError(format!("it has format {format}")));
    }
    let header: Header = serde_json::from_slice(line).map_err(malformed)?;
    let mut rest = Bytes(rest.get(1..).unwrap_or_default());
    let parts = header
        .parts
        .iter()
        .map(|length| rest.take(*length))
        .collect::<Result<_, _>>()?;
    let mut strayed = Vec::new();
    for _ in 0..header.strayed {
        strayed.push((rest.key(&header.kinds)?, rest.digest()?));
    }
    let mut blobs = Vec::new();
    for _ in 0..header.blobs {
        blobs.push(rest.digest()?);
    }
    if !rest.0.is_empty() {
        return Err(CheckpointError("it has too many bytes".to_owned()));
    }
    Ok(Opened {
        header,
        parts,
        strayed,
        blobs,
    })
}

impl<'a> Opened<'a> {
    /// The parts that its documents are in.
    pub fn parts(&self) -> &[&'a [u8]] {
        &self.parts
    }

    /// The blobs that the checkpoint names; whoever reads it has to find them.
    pub fn blobs(&self) -> &[Digest] {
        &self.blobs
    }

    /// Reads the documents of a part.
    ///
    /// # Errors
    /// As [`open`].
    pub fn read(&self, part: &[u8]) -> Result<Part, CheckpointError> {
        let mut rest = Bytes(part);
        let mut documents = Vec::with_capacity(PART_DOCUMENTS);
        while !rest.0.is_empty() {
            let key = rest.key(&self.header.kinds)?;
            let flags = rest.byte()?;
            let revision = rest.number()?;
            let digest = rest.digest()?;
            let body = if flags & BLOB == 0 {
                BodyRef::Salted(digest)
            } else {
                BodyRef::Blob(digest)
            };
            let bytes = if flags & ERASED == 0 {
                Some(Arc::from(rest.text()?))
            } else {
                None
            };
            let (mut entry, _) = read_entry(&key, revision, body, bytes);
            entry.managed = flags & MANAGED != 0;
            documents.push((key, Arc::new(entry)));
        }
        Ok(Part(documents))
    }

    /// Puts the state together from all parts, in their order.
    ///
    /// # Errors
    /// A blob that the checkpoint names is missing.
    pub fn finish(
        self,
        parts: Vec<Part>,
        blob: &dyn Fn(&Digest) -> Option<Arc<[u8]>>,
    ) -> Result<State, CheckpointError> {
        let header = self.header;
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
        for digest in self.blobs {
            let bytes = blob(&digest)
                .ok_or_else(|| CheckpointError(format!("the blob {digest} is missing")))?;
            state.blobs.insert(digest, bytes);
        }
        state.unknown = header.unknown.into_iter().collect();
        state.strayed = packed(self.strayed);
        state.fill(
            parts
                .into_iter()
                .flat_map(|Part(documents)| documents)
                .collect(),
        );
        Ok(state)
    }
}

/// Reads a state back.
///
/// # Errors
/// The bytes are not a checkpoint of this version, or a blob that they name is missing: start from an
/// older one, or from the log's beginning.
pub fn decode(
    bytes: &[u8],
    blob: &dyn Fn(&Digest) -> Option<Arc<[u8]>>,
) -> Result<State, CheckpointError> {
    let opened = open(bytes)?;
    let parts = opened.parts().iter().map(|part| opened.read(part));
    let parts = parts.collect::<Result<_, _>>()?;
    opened.finish(parts, blob)
}

/// Makes a map of what is sorted, with its nodes full.
///
/// A node that overflows is cut in half. Putting in every other item first leaves halves behind, which the
/// rest then fills; one after the other they would stay half empty.
pub(crate) fn packed<K: Ord + Clone, V: Clone>(sorted: Vec<(K, V)>) -> OrdMap<K, V> {
    let mut map = OrdMap::new();
    let mut second = Vec::with_capacity(sorted.len() / 2);
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index % 2 == 0 {
            map.insert(key, value);
        } else {
            second.push((key, value));
        }
    }
    for (key, value) in second {
        map.insert(key, value);
    }
    map
}

fn write_document(out: &mut Vec<u8>, key: &DocumentKey, entry: &Entry) {
    let erased = entry.content == crate::state::Content::Erased;
    let mut flags = 0;
    for (flag, is_set) in [
        (MANAGED, entry.managed),
        (BLOB, matches!(entry.body, BodyRef::Blob(_))),
        (ERASED, erased),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    write_key(out, key);
    out.push(flags);
    write_number(out, entry.revision);
    out.extend_from_slice(entry.body.digest().as_bytes());
    if !erased {
        write_text(out, &entry.bytes);
    }
}

fn write_key(out: &mut Vec<u8>, key: &DocumentKey) {
    // There are fewer than 256 kinds.
    out.push(u8::try_from(key.kind() as usize).unwrap_or(u8::MAX));
    write_text(out, key.scope().as_bytes());
    write_text(out, key.name().as_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Seven bits in a byte, the least first; all but the last byte have the eighth.
fn write_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], CheckpointError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, CheckpointError> {
        self.take(1)?.first().copied().ok_or_else(cut_short)
    }

    fn number(&mut self) -> Result<u64, CheckpointError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(CheckpointError("a number is too long".to_owned()))
    }

    fn text(&mut self) -> Result<&'a [u8], CheckpointError> {
        let length = usize::try_from(self.number()?).map_err(|_| cut_short())?;
        self.take(length)
    }

    fn digest(&mut self) -> Result<Digest, CheckpointError> {
        let bytes = self.take(32)?.try_into().map_err(|_| cut_short())?;
        Ok(Digest::from_bytes(bytes))
    }

    fn key(&mut self, kinds: &[(Kind, u64)]) -> Result<DocumentKey, CheckpointError> {
        let kind = usize::from(self.byte()?);
        let (kind, _) = kinds
            .get(kind)
            .ok_or_else(|| CheckpointError(format!("it has no kind {kind}")))?;
        let text =
            |bytes| std::str::from_utf8(bytes).map_err(|error| CheckpointError(error.to_string()));
        let (scope, name) = (text(self.text()?)?, text(self.text()?)?);
        Ok(DocumentKey::stored(*kind, scope, name))
    }
}
