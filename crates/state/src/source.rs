//! What views read from the state: blobs, and whether signatures still hold.

use std::sync::Arc;

use plane_eval::{Signature, Source};
use plane_model::documents::{Published, Trust};
use plane_model::{ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, Verified};
use plane_registry::{PayloadType, trust};

use crate::state::State;

/// Where documents and blobs are looked up.
pub(crate) trait Documents {
    /// A document that can be read.
    fn document(&self, key: &DocumentKey) -> Option<&Arc<Document>>;

    /// A blob.
    fn blob(&self, digest: &Digest) -> Option<&Arc<[u8]>>;
}

impl Documents for State {
    fn document(&self, key: &DocumentKey) -> Option<&Arc<Document>> {
        State::document(self, key)
    }

    fn blob(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        State::blob(self, digest)
    }
}

impl Source for State {
    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        State::blob(self, digest).cloned()
    }

    fn signature(&self, kind: ArtifactKind, version: &ArtifactVersion) -> Signature {
        signature(self, kind, version)
    }
}

/// Says whether the publisher's signatures on a version hold under the trust of its namespace.
pub(crate) fn signature(
    documents: &dyn Documents,
    kind: ArtifactKind,
    version: &ArtifactVersion,
) -> Signature {
    let invalid = |detail: &str| Signature::Invalid {
        detail: detail.to_owned(),
    };
    let Some(Document::Agent(published) | Document::Tool(published)) = documents
        .document(&DocumentKey::artifact(kind, version))
        .map(|it| &**it)
    else {
        return invalid("the version is not published");
    };
    let trust = documents.document(&DocumentKey::trust(&version.name.namespace()));
    match trust.map(|it| &**it) {
        Some(Document::Trust(trust)) => verdict(documents, kind, published, trust),
        _ => invalid("its namespace has no trusted keys any more"),
    }
}

/// Verifies the signatures that a version was published with against the trust of today.
///
/// A key that has expired since still counts, for it was good then; one that was revoked does not.
fn verdict(
    documents: &dyn Documents,
    kind: ArtifactKind,
    published: &Published,
    trust: &Trust,
) -> Signature {
    let Some(payload) = documents.blob(&published.manifest) else {
        return Signature::Invalid {
            detail: "its manifest is not held here".to_owned(),
        };
    };
    // What was signed is the payload's bytes: whether they say something is for whoever reads them.
    if let Err(violation) = Verified::check(payload, published.manifest, |_| Ok(())) {
        return Signature::Invalid {
            detail: violation.detail,
        };
    }
    let signatures: Vec<_> = published
        .signatures
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let mut trust = trust.clone();
    trust.keys.retain(|key| key.revoked_at.is_none());
    let report = trust::verify_signatures(
        PayloadType::of(kind),
        payload,
        &signatures,
        &trust,
        published.published_at,
    );
    match report {
        Ok(report) if report.is_signed() => Signature::Verified {
            keys: report
                .verified
                .iter()
                .map(|it| it.keyid.to_string())
                .collect(),
        },
        Ok(_) => Signature::Unsigned,
        Err(violations) => {
            let details: Vec<_> = violations.into_iter().map(|it| it.detail).collect();
            Signature::Invalid {
                detail: details.join("; "),
            }
        }
    }
}
