//! Published manifests, as they were published: without the overrides that a resolve applies.
//!
//! A published version never changes, but it can be withdrawn: what was read is asked for again once another revision
//! is served, and stands in while no server answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use plane_api::ArtifactSummary;
use plane_eval::Context;
use plane_model::documents::StatusState;
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Digest, Document, DocumentKey, Verified,
};
use plane_registry::Manifest;
use plane_state::State;
use serde_json::Value;

use super::builder::{Builder, Kind};
use super::error::Error;
use super::local::Local;
use super::plane::ControlPlane;
use super::status::{Source, Status};
use super::tree;
use crate::documents::{Condition, Write};
use crate::registry::ArtifactFilter;
use crate::transport::{Client, Settings};

/// How many manifests are kept.
const KEPT_MAX: usize = 1_000;

/// A manifest as it was published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// What it is.
    pub kind: ArtifactKind,
    /// The name.
    pub name: ArtifactName,
    /// The version.
    pub version: semver::Version,
    /// The digest of its canonical bytes; they were hashed here.
    pub digest: Digest,
    /// How far it may be used.
    pub status: StatusState,
    /// The manifest, with its checksum and signatures.
    pub manifest: Value,
}

/// Which agents or tools to list; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedFilter {
    /// Text in the name or the description.
    pub text: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// A capability.
    pub capability: Option<String>,
    /// The owner.
    pub owner: Option<String>,
}

/// Manifests that were read, each with the revision that was served then.
#[derive(Debug, Default)]
pub(crate) struct Manifests(Mutex<BTreeMap<(ArtifactKind, ArtifactVersion), Kept>>);

type Kept = (Option<u64>, Published);

impl ControlPlane {
    /// Reads a manifest as it was published, `kind` being `agent` or `tool`.
    ///
    /// Without a version: of an agent the one that its channel gives everybody in the environment, of a tool the
    /// highest that is active.
    ///
    /// # Errors
    /// [`Error::NotPublished`] if there is no such version; others, why nothing could be read.
    pub fn published(
        &self,
        kind: &str,
        name: &str,
        version: Option<&str>,
        environment: Option<&str>,
    ) -> Result<Published, Error> {
        let kind = parse_kind(kind)?;
        let artifact: ArtifactName = name.parse().map_err(|error| misnamed(&error))?;
        let version = match (version, kind) {
            (Some(text), _) => parse_version(text)?,
            (None, ArtifactKind::Agent) => {
                let environment = match environment {
                    Some(environment) => self.environment(environment)?,
                    None => self.default_environment()?,
                };
                let resolved = environment.resolve(name, &Context::new())?;
                resolved.agent().version.clone()
            }
            (None, ArtifactKind::Tool) => self.highest_active(&artifact)?,
        };
        let id = ArtifactVersion {
            name: artifact,
            version,
        };
        let (manifests, key) = (self.manifests(), (kind, id));
        let (revision, is_cut_off) = self.served();
        let kept = manifests.lock().get(&key).cloned();
        if let Some((at, found)) = &kept
            && (is_cut_off || (revision.is_some() && *at == revision))
        {
            return Ok(found.clone());
        }
        let found = match (self.store()?.read(kind, &key.1), kept) {
            (Err(error), Some((_, kept))) if error.is_passing() => return Ok(kept),
            (read, _) => read?,
        };
        let mut kept = manifests.lock();
        if kept.len() >= KEPT_MAX {
            kept.pop_first();
        }
        kept.insert(key, (revision, found.clone()));
        Ok(found)
    }

    /// Lists published agents or tools, each by its highest active version, in the order of their names.
    ///
    /// # Errors
    /// Why nothing could be read.
    pub fn list_published(
        &self,
        kind: &str,
        filter: &PublishedFilter,
    ) -> Result<Vec<Published>, Error> {
        let kind = parse_kind(kind)?;
        let store = self.store()?;
        let ids = store.list(kind, filter)?;
        ids.iter().map(|id| store.read(kind, id)).collect()
    }

    /// Publishes a manifest on the server, and gives what became of it.
    ///
    /// # Errors
    /// [`Error::Refused`] with everything that is wrong with it.
    pub fn publish(&self, kind: &str, manifest: &Value) -> Result<Value, Error> {
        let reply = self
            .server()?
            .publish(parse_kind(kind)?, manifest, &Write::default());
        let reply = reply.map_err(refused)?;
        serde_json::to_value(reply).map_err(|error| Error::View {
            origin: "the registry".to_owned(),
            detail: error.to_string(),
        })
    }

    /// Says on the server whether a published version may still be used, and gives the revision.
    ///
    /// # Errors
    /// [`Error::Refused`] with everything that is wrong with it.
    pub fn set_status(
        &self,
        kind: &str,
        name: &str,
        version: &str,
        status: &Value,
    ) -> Result<u64, Error> {
        let id = ArtifactVersion {
            name: name.parse().map_err(|error| misnamed(&error))?,
            version: parse_version(version)?,
        };
        let key = DocumentKey::status(parse_kind(kind)?, &id);
        let server = self.server()?;
        let found = server.find_document::<Value>(&key, None).map_err(refused)?;
        let condition = found.map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let reply = server.put_document(&key, status, condition, &Write::default());
        let reply = reply.map_err(refused)?;
        self.manifests().lock().remove(&(parse_kind(kind)?, id));
        Ok(reply.receipt().map_or(0, |it| it.revision))
    }

