//! Config documents: listed, merged and explained.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use plane_api::{ConfigSummary, EffectiveReply, ExplainReply, ShadowedValue};
use plane_eval::config::{Scope as LayerScope, matching};
use plane_eval::{Attribute, Context, Contribution};
use plane_model::{
    Code, ConfigName, Document, DocumentKey, EnvironmentName, Kind, Label, PrincipalId, Selector,
    TenantId,
};
use plane_node::{At, HistoryQuery};
use plane_state::State;
use serde_json::Value;

use crate::call::{Answer, Call, json};
use crate::cursor::{After, page};
use crate::failure::{Failure, store};
use crate::query::refuse;

/// How the schema's defaults are called among the layers.
const DEFAULT: &str = "default";

/// Lists the config documents.
pub(super) async fn list(call: Call) -> Answer {
    let snapshot = call.snapshot().await?;
    let limit = call.query().limit()?;
    let after = After::of(call.query())?;
    let mut found: BTreeMap<ConfigName, (bool, u64)> = BTreeMap::new();
    let state = snapshot.state();
    for (key, _) in state
        .of_kind(Kind::Schema)
        .chain(state.of_kind(Kind::Config))
    {
        let Ok(document) = ConfigName::new(key.name()) else {
            continue;
        };
        if !call.scope().sees(key) {
            continue;
        }
        let (has_schema, layers) = found.entry(document).or_default();
        match key.kind() {
            Kind::Schema => *has_schema = true,
            _ => *layers += 1,
        }
    }
    let items = found
        .into_iter()
        .filter(|(name, _)| {
            after
                .as_ref()
                .is_none_or(|after| after.admits("", name.as_str()))
        })
        .map(|(document, (has_schema, layers))| {
            let name = document.to_string();
            (
                String::new(),
                name,
                ConfigSummary {
                    document,
                    has_schema,
                    layers,
                },
            )
        });
    json(
        snapshot.revision(),
        &page(items, limit, snapshot.revision()),
    )
}

/// Who asks, as the query says.
struct Asker {
    environment: EnvironmentName,
    tenant: Option<TenantId>,
    ctx: Context,
}

impl Asker {
    fn of(call: &Call) -> Result<Self, Failure> {
        let environment = call.environment()?;
        let query = call.query();
        let tenant = call.tenant(&environment, query.get("tenant"))?;
        let mut ctx = Context::new();
        if let Some(tenant) = &tenant {
            ctx = ctx.with_tenant(tenant.as_str());
        }
        if let Some(user) = query.get("user") {
            ctx = ctx.with_user(user);
        }
        if let Some(service) = query.get("service") {
            ctx = ctx.with("service", Attribute::Text(service));
        }
        Ok(Self {
            environment,
            tenant,
            ctx,
        })
    }
}

/// Reads a config document with all its layers merged.
pub(super) async fn effective(call: Call) -> Answer {
    let snapshot = call.snapshot().await?;
    let view = call.view(&snapshot)?;
    let document = document(&call)?;
    let asker = Asker::of(&call)?;
    let effective = view
        .config(&document, &asker.ctx)
        .ok_or_else(|| no_document(&document))?;
    let reply = EffectiveReply {
        value: Value::Object(effective.value().clone()),
        revision: snapshot.revision(),
        layers: layers(snapshot.state(), &document, &asker),
    };
    json(snapshot.revision(), &reply)
}

/// The layers that apply, from the weakest to the strongest.
fn layers(state: &State, document: &ConfigName, asker: &Asker) -> Vec<String> {
    let tenant =
        asker
            .tenant
            .as_ref()
            .and_then(|id| match &**state.document(&DocumentKey::tenant(id))? {
                Document::Tenant(tenant) => Some(tenant),
                _ => None,
            });
    let scope = LayerScope {
        environment: Some(asker.environment.as_str()),
        region: tenant.and_then(|it| it.region.as_ref()).map(Label::as_str),
        service: asker.ctx.service(),
        plan: tenant.and_then(|it| it.plan.as_ref()).map(Label::as_str),
        tenant: asker.tenant.as_ref().map(TenantId::as_str),
    };
    let selectors: Vec<Selector> = state
        .of_kind(Kind::Config)
        .filter(|(key, entry)| key.name() == document.as_str() && entry.document().is_some())
        .filter_map(|(key, _)| Selector::from_str(key.scope()).ok())
        .collect();
    let mut layers = Vec::new();
    if state.document(&DocumentKey::schema(document)).is_some() {
        layers.push(DEFAULT.to_owned());
    }
    let applying = matching(selectors.iter().map(|it| (it, ())), &scope);
    layers.extend(
        applying
            .into_iter()
            .map(|(selector, ())| selector.to_string()),
    );
    layers
}

/// Says where a value of a config document comes from.
pub(super) async fn explain(call: Call) -> Answer {
    let snapshot = call.snapshot().await?;
    let view = call.view(&snapshot)?;
    let document = document(&call)?;
    let asker = Asker::of(&call)?;
    let text = call.query().get("path").unwrap_or_default();
    let path = steps(text)?;
    let steps: Vec<&str> = path.iter().map(String::as_str).collect();
    let explanation = view
        .explain_config(&document, &steps, &asker.ctx)
        .ok_or_else(|| no_document(&document))?;
    let winner = explanation.winner.ok_or_else(|| {
        Failure::new(
            Code::ConfigNotFound,
            format!("nothing sets `{text}` of `{document}`"),
        )
        .next("correct the path, or set it in a layer")
    })?;
    let reply = ExplainReply {
        value: explanation.value.unwrap_or_default(),
        layer: layer(&winner),
        revision: Some(winner.revision),
        author: author(&call, winner.revision).await?,
        shadowed: explanation
            .shadowed
            .into_iter()
            .map(|it| ShadowedValue {
                layer: layer(&it),
                revision: Some(it.revision),
                value: it.value.unwrap_or_default(),
            })
            .collect(),
    };
    json(snapshot.revision(), &reply)
}

fn layer(contribution: &Contribution) -> String {
    contribution
        .selector
        .as_ref()
        .map_or_else(|| DEFAULT.to_owned(), ToString::to_string)
}

/// Who made a commit.
async fn author(call: &Call, revision: u64) -> Result<Option<PrincipalId>, Failure> {
    let query = HistoryQuery {
        since: Some(At::Revision(revision)),
        until: Some(At::Revision(revision)),
        limit: 1,
        ..HistoryQuery::default()
    };
    let found = call
        .node()
        .history(&query)
        .await
        .map_err(|error| store(&error))?;
    Ok(found.into_iter().next().map(|(_, record)| record.actor))
}

fn document(call: &Call) -> Result<ConfigName, Failure> {
    Ok(ConfigName::new(call.param("document")?)?)
}

/// The steps of a path: `pool.size`, or a JSON pointer where keys have dots.
fn steps(text: &str) -> Result<Vec<String>, Failure> {
    let steps: Vec<String> = match text.strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|it| it.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => text.split('.').map(str::to_owned).collect(),
    };
    if steps.iter().any(String::is_empty) {
        let form = "write `pool.size`, or `/pool/size` where a key has dots";
        return Err(refuse("path", text, form));
    }
    Ok(steps)
}

fn no_document(document: &ConfigName) -> Failure {
    Failure::new(
        Code::ConfigNotFound,
        format!("there is no config document `{document}`"),
    )
    .next("`control-plane config list` lists the documents (`GET /v1/config`)")
}
