//! Agents and tools: list, read, publish.

use plane_api::{ArtifactSummary, PublishReply, VersionReply, VersionSummary};
use plane_model::{ArtifactKind, ArtifactName, ArtifactVersion, DocumentKey};
use serde_json::Value;
use ureq::http::Method;

use crate::documents::Write;
use crate::error::Error;
use crate::path::{self, path, query};
use crate::transport::{Client, Extra};

/// Which agents or tools to list; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactFilter {
    /// Text in the name or the description.
    pub text: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// A capability.
    pub capability: Option<String>,
    /// The owner.
    pub owner: Option<String>,
    /// A status that one of the versions has.
    pub status: Option<String>,
}

fn collection(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Agent => "agents",
        ArtifactKind::Tool => "tools",
    }
}

impl Client {
    /// Lists agents or tools.
    ///
    /// # Errors
    /// As every call.
    pub fn artifacts(
        &self,
        kind: ArtifactKind,
        filter: &ArtifactFilter,
        at: Option<&str>,
    ) -> Result<Vec<ArtifactSummary>, Error> {
        let entries = [
            ("q", filter.text.as_deref()),
            ("category", filter.category.as_deref()),
            ("capability", filter.capability.as_deref()),
            ("owner", filter.owner.as_deref()),
            ("status", filter.status.as_deref()),
            ("at", at),
        ];
        self.all(&path(&[collection(kind)]), &entries)
    }

    /// Lists the versions of an agent or a tool.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is none.
    pub fn versions(
        &self,
        kind: ArtifactKind,
        name: &ArtifactName,
        at: Option<&str>,
    ) -> Result<Vec<VersionSummary>, Error> {
        self.all(
            &path(&[collection(kind), name.as_str(), "versions"]),
            &[("at", at)],
        )
    }

    /// Reads a published version.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if it is not published.
    pub fn version(
        &self,
        kind: ArtifactKind,
        version: &ArtifactVersion,
        at: Option<&str>,
    ) -> Result<VersionReply, Error> {
        let key = DocumentKey::artifact(kind, version);
        self.get(&format!("{}{}", path::document(&key), query(&[("at", at)])))
    }

    /// Publishes a manifest.
    ///
    /// # Errors
    /// [`Error::Problem`] with everything that is wrong with it.
    pub fn publish(
        &self,
        kind: ArtifactKind,
        manifest: &Value,
        write: &Write,
    ) -> Result<PublishReply, Error> {
        let extra = Extra::json(manifest)?
            .once()
            .reason(write.reason.as_deref());
        let target = format!("{}{}", path(&[collection(kind)]), write.query());
        self.call(&Method::POST, &target, &extra)
    }
}
