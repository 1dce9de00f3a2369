//! Views as they go over the wire: composed once per audience and revision, shared by all who ask.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Bytes;
use axum::http::HeaderValue;
use plane_api::VIEW_FORMAT;
use plane_model::{Digest, DocumentKey, EnvironmentName, Kind, TenantId, Timestamp, TokenId};
use plane_node::{Node, Snapshot};
use plane_state::delivery::{self, AUDIENCE_ALL, Projection, audience_of_token};
use plane_state::{Entry, Scope};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::call::Call;
use crate::failure::Failure;
use crate::heads::{Head, ServerKeys};

/// How many audiences are kept ready at once.
const AUDIENCES_KEPT: usize = 1_024;
/// How hard views are compressed: they are made once and read by many.
const ZSTD_LEVEL: i32 = 3;

/// Who gets the same view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Audience {
    environment: EnvironmentName,
    /// None for all who see all tenants; the others get one each.
    token: Option<(TokenId, Digest)>,
    /// Whether the parts of tenants are left out, to be read one by one.
    is_on_demand: bool,
}

impl Audience {
    /// The audience of a request.
    pub(crate) fn of(call: &Call) -> Result<Self, Failure> {
        let environment = call.view(&call.node().snapshot())?.environment().clone();
        Ok(Self::new(
            environment,
            call.scope(),
            call.caller().hash,
            &call.app().views.stranger,
        ))
    }

    /// The audience of a scope, whose token has this digest; `stranger` is a tenant that no token names.
    pub(crate) fn new(
        environment: EnvironmentName,
        scope: &Scope,
        token: Digest,
        stranger: &TenantId,
    ) -> Self {
        let sees_all = scope.sees_tenant(&environment, stranger);
        let token = if sees_all {
            None
        } else {
            scope.token().map(|id| (id.clone(), token))
        };
        Self {
            environment,
            token,
            is_on_demand: false,
        }
    }

    /// Those of them who read the parts of tenants one by one, if so.
    pub(crate) fn on_demand(self, is_on_demand: bool) -> Self {
        Self {
            is_on_demand,
            ..self
        }
    }

    pub(crate) fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    /// Says whether no other token sees the same.
    pub(crate) fn is_of_one_token(&self) -> bool {
        self.token.is_some()
    }

    /// The name in views and heads: a holder knows its own token, and so whether it is meant.
    pub(crate) fn name(&self) -> String {
        match &self.token {
            None => AUDIENCE_ALL.to_owned(),
            Some((id, digest)) => audience_of_token(id, digest),
        }
    }
}

/// The views that are kept ready.
#[derive(Debug)]
pub(crate) struct Views {
    kept: Mutex<HashMap<Audience, Arc<Place>>>,
    /// A tenant that nobody has heard of: only those who see all tenants see it.
    pub(crate) stranger: TenantId,
}

/// Where the newest view of an audience is; held while it is made, so that it is made once.
type Place = tokio::sync::Mutex<Option<Arc<Prepared>>>;

impl Default for Views {
    fn default() -> Self {
        let name = format!("stranger-{}", ulid::Ulid::generate());
        let stranger = TenantId::new(&name).expect("letters, digits and a dash are a tenant's id");
        Self {
            kept: Mutex::default(),
            stranger,
        }
    }
}

/// A view, ready to be sent.
#[derive(Debug)]
pub(crate) struct Prepared {
    revision: u64,
    bytes: Bytes,
    zstd: OnceLock<Option<Bytes>>,
    etags: [HeaderValue; 2],
    head: Head,
}

impl Prepared {
    /// The signed head, as the value of a header.
    pub(crate) fn head(&self, keys: &ServerKeys, now: Timestamp) -> Option<HeaderValue> {
        self.head.header(keys, now)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The bytes, compressed; none if that failed.
    pub(crate) fn zstd(&self) -> Option<Bytes> {
        self.zstd
            .get_or_init(|| {
                zstd::stream::encode_all(&*self.bytes, ZSTD_LEVEL)
                    .inspect_err(|error| tracing::warn!(%error, "a view was not compressed"))
                    .ok()
                    .map(Bytes::from)
            })
            .clone()
    }

    /// Names these very bytes.
    pub(crate) fn etag(&self, is_compressed: bool) -> &HeaderValue {
        let [plain, compressed] = &self.etags;
        if is_compressed { compressed } else { plain }
    }
}

impl Views {
    /// The newest view of an audience, if it is made.
    pub(crate) fn ready(&self, node: &Node, audience: &Audience) -> Option<Arc<Prepared>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let held = kept.get(audience)?.try_lock().ok()?;
        held.clone()
            .filter(|it| it.revision == node.snapshot().revision())
    }

    /// The newest view of an audience, made if nobody has asked for it yet.
    pub(crate) async fn get(
        &self,
        node: &Node,
        scope: &Arc<Scope>,
        audience: &Audience,
    ) -> Result<Arc<Prepared>, Failure> {
        let place = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= AUDIENCES_KEPT && !kept.contains_key(audience) {
                kept.clear();
            }
            kept.entry(audience.clone()).or_default().clone()
        };
        let mut held = place.lock().await;
        let snapshot = node.snapshot();
        if let Some(prepared) = &*held
            && prepared.revision == snapshot.revision()
        {
            return Ok(prepared.clone());
        }
        let (scope, audience) = (scope.clone(), audience.clone());
        let compose = move || compose(&snapshot, &scope, &audience);
        let prepared = (node.work().spawn_blocking(compose).await)
            .map_err(|error| Failure::internal(&error))??;
        let prepared = Arc::new(prepared);
        *held = Some(prepared.clone());
        Ok(prepared)
    }
}

