//! Entries for tests: well formed, with fake digests.

use crate::{
    Appended, Blob, Body, Change, ChangeLog, DigestRef, DocumentKey, Entry, Hash, Head, SALT_BYTES,
};

/// Spreads `bytes` over 32 bytes, so that different inputs look different. It is no digest.
#[must_use]
pub fn fake_hash(bytes: &[u8]) -> Hash {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut hash = [0; 32];
    for chunk in hash.chunks_mut(8) {
        state = (state ^ (state >> 31))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(1);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    Hash(hash)
}

/// Makes a body of `bytes` with a salt and a digest that depend on them.
#[must_use]
pub fn fake_body(bytes: &[u8]) -> Body {
    let digest = fake_hash(&[b"body", bytes].concat());
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&digest.as_bytes()[..SALT_BYTES]);
    Body {
        digest,
        salt,
        bytes: bytes.into(),
    }
}

/// Appends `run` and returns the new head; any other outcome fails the test.
pub async fn append_all(log: &dyn ChangeLog, expected: Head, run: &[Entry]) -> Head {
    match log.append(expected, run).await {
        Ok(Appended::Committed { head }) => head,
        other => panic!("the append at {expected:?} gave {other:?}"),
    }
}

/// Appends `count` entries one after another and returns them.
pub(super) async fn fill(log: &dyn ChangeLog, count: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut head = log.head().await.unwrap();
    for _ in 0..count {
        let entry = Draft::after(head).build();
        head = append_all(log, head, std::slice::from_ref(&entry)).await;
        entries.push(entry);
    }
    entries
}

/// Names a flag in production.
pub(super) fn flag(name: &str) -> DocumentKey {
    DocumentKey::new("flag", "prod", name)
}

/// Builds an [`Entry`] that follows a head.
#[derive(Debug, Clone)]
pub struct Draft {
    entry: Entry,
}

impl Draft {
    /// Starts an entry after `head`, at as many seconds as its revision, by `ana`.
    #[must_use]
    pub fn after(head: Head) -> Self {
        let revision = head.revision + 1;
        let id = format!("id-{revision}");
        Self {
            entry: Entry {
                revision,
                parent: head.hash,
                hash: Hash::GENESIS,
                request: fake_hash(id.as_bytes()),
                id,
                at_ms: i64::try_from(revision).expect("a small revision") * 1_000,
                record: Vec::new().into(),
                bodies: Vec::new(),
                blobs: Vec::new(),
                changes: Vec::new(),
                actor: "ana".to_owned(),
                action: "commit".to_owned(),
                tenants: Vec::new(),
            },
        }
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.entry.id);
        self
    }

    /// Sets the time.
    #[must_use]
    pub fn at_ms(mut self, at_ms: i64) -> Self {
        self.entry.at_ms = at_ms;
        self
    }

    /// Sets the actor and the action.
    #[must_use]
    pub fn by(mut self, actor: &str, action: &str) -> Self {
        actor.clone_into(&mut self.entry.actor);
        action.clone_into(&mut self.entry.action);
        self
    }

    /// Adds a tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.entry.tenants.push(tenant.to_owned());
        self
    }

    /// Sets the record, which is made up otherwise.
    #[must_use]
    pub fn record(mut self, record: Vec<u8>) -> Self {
        self.entry.record = record.into();
        self
    }

    /// Puts a document whose bytes are a body.
    #[must_use]
    pub fn put(mut self, key: &DocumentKey, bytes: &[u8]) -> Self {
        let body = fake_body(bytes);
        let digest = Some(DigestRef::Body(body.digest));
        self.entry.changes.push(Change {
            key: key.clone(),
            digest,
        });
        self.entry.bodies.push(body);
        self
    }

    /// Puts a document whose bytes are a blob.
    #[must_use]
    pub fn put_blob(mut self, key: &DocumentKey, bytes: &[u8]) -> Self {
        let digest = fake_hash(bytes);
        let change = Change {
            key: key.clone(),
            digest: Some(DigestRef::Blob(digest)),
        };
        self.entry.changes.push(change);
        self.entry.blobs.push(Blob {
            digest,
            bytes: bytes.into(),
        });
        self
    }

    /// Deletes a document.
    #[must_use]
    pub fn delete(mut self, key: &DocumentKey) -> Self {
        self.entry.changes.push(Change {
            key: key.clone(),
            digest: None,
        });
        self
    }

    /// Finishes the entry: its hash depends on everything else in it.
    #[must_use]
    pub fn build(self) -> Entry {
        let mut entry = self.entry;
        if entry.record.is_empty() {
            entry.record = format!("record {} of {}", entry.revision, entry.id)
                .into_bytes()
                .into();
        }
        let at = entry.at_ms.to_le_bytes();
        let chained = [
            entry.parent.as_bytes(),
            entry.id.as_bytes(),
            at.as_slice(),
            &entry.record,
        ];
        entry.hash = fake_hash(&chained.concat());
        entry
    }
}
