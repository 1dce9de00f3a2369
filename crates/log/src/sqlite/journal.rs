//! The form of a run in the journal: one row that says all of it, and whether it is still whole.
//!
//! INVARIANT: `decode(encode(run)) == run`, but for blobs, which are stored in their table at once; and a row of which
//! any one byte was altered does not decode.

use crate::{Body, Bytes, Change, DigestRef, DocumentKey, Entry, Hash, SALT_BYTES};

/// The first byte of a row. Another form gets another number.
const FORM: u8 = 1;
/// What the bytes before the entries take: the form and the checksum.
pub(crate) const HEAD_BYTES: usize = 1 + 8;

/// How a change's digest begins.
const GONE: u8 = 0;
const BODY: u8 = 1;
const BLOB: u8 = 2;

/// Writes a run as a row.
pub(crate) fn encode(run: &[Entry]) -> Vec<u8> {
    let mut row = Vec::with_capacity(1 << 10);
    row.extend_from_slice(&[0; HEAD_BYTES]);
    for entry in run {
        put_entry(&mut row, entry);
    }
    seal(&mut row);
    row
}

/// A row that holds these bytes, with the checksum that goes with them.
pub(crate) fn sealed(held: &[u8]) -> Vec<u8> {
    let mut row = vec![0; HEAD_BYTES];
    row.extend_from_slice(held);
    seal(&mut row);
    row
}

/// Fills in the head of a row.
fn seal(row: &mut [u8]) {
    if let Some((head, held)) = row.split_first_chunk_mut::<HEAD_BYTES>() {
        let [form, sum @ ..] = head;
        *form = FORM;
        *sum = checksum(held).to_le_bytes();
    }
}

/// Reads a row back; `Err` says what is wrong with it.
pub(crate) fn decode(row: &[u8]) -> Result<Vec<Entry>, String> {
    let mut rest = Rest(row);
    let [form] = rest.array()?;
    if form != FORM {
        return Err(format!("it has form {form}"));
    }
    let sum = rest.array().map(u64::from_le_bytes)?;
    if checksum(rest.0) != sum {
        return Err("it is not as it was written".to_owned());
    }
    let mut run = Vec::new();
    while !rest.0.is_empty() {
        run.push(rest.entry()?);
    }
    if run.is_empty() {
        return Err("it holds no entry".to_owned());
    }
    Ok(run)
}

/// FNV-1a: each step is one-to-one, so that no single altered byte goes unnoticed. It guards against a disk that
/// errs, not against a person: for that there is the chain.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn put_entry(row: &mut Vec<u8>, entry: &Entry) {
    row.extend_from_slice(&entry.revision.to_le_bytes());
    row.extend_from_slice(&entry.at_ms.to_le_bytes());
    for hash in [&entry.parent, &entry.hash, &entry.request] {
        row.extend_from_slice(hash.as_bytes());
    }
    put_bytes(row, entry.id.as_bytes());
    put_bytes(row, &entry.record);
    put_bytes(row, entry.actor.as_bytes());
    put_bytes(row, entry.action.as_bytes());
    put_length(row, entry.tenants.len());
    for tenant in &entry.tenants {
        put_bytes(row, tenant.as_bytes());
    }
    put_length(row, entry.changes.len());
    for change in &entry.changes {
        for part in [&change.key.kind, &change.key.scope, &change.key.name] {
            put_bytes(row, part.as_bytes());
        }
        let (what, hash) = match &change.digest {
            None => (GONE, None),
            Some(DigestRef::Body(hash)) => (BODY, Some(hash)),
            Some(DigestRef::Blob(hash)) => (BLOB, Some(hash)),
        };
        row.push(what);
        if let Some(hash) = hash {
            row.extend_from_slice(hash.as_bytes());
        }
    }
    put_length(row, entry.bodies.len());
    for body in &entry.bodies {
        row.extend_from_slice(body.digest.as_bytes());
        row.extend_from_slice(&body.salt);
        put_bytes(row, &body.bytes);
    }
}

fn put_bytes(row: &mut Vec<u8>, bytes: &[u8]) {
    put_length(row, bytes.len());
    row.extend_from_slice(bytes);
}

/// Writes a length, seven bits a byte: nearly all take one.
fn put_length(row: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        row.push(seven_bits(length) | 0x80);
        length >>= 7;
    }
    row.push(seven_bits(length));
}

fn seven_bits(length: usize) -> u8 {
    u8::try_from(length & 0x7f).unwrap_or_default()
}