/// A view in canonical JSON: the fields are in the order of their names.
#[derive(Serialize)]
struct Whole<'a> {
    audience: String,
    blobs: BTreeMap<Digest, &'a str>,
    documents: Vec<Part<'a>>,
    environment: &'a EnvironmentName,
    epoch: u64,
    format: u32,
    head: Digest,
    log: &'a str,
    revision: u64,
    root: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<BTreeMap<&'a TenantId, Digest>>,
}

/// A tenant's part in canonical JSON.
#[derive(Serialize)]
struct OfTenant<'a> {
    digest: Digest,
    documents: Vec<Part<'a>>,
    environment: &'a EnvironmentName,
    format: u32,
    revision: u64,
    tenant: &'a TenantId,
}

#[derive(Serialize)]
struct Part<'a> {
    body: &'a RawValue,
    kind: Kind,
    name: &'a str,
    revision: u64,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<TenantId>,
}

fn compose(snapshot: &Snapshot, scope: &Scope, audience: &Audience) -> Result<Prepared, Failure> {
    let state = snapshot.state();
    let projection = Projection::of(state, scope, audience.environment());
    let text = |digest: &Digest| {
        let bytes = state.blob(digest)?;
        Some((*digest, std::str::from_utf8(bytes).ok()?))
    };
    let blobs = projection.blobs().filter_map(text).collect();
    let documents = projection
        .documents(state, scope)
        .map(|(key, entry)| (key, entry, delivery::part(key)))
        .filter(|(_, _, tenant)| !audience.is_on_demand || tenant.is_none())
        .map(|(key, entry, tenant)| written(key, entry, tenant))
        .collect::<Result<_, Failure>>()?;
    let root = projection.root();
    let head = state.head();
    let whole = Whole {
        audience: audience.name(),
        blobs,
        documents,
        environment: audience.environment(),
        epoch: state.epoch(),
        format: VIEW_FORMAT,
        head: head.hash,
        log: state.log(),
        revision: head.revision,
        root,
        tenants: audience.is_on_demand.then(|| projection.parts().collect()),
    };
    let name = audience.name();
    let bytes = serde_json::to_vec(&whole).map_err(|error| Failure::internal(&error))?;
    // The digest tells apart what different audiences and environments get at one revision.
    let environment = audience.environment().as_str();
    let told = [
        root.as_bytes(),
        head.hash.as_bytes(),
        environment.as_bytes(),
        name.as_bytes(),
        &[u8::from(audience.is_on_demand)],
    ];
    let digest = Digest::of_parts(&told).hex();
    let short = digest.get(..16).unwrap_or_default();
    let revision = head.revision;
    let etag = |name: &str| {
        HeaderValue::from_str(&format!("\"{revision}-{name}\""))
            .expect("digits, letters and dashes are a header's value")
    };
    Ok(Prepared {
        revision,
        bytes: bytes.into(),
        zstd: OnceLock::new(),
        etags: [etag(short), etag(&format!("{short}-zstd"))],
        head: Head::new(audience, state, (revision, head.hash), root),
    })
}

fn written<'a>(
    key: &'a DocumentKey,
    entry: &'a Entry,
    tenant: Option<TenantId>,
) -> Result<Part<'a>, Failure> {
    Ok(Part {
        body: serde_json::from_slice(&entry.bytes).map_err(|it| Failure::internal(&it))?,
        kind: key.kind(),
        name: key.name(),
        revision: entry.revision,
        scope: key.scope(),
        tenant,
    })
}

/// Writes a tenant's part of a view; none if the tenant has none.
pub(crate) fn part(
    snapshot: &Snapshot,
    scope: &Scope,
    environment: &EnvironmentName,
    tenant: &TenantId,
) -> Result<Option<Vec<u8>>, Failure> {
    let documents = delivery::tenant_documents(snapshot.state(), scope, environment, tenant);
    if documents.is_empty() {
        return Ok(None);
    }
    let mut part = delivery::Part::default();
    for (key, entry) in &documents {
        let (kind, scope, name) = (key.kind().as_str(), key.scope(), key.name());
        part.put(
            delivery::Name { kind, scope, name },
            entry.revision,
            Some(&entry.bytes),
        );
    }
    let documents = documents
        .into_iter()
        .map(|(key, entry)| written(key, entry, Some(tenant.clone())))
        .collect::<Result<_, Failure>>()?;
    let whole = OfTenant {
        digest: part.digest(),
        documents,
        environment,
        format: VIEW_FORMAT,
        revision: snapshot.revision(),
        tenant,
    };
    let bytes = serde_json::to_vec(&whole).map_err(|error| Failure::internal(&error))?;
    Ok(Some(bytes))
}

/// Says whether documents of this name can be in the views of an environment.
pub(crate) fn is_shared(key: &DocumentKey, environment: &EnvironmentName) -> bool {
    match key.kind() {
        // Who may do what, and what is to be, is nobody's business but the server's.
        Kind::Token | Kind::RoleBinding | Kind::Schedule => false,
        _ => key.environment_name().is_none_or(|it| it == *environment),
    }
}