    /// The revision that the default environment serves, if it is used, and whether no server answers now.
    fn served(&self) -> (Option<u64>, bool) {
        let Ok(environment) = self.default_environment() else {
            return (None, false);
        };
        let Status {
            revision, source, ..
        } = environment.status();
        let is_cut_off = matches!(
            source,
            Source::Stale | Source::LastKnownGood | Source::Bundled
        );
        (revision, is_cut_off)
    }

    fn server(&self) -> Result<Client, Error> {
        match self.store()? {
            Store::Server(client) => Ok(client),
            Store::Local(_) => Err(Error::Settings {
                setting: "CONTROL_PLANE_URL",
                detail: "what is not a server cannot be written to".to_owned(),
            }),
        }
    }

    fn highest_active(&self, tool: &ArtifactName) -> Result<semver::Version, Error> {
        self.store()?.highest_active(ArtifactKind::Tool, tool)
    }

    fn store(&self) -> Result<Store, Error> {
        Store::open(self.settings())
    }
}

impl Manifests {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ArtifactKind, ArtifactVersion), Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where manifests are read from.
enum Store {
    Local(Box<Local>),
    Server(Client),
}

impl Store {
    fn open(settings: &Builder) -> Result<Self, Error> {
        match &settings.kind {
            Some(Kind::Tree(root)) => {
                let now = settings.clock.now();
                Ok(Self::Local(Box::new(tree::load(root, now)?)))
            }
            Some(Kind::Memory(memory)) => Ok(Self::Local(Box::new(memory.local()))),
            Some(Kind::Servers(urls)) => {
                let settings = Settings {
                    url: urls.first().cloned().unwrap_or_default(),
                    token: settings.token.read()?,
                    user_agent: concat!("control-plane-sdk/", env!("CARGO_PKG_VERSION")).to_owned(),
                    authorities: settings.authorities.clone(),
                };
                Ok(Self::Server(Client::new(settings).map_err(refused)?))
            }
            None => Err(Error::UrlMissing),
        }
    }

    fn read(&self, kind: ArtifactKind, id: &ArtifactVersion) -> Result<Published, Error> {
        match self {
            Self::Local(local) => read(local.state(), kind, id),
            Self::Server(client) => {
                let found = client.version(kind, id, None).map_err(|error| {
                    if error.is_status(404) {
                        not_published(kind, id)
                    } else {
                        refused(error)
                    }
                })?;
                let manifest = Manifest::parse(kind, &found.manifest).map_err(Error::Invalid)?;
                if manifest.digest() != found.digest {
                    return Err(Error::View {
                        origin: client.url().to_owned(),
                        detail: format!(
                            "the manifest of {kind} {id} is not the one that it is said to be"
                        ),
                    });
                }
                Ok(Published {
                    kind,
                    name: id.name.clone(),
                    version: id.version.clone(),
                    digest: found.digest,
                    status: found.status.status,
                    manifest: found.manifest,
                })
            }
        }
    }

    fn list(
        &self,
        kind: ArtifactKind,
        filter: &PublishedFilter,
    ) -> Result<Vec<ArtifactVersion>, Error> {
        match self {
            Self::Local(local) => Ok(list(local.state(), kind, filter)),
            Self::Server(client) => {
                let filter = ArtifactFilter {
                    text: filter.text.clone(),
                    category: filter.category.clone(),
                    capability: filter.capability.clone(),
                    owner: filter.owner.clone(),
                    status: None,
                };
                let found = client.artifacts(kind, &filter, None).map_err(refused)?;
                let latest = |it: ArtifactSummary| {
                    let version = it.latest.parse().ok()?;
                    Some(ArtifactVersion {
                        name: it.name,
                        version,
                    })
                };
                Ok(found.into_iter().filter_map(latest).collect())
            }
        }
    }

    fn highest_active(
        &self,
        kind: ArtifactKind,
        name: &ArtifactName,
    ) -> Result<semver::Version, Error> {
        let none = || Error::NotPublished {
            subject: format!("{kind} `{name}`"),
            kind,
        };
        let versions: Vec<(semver::Version, StatusState)> = match self {
            Self::Local(local) => {
                let state = local.state();
                let versions = state.versions(kind, name);
                versions
                    .map(|(id, _)| (id.version.clone(), status(state, kind, &id)))
                    .collect()
            }
            Self::Server(client) => {
                let found = client.versions(kind, name, None).map_err(|error| {
                    if error.is_status(404) {
                        none()
                    } else {
                        refused(error)
                    }
                })?;
                let parsed =
                    |it: plane_api::VersionSummary| Some((it.version.parse().ok()?, it.status));
                found.into_iter().filter_map(parsed).collect()
            }
        };
        let active = versions
            .into_iter()
            .filter(|(_, status)| *status == StatusState::Active);
        active.map(|(version, _)| version).max().ok_or_else(none)
    }
}