/// What is left of a row.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], String> {
        let cut_off = || "it is cut off".to_owned();
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "it is cut off".to_owned())
    }

    fn length(&mut self) -> Result<usize, String> {
        let mut length = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let [byte] = self.array()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte <= 0x7f {
                return Ok(length);
            }
        }
        Err("it holds a length without an end".to_owned())
    }

    /// A list: each of its items takes a byte at least, so a length beyond the rest is refused before room is made.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let length = self.length()?;
        if length > self.0.len() {
            return Err("it is cut off".to_owned());
        }
        (0..length).map(|_| item(self)).collect()
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
    }

    fn entry(&mut self) -> Result<Entry, String> {
        Ok(Entry {
            revision: self.array().map(u64::from_le_bytes)?,
            at_ms: self.array().map(i64::from_le_bytes)?,
            parent: self.array().map(Hash)?,
            hash: self.array().map(Hash)?,
            request: self.array().map(Hash)?,
            id: self.text()?,
            record: Bytes::from(self.bytes()?),
            actor: self.text()?,
            action: self.text()?,
            tenants: self.list(Self::text)?,
            changes: self.list(Self::change)?,
            bodies: self.list(Self::body)?,
            blobs: Vec::new(),
        })
    }

    fn change(&mut self) -> Result<Change, String> {
        let key = DocumentKey {
            kind: self.text()?,
            scope: self.text()?,
            name: self.text()?,
        };
        let digest = match self.array()? {
            [GONE] => None,
            [BODY] => Some(DigestRef::Body(self.array().map(Hash)?)),
            [BLOB] => Some(DigestRef::Blob(self.array().map(Hash)?)),
            [other] => return Err(format!("it holds a change of sort {other}")),
        };
        Ok(Change { key, digest })
    }

    fn body(&mut self) -> Result<Body, String> {
        Ok(Body {
            digest: self.array().map(Hash)?,
            salt: self.array::<SALT_BYTES>()?,
            bytes: Bytes::from(self.bytes()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Head;
    use crate::conformance::Draft;

    fn entry() -> impl Strategy<Value = Entry> {
        let change = (
            ".{0,8}",
            ".{0,8}",
            prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        );
        (
            any::<i64>(),
            ".{1,12}",
            prop::collection::vec(any::<u8>(), 1..200),
            (".{0,8}", ".{0,8}"),
            prop::collection::vec(".{0,8}", 0..3),
            prop::collection::vec(change, 0..4),
        )
            .prop_map(|(at_ms, id, record, (actor, action), tenants, changes)| {
                let mut draft = Draft::after(Head::GENESIS).id(&id).at_ms(at_ms);
                draft = draft.record(record).by(&actor, &action);
                for tenant in &tenants {
                    draft = draft.tenant(tenant);
                }
                for (index, (scope, name, bytes)) in changes.into_iter().enumerate() {
                    let key = DocumentKey::new("flag", scope, name);
                    draft = match bytes {
                        None => draft.delete(&key),
                        Some(bytes) if index % 2 == 0 => draft.put(&key, &bytes),
                        Some(bytes) => draft.put_blob(&key, &bytes),
                    };
                }
                draft.build()
            })
    }

    proptest! {
        #[test]
        fn a_run_comes_back_as_it_was_but_for_its_blobs(mut run in prop::collection::vec(entry(), 1..4)) {
            let row = encode(&run);
            for entry in &mut run {
                entry.blobs.clear();
            }
            prop_assert_eq!(decode(&row), Ok(run));
        }

        #[test]
        fn an_altered_byte_anywhere_and_a_cut_anywhere_are_noticed(
            entry in entry(), at in any::<prop::sample::Index>(), with in 1..=u8::MAX,
        ) {
            let row = encode(&[entry]);
            let mut altered = row.clone();
            altered[at.index(row.len())] ^= with;
            prop_assert!(decode(&altered).is_err());
            prop_assert!(decode(&row[..at.index(row.len())]).is_err());
        }

        #[test]
        fn bytes_that_are_no_row_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&sealed(&bytes)));
        }
    }

    #[test]
    fn form_1_is_written_as_the_golden_file_says() {
        let key = DocumentKey::new("flag", "prod", "f");
        let first = Draft::after(Head::GENESIS)
            .put(&key, b"on")
            .tenant("t1")
            .build();
        let second = Draft::after(first.head())
            .put_blob(&key, b"large")
            .delete(&key)
            .build();
        let row = hex::encode(encode(&[first, second]));
        assert_eq!(row, include_str!("../../golden/journal-1.hex").trim_end());
    }
}
