//! Reads documents of vectors into views.

use std::collections::HashMap;
use std::sync::Arc;

use plane_eval::{Change, Context, Signature, Source, View};
use plane_model::{ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, Kind, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// Reads a file of vectors.
pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/../../spec/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A document of a file of vectors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) scope: String,
    pub(crate) name: String,
    pub(crate) body: Value,
    #[serde(default)]
    pub(crate) stored: bool,
}

impl Written {
    pub(crate) fn read(&self) -> (DocumentKey, Arc<Document>) {
        let key = DocumentKey::new(self.kind, &self.scope, &self.name).unwrap();
        let document = if self.stored {
            Document::decode(self.kind, self.body.to_string().as_bytes()).unwrap()
        } else {
            Document::parse(&key, &self.body)
                .unwrap_or_else(|found| panic!("{key}: {found:?} in {}", self.body))
        };
        (key, Arc::new(document))
    }
}

pub(crate) fn changes(documents: &[Written]) -> Vec<Change> {
    let numbered = (1..).zip(documents);
    numbered
        .map(|(revision, written)| {
            let (key, document) = written.read();
            Change {
                key,
                revision,
                document: Some(document),
            }
        })
        .collect()
}

/// The changes as a commit stores them, where no document replaces another.
pub(crate) fn settled(documents: &[Written]) -> Vec<Change> {
    let settle = |change: Change| Change {
        document: change
            .document
            .map(|it| Arc::new(Document::clone(&it).settled(None))),
        ..change
    };
    changes(documents).into_iter().map(settle).collect()
}

pub(crate) fn build(environment: &str, changes: &[Change], source: &dyn Source) -> View {
    let documents = changes
        .iter()
        .filter_map(|it| Some((&it.key, it.revision, it.document.as_ref()?)));
    let revision = changes.iter().map(|it| it.revision).max().unwrap_or(0);
    View::build(environment.parse().unwrap(), revision, documents, source)
}

pub(crate) fn context(value: &Value) -> Context {
    Context::parse(value).unwrap_or_else(|found| panic!("{value}: {found:?}"))
}

pub(crate) fn at(now: Option<Timestamp>) -> Timestamp {
    now.unwrap_or_else(|| "2026-06-01".parse().unwrap())
}

/// Bytes and verdicts that a test lays out beforehand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    pub(crate) blobs: HashMap<Digest, Arc<[u8]>>,
    pub(crate) signatures: HashMap<(ArtifactKind, ArtifactVersion), Signature>,
}

impl Source for Held {
    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }

    fn signature(&self, kind: ArtifactKind, version: &ArtifactVersion) -> Signature {
        let found = self.signatures.get(&(kind, version.clone())).cloned();
        found.unwrap_or(Signature::Verified { keys: Vec::new() })
    }
}