fn read(state: &State, kind: ArtifactKind, id: &ArtifactVersion) -> Result<Published, Error> {
    let document = state.document(&DocumentKey::artifact(kind, id));
    let Some(Document::Agent(published) | Document::Tool(published)) = document.map(|it| &**it)
    else {
        return Err(not_published(kind, id));
    };
    let bytes = state
        .blob(&published.manifest)
        .ok_or_else(|| not_published(kind, id))?;
    let manifest = Verified::check(bytes, published.manifest, |bytes| {
        Manifest::read(kind, bytes)
    })
    .map_err(|violation| Error::Invalid(vec![violation]))?;
    Ok(Published {
        kind,
        name: id.name.clone(),
        version: id.version.clone(),
        digest: published.manifest,
        status: status(state, kind, id),
        manifest: manifest.to_value(),
    })
}

fn status(state: &State, kind: ArtifactKind, id: &ArtifactVersion) -> StatusState {
    match state
        .document(&DocumentKey::status(kind, id))
        .map(|it| &**it)
    {
        Some(Document::Status(status)) => status.status,
        _ => StatusState::Active,
    }
}

fn list(state: &State, kind: ArtifactKind, filter: &PublishedFilter) -> Vec<ArtifactVersion> {
    let of = match kind {
        ArtifactKind::Agent => plane_model::Kind::Agent,
        ArtifactKind::Tool => plane_model::Kind::Tool,
    };
    // The highest active version of each name, else the highest there is.
    let mut best: BTreeMap<ArtifactName, (bool, semver::Version)> = BTreeMap::new();
    for (key, _) in state.of_kind(of) {
        let Ok(id) = key.name().parse::<ArtifactVersion>() else {
            continue;
        };
        let is_active = status(state, kind, &id) == StatusState::Active;
        let rank = (is_active, id.version);
        let known = best.entry(id.name).or_insert_with(|| rank.clone());
        if *known < rank {
            *known = rank;
        }
    }
    best.into_iter()
        .map(|(name, (_, version))| ArtifactVersion { name, version })
        .filter(|id| read(state, kind, id).is_ok_and(|found| matches(&found, filter)))
        .collect()
}

fn matches(found: &Published, filter: &PublishedFilter) -> bool {
    let metadata = &found.manifest["metadata"];
    let is = |value: &Value, wanted: &Option<String>| {
        wanted
            .as_deref()
            .is_none_or(|wanted| value.as_str() == Some(wanted))
    };
    let has_text = filter.text.as_deref().is_none_or(|text| {
        let text = text.to_lowercase();
        let description = metadata["description"].as_str().unwrap_or_default();
        found.name.as_str().to_lowercase().contains(&text)
            || description.to_lowercase().contains(&text)
    });
    let has_capability = filter.capability.as_deref().is_none_or(|wanted| {
        let capabilities = metadata["capabilities"].as_array();
        capabilities.is_some_and(|all| all.iter().any(|it| it.as_str() == Some(wanted)))
    });
    has_text
        && has_capability
        && is(&metadata["category"], &filter.category)
        && is(&found.manifest["owner"], &filter.owner)
}

fn parse_kind(text: &str) -> Result<ArtifactKind, Error> {
    match text {
        "agent" => Ok(ArtifactKind::Agent),
        "tool" => Ok(ArtifactKind::Tool),
        _ => Err(Error::Invalid(vec![
            plane_model::Violation::new(
                plane_model::Code::KindUnknown,
                "",
                format!("`{text}` is neither `agent` nor `tool`"),
            )
            .next("name one of the two"),
        ])),
    }
}

fn parse_version(text: &str) -> Result<semver::Version, Error> {
    text.parse().map_err(|error| {
        Error::Invalid(vec![
            plane_model::Violation::new(
                plane_model::Code::VersionInvalid,
                "",
                format!("`{text}` is not a version: {error}"),
            )
            .next("write it as `1.2.0`"),
        ])
    })
}

fn not_published(kind: ArtifactKind, id: &ArtifactVersion) -> Error {
    Error::NotPublished {
        subject: format!("{kind} `{id}`"),
        kind,
    }
}

fn misnamed(error: &plane_model::NameError) -> Error {
    Error::Invalid(vec![error.at("")])
}

fn refused(error: crate::Error) -> Error {
    match error {
        crate::Error::Problem(problem) => Error::Refused(problem),
        crate::Error::Unreachable { url, detail } | crate::Error::Lost { url, detail } => {
            Error::Unreachable { url, detail }
        }
        crate::Error::Foreign { url, detail } => Error::View {
            origin: url,
            detail,
        },
        crate::Error::Settings { detail } => Error::Settings {
            setting: "CONTROL_PLANE_URL",
            detail,
        },
    }
}
