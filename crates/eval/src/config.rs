//! Configuration: which layers apply to a context, and what they add up to.

mod explain;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};

use plane_model::{ConfigName, Document, Label, Selector, TenantId};
use serde::Serialize;
use serde_json::{Map, Value};

pub use explain::{ConfigExplanation, ConfigSource, Contribution};
pub use merge::{defaults, follows_all_defaults, merge};

use crate::context::Context;
use crate::hash::FastMap;
use crate::pages::{Keyed, Pages};
use crate::tenant::TenantFacts;

/// How many effective values of one document are kept; tenants with the same layers share one.
const KEPT_MAX: usize = 1_024;

/// What a selector is matched against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The environment.
    pub environment: Option<&'a str>,
    /// The tenant's region.
    pub region: Option<&'a str>,
    /// The service that asks.
    pub service: Option<&'a str>,
    /// The tenant's plan.
    pub plan: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
}

/// Says whether a layer applies: every part that its selector sets must be the scope's.
pub fn matches(selector: &Selector, scope: &Scope<'_>) -> bool {
    let label = |wanted: &Option<Label>, found: Option<&str>| {
        wanted.as_ref().is_none_or(|it| Some(it.as_str()) == found)
    };
    selector
        .environment
        .as_ref()
        .is_none_or(|it| Some(it.as_str()) == scope.environment)
        && selector
            .tenant
            .as_ref()
            .is_none_or(|it| Some(it.as_str()) == scope.tenant)
        && label(&selector.region, scope.region)
        && label(&selector.service, scope.service)
        && label(&selector.plan, scope.plan)
}

/// Returns the layers that apply, the lightest first.
///
/// No two of them weigh the same if each selector occurs once.
pub fn matching<'l, T>(
    layers: impl IntoIterator<Item = (&'l Selector, T)>,
    scope: &Scope<'_>,
) -> Vec<(&'l Selector, T)> {
    let mut found: Vec<_> = layers
        .into_iter()
        .filter(|(selector, _)| matches(selector, scope))
        .collect();
    found.sort_by_key(|(selector, _)| selector.weight());
    found
}

/// A config document as it is for one context.
#[derive(Debug, Clone)]
pub struct EffectiveConfig {
    value: Arc<Map<String, Value>>,
    revision: u64,
}

impl EffectiveConfig {
    /// The value, with defaults and layers merged.
    pub fn value(&self) -> &Map<String, Value> {
        &self.value
    }

    /// The value, to be kept.
    pub fn shared(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&self.value)
    }

    /// The revision of the last change of the schema or a layer that applies.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Looks up a path, one step after the other.
    pub fn get(&self, path: &[&str]) -> Option<&Value> {
        value_at(&self.value, path)
    }
}

fn value_at<'v>(map: &'v Map<String, Value>, path: &[&str]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(map.get(*first)?, |value, step| {
        value.as_object()?.get(*step)
    })
}

/// One layer of a config document.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Whom it is for; of a tenant's layer, who of that tenant: many tenants share one.
    selector: Arc<Selector>,
    revision: u64,
    document: Arc<Document>,
}

impl Layer {
    fn map(&self) -> Option<Map<String, Value>> {
        match &*self.document {
            Document::Config(values) => Some(values.to_map()),
            _ => None,
        }
    }
}

/// The layers of one tenant, the lightest first.
#[derive(Debug, Clone)]
struct Own {
    tenant: TenantId,
    layers: Arc<[Layer]>,
}

impl Keyed for Own {
    fn key(&self) -> &str {
        self.tenant.as_str()
    }
}

/// Effective values, by the documents of the layers that apply.
type Kept = FastMap<Vec<u64>, Arc<Map<String, Value>>>;

/// Everything that a view holds of one config document.
#[derive(Debug, Default)]
pub(crate) struct ConfigDocument {
    schema: Option<(u64, Arc<Document>)>,
    /// Layers that are not a tenant's, the lightest first.
    layers: Vec<Layer>,
    tenants: Pages<Own>,
    /// The selectors of tenants' layers without the tenant, sorted.
    shared: Arc<Vec<Arc<Selector>>>,
    /// Effective values by the places of layers' documents; part of the document, so that a change of it leaves them
    /// behind.
    kept: RwLock<Kept>,
}

impl Clone for ConfigDocument {
    fn clone(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            layers: self.layers.clone(),
            tenants: self.tenants.clone(),
            shared: Arc::clone(&self.shared),
            kept: RwLock::default(),
        }
    }
}

impl ConfigDocument {
    pub(crate) fn set_schema(&mut self, schema: Option<(u64, Arc<Document>)>) {
        self.schema = schema;
        self.kept = RwLock::default();
    }

    /// Sets or removes a layer; `known` is the id of the selector's tenant where it is held already.
    pub(crate) fn set_layer(
        &mut self,
        selector: &Selector,
        known: Option<TenantId>,
        layer: Option<(u64, Arc<Document>)>,
    ) {
        self.kept = RwLock::default();
        let made = |selector| {
            layer.map(|(revision, document)| Layer {
                selector,
                revision,
                document,
            })
        };
        let Some(tenant) = &selector.tenant else {
            let layer = made(Arc::new(selector.clone()));
            put_layer(&mut self.layers, selector, layer);
            return;
        };
        let selector = self.without_tenant(selector);
        let own = self.tenants.get(tenant.as_str());
        let mut layers = own.map(|own| own.layers.to_vec()).unwrap_or_default();
        put_layer(&mut layers, &Arc::clone(&selector), made(selector));
        if layers.is_empty() {
            self.tenants.remove(tenant.as_str());
        } else {
            self.tenants.put(Own {
                tenant: known.unwrap_or_else(|| tenant.clone()),
                layers: layers.into(),
            });
        }
    }

    fn without_tenant(&mut self, selector: &Selector) -> Arc<Selector> {
        let rest = Selector {
            tenant: None,
            ..selector.clone()
        };
        match self.shared.binary_search_by(|it| (**it).cmp(&rest)) {
            Ok(at) => self.shared.get(at).cloned().unwrap_or_default(),
            Err(at) => {
                let rest = Arc::new(rest);
                Arc::make_mut(&mut self.shared).insert(at, Arc::clone(&rest));
                rest
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.schema.is_none() && self.layers.is_empty() && self.tenants.is_empty()
    }

    fn schema(&self) -> Option<&Value> {
        match self.schema.as_ref().map(|(_, document)| &**document) {
            Some(Document::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// The regions and plans that layers tell apart, and none of either.
    pub(crate) fn places(&self) -> (BTreeSet<Option<String>>, BTreeSet<Option<String>>) {
        let of = |label: fn(&Selector) -> Option<&Label>| {
            let labels = self.layers.iter().filter_map(move |it| label(&it.selector));
            let named = labels.map(|it| Some(it.as_str().to_owned()));
            named.chain([None]).collect()
        };
        (of(|it| it.region.as_ref()), of(|it| it.plan.as_ref()))
    }

    /// The tenants that have layers of their own.
    pub(crate) fn own_tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.iter().map(|own| &own.tenant)
    }

    /// The layers that apply, the lightest first, and whose they are if they are a tenant's.
    fn applying<'a>(&'a self, scope: &Scope<'_>) -> Vec<(&'a Layer, Option<&'a TenantId>)> {
        let own = scope.tenant.and_then(|tenant| self.tenants.get(tenant));
        let of_tenant = |own: &'a Own| own.layers.iter().map(|layer| (layer, Some(&own.tenant)));
        // A tenant's layers outweigh all others, so the two sorted lists are one.
        let shared = self.layers.iter().map(|layer| (layer, None));
        shared
            .chain(own.into_iter().flat_map(of_tenant))
            .filter(|(layer, _)| matches(&layer.selector, scope))
            .collect()
    }

    /// Says whether the same schema and the same layers apply here and there.
    pub(crate) fn is_alike(&self, scope: &Scope<'_>, other: &Self, there: &Scope<'_>) -> bool {
        let same = |one: &Arc<Document>, other: &Arc<Document>| Arc::ptr_eq(one, other);
        let schemas = match (&self.schema, &other.schema) {
            (Some((_, one)), Some((_, other))) => same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let (one, two) = (self.applying(scope), other.applying(there));
        schemas
            && one.len() == two.len()
            && one
                .iter()
                .zip(two)
                .all(|((one, _), (other, _))| same(&one.document, &other.document))
    }

    pub(crate) fn effective(&self, scope: &Scope<'_>) -> EffectiveConfig {
        let layers: Vec<_> = self.applying(scope).into_iter().map(|it| it.0).collect();
        let revisions = layers.iter().map(|layer| layer.revision);
        let schema = self.schema.as_ref().map(|(revision, _)| *revision);
        let revision = revisions.chain(schema).max().unwrap_or(0);
        let key: Vec<u64> = layers
            .iter()
            .map(|layer| Arc::as_ptr(&layer.document).addr() as u64)
            .collect();
        let kept = self
            .kept
            .read()
            .ok()
            .and_then(|kept| kept.get(&key).cloned());
        let value = kept.unwrap_or_else(|| {
            let maps: Vec<_> = layers.iter().filter_map(|layer| layer.map()).collect();
            let value = Arc::new(merge(&maps, self.schema()));
            if let Ok(mut kept) = self.kept.write() {
                if kept.len() >= KEPT_MAX {
                    kept.clear();
                }
                kept.insert(key, Arc::clone(&value));
            }
            value
        });
        EffectiveConfig { value, revision }
    }

    pub(crate) fn explain(&self, path: &[&str], scope: &Scope<'_>) -> ConfigExplanation {
        let defaults = self.schema().map(defaults).unwrap_or_default();
        let schema_revision = self.schema.as_ref().map_or(0, |(revision, _)| *revision);
        let whole = |(layer, tenant): (&Layer, Option<&TenantId>)| {
            let selector = Selector {
                tenant: tenant.cloned(),
                ..(*layer.selector).clone()
            };
            Some((selector, layer.revision, layer.map()?))
        };
        let layers: Vec<_> = self.applying(scope).into_iter().filter_map(whole).collect();
        let effective = self.effective(scope);
        explain::explain(
            path,
            effective.get(path),
            &defaults,
            schema_revision,
            &layers,
        )
    }
}

fn put_layer(layers: &mut Vec<Layer>, selector: &Selector, layer: Option<Layer>) {
    layers.retain(|it| *it.selector != *selector);
    layers.extend(layer);
    layers.sort_by(|a, b| {
        let weight = a.selector.weight().cmp(&b.selector.weight());
        weight.then_with(|| a.selector.cmp(&b.selector))
    });
}

/// The config documents of a view.
pub(crate) type Configs = imbl::OrdMap<ConfigName, Arc<ConfigDocument>>;

/// What the selectors of layers are matched against for a context.
pub(crate) fn scope<'a>(
    environment: &'a str,
    ctx: &'a Context,
    tenant: Option<&'a TenantFacts>,
) -> Scope<'a> {
    let tenant = tenant.and_then(TenantFacts::tenant);
    Scope {
        environment: Some(environment),
        region: tenant.and_then(|it| it.region.as_ref()).map(Label::as_str),
        service: ctx.service(),
        plan: tenant.and_then(|it| it.plan.as_ref()).map(Label::as_str),
        tenant: ctx.tenant(),
    }
}

/// Writes a selector as it stands in file names and scopes.
#[expect(
    clippy::ref_option,
    reason = "the serializer passes the field as it is"
)]
fn write_selector<S: serde::Serializer>(
    selector: &Option<Selector>,
    to: S,
) -> Result<S::Ok, S::Error> {
    selector.as_ref().map(ToString::to_string).serialize(to)
}
