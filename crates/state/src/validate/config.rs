//! Configuration: layers set only what they may, and every effective document matches its schema.

mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use plane_eval::config;
use plane_model::documents::Tenant;
use plane_model::{
    Code, ConfigName, Document, DocumentKey, EnvironmentName, Kind, Label, Pointer, Selector,
    TenantId, Violation, Violations, limits,
};
use plane_registry::{CompiledSchema, schema};
use serde_json::{Map, Value};

use crate::draft::{Draft, environments};
use crate::prepare::Touched;

/// How many broken effective documents a report describes; the rest is counted.
const REPORTED_MAX: usize = 20;

/// One layer of the document at hand.
struct Layer {
    key: DocumentKey,
    selector: Selector,
    document: Arc<Document>,
}

impl Layer {
    fn values(&self) -> Option<Map<String, Value>> {
        match &*self.document {
            Document::Config(values) => Some(values.to_map()),
            _ => None,
        }
    }
}

/// Whose effective documents a command may change.
enum Extent {
    Everybody,
    /// Theirs, and nobody else's: only their own layers or what chooses their layers is touched.
    Tenants(BTreeSet<TenantId>),
}

/// For whom an effective document is made.
struct Audience {
    environment: EnvironmentName,
    region: Option<Label>,
    service: Option<Label>,
    plan: Option<Label>,
    tenant: Option<TenantId>,
}

impl Audience {
    fn scope(&self) -> config::Scope<'_> {
        config::Scope {
            environment: Some(self.environment.as_str()),
            region: self.region.as_ref().map(Label::as_str),
            service: self.service.as_ref().map(Label::as_str),
            plan: self.plan.as_ref().map(Label::as_str),
            tenant: self.tenant.as_ref().map(TenantId::as_str),
        }
    }

    fn describe(&self) -> String {
        let mut text = format!("in {}", self.environment);
        if let Some(service) = &self.service {
            let _ = write!(text, " for service {service}");
        }
        match (&self.tenant, &self.plan, &self.region) {
            (Some(tenant), _, _) => {
                let _ = write!(text, " for tenant {tenant}");
            }
            (None, plan, region) => {
                if let Some(plan) = plan {
                    let _ = write!(text, " on plan {plan}");
                }
                if let Some(region) = region {
                    let _ = write!(text, " in region {region}");
                }
            }
        }
        text
    }
}

pub(crate) fn check(draft: &mut Draft<'_>, touched: &Touched, found: &mut Violations) {
    let mut extents: BTreeMap<String, Extent> = BTreeMap::new();
    let mut moved: BTreeSet<TenantId> = BTreeSet::new();
    let mut all = false;
    for key in touched.keys() {
        match key.kind() {
            Kind::Schema => {
                extents.insert(key.name().to_owned(), Extent::Everybody);
            }
            Kind::Config => {
                let none = || Extent::Tenants(BTreeSet::new());
                let extent = extents.entry(key.name().to_owned()).or_insert_with(none);
                match (&mut *extent, key.tenant_id()) {
                    (Extent::Tenants(tenants), Some(tenant)) => {
                        tenants.insert(tenant);
                    }
                    (extent, _) => *extent = Extent::Everybody,
                }
            }
            Kind::Environment => all = true,
            Kind::Tenant if place_changed(draft, key) => moved.extend(key.tenant_id()),
            _ => {}
        }
    }
    if all {
        let layers = draft.of_kind(Kind::Config).into_keys();
        extents.extend(layers.map(|key| (key.name().to_owned(), Extent::Everybody)));
    } else if !moved.is_empty() {
        let layers = draft.layers(&moved).into_keys();
        let names: BTreeSet<_> = layers.map(|key| key.name().to_owned()).collect();
        for name in names {
            let none = || Extent::Tenants(BTreeSet::new());
            if let Extent::Tenants(tenants) = extents.entry(name).or_insert_with(none) {
                tenants.extend(moved.iter().cloned());
            }
        }
    }
    for (name, extent) in extents {
        if let Ok(name) = ConfigName::new(&name) {
            check_document(draft, touched, &name, extent, all, found);
        }
    }
}

/// Says whether the tenant's plan or region, which choose its layers, differ from before.
fn place_changed(draft: &mut Draft<'_>, key: &DocumentKey) -> bool {
    let place = |document: Option<&Document>| match document {
        Some(Document::Tenant(Tenant { plan, region, .. })) => (plan.clone(), region.clone()),
        _ => (None, None),
    };
    let before = place(draft.base().document(key).map(|document| &**document));
    before != place(draft.get(key).as_deref())
}

fn check_document(
    draft: &mut Draft<'_>,
    touched: &Touched,
    name: &ConfigName,
    extent: Extent,
    all: bool,
    found: &mut Violations,
) {
    let schema_key = DocumentKey::schema(name);
    let schema_document = draft.get(&schema_key);
    let schema_value = match schema_document.as_deref() {
        Some(Document::Schema(schema)) => Some(schema),
        _ => None,
    };
    let compiled = match schema_value.map(schema::compile) {
        Some(Err(violations)) => {
            let pointer = touched.pointer(&schema_key);
            found.extend(violations.into_iter().map(|it| it.below(&pointer)));
            return;
        }
        Some(Ok(compiled)) => Some(compiled),
        None => None,
    };
    if let Some(schema) = schema_value.filter(|_| touched.has(&schema_key)) {
        let here = touched.pointer(&schema_key);
        words::check(&here, schema, found);
        if !config::follows_all_defaults(schema) {
            let detail = format!(
                "the defaults behind `$ref`s, at all places that these lead to, are more than {} bytes",
                limits::DEFAULTS_REFERRED_BYTES_MAX
            );
            found.push(
                Violation::new(Code::LimitExceeded, here, detail)
                    .next("let fewer properties refer to definitions that refer to others"),
            );
        }
    }
    let layers = match &extent {
        Extent::Everybody => draft.of_kind(Kind::Config),
        Extent::Tenants(tenants) => draft.layers(tenants),
    };
    let layers: Vec<Layer> = layers
        .into_iter()
        .filter(|(key, _)| key.name() == name.as_str())
        .filter_map(|(key, document)| {
            Some(Layer {
                selector: key.scope().parse().ok()?,
                key,
                document,
            })
        })
        .collect();
    let every = all || touched.has(&schema_key);
    for layer in layers
        .iter()
        .filter(|layer| every || touched.has(&layer.key))
    {
        if let Some(values) = layer.values() {
            check_allowed(touched, layer, &values, schema_value, found);
        }
    }
    if let Some(compiled) = compiled {
        let check = EffectiveCheck::new(name, extent, layers, compiled, schema_value);
        check.run(draft, touched, every, found);
    }
}

/// Refuses paths that the schema does not let the layer set.
///
/// `x-override` names the layers that may set a path and everything below it; at the root, every path that does not
/// say otherwise. Without it, plan and tenant layers may not, and all others may. The base layer may set everything.
fn check_allowed(
    touched: &Touched,
    layer: &Layer,
    values: &Map<String, Value>,
    schema: Option<&Value>,
    found: &mut Violations,
) {
    let name = layer.selector.layer();
    if layer.selector.weight() == 0 {
        return;
    }
    let permitted = permits(schema, name).unwrap_or(!matches!(name, "plan" | "tenant"));
    let mut refused = Vec::new();
    for (key, value) in values {
        let below = schema.and_then(|schema| property(schema, key));
        walk_allowed(
            &Pointer::root().key(key),
            value,
            below,
            name,
            permitted,
            &mut refused,
        );
    }
    for path in refused {
        let here = touched.pointer(&layer.key);
        let pointer = if touched.has(&layer.key) {
            format!("{here}{path}")
        } else {
            here
        };
        found.push(
            Violation::new(
                Code::LayerNotAllowed,
                pointer,
                format!("the layer `{}` of `{}` may not set `{path}`", layer.selector, layer.key.name()),
            )
            .next(match schema {
                Some(_) => format!("add `x-override: [{name}]` to that property in the schema, or set it in another layer"),
                None => format!(
                    "`{document}` has no schema: give it one with `x-override: [{name}]` (`control-plane config schema \
                     {document} --file FILE`), or set it in another layer",
                    document = layer.key.name()
                ),
            }),
        );
    }
}

fn property<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema
        .get("properties")
        .and_then(|it| it.get(key))
        .or_else(|| {
            schema
                .get("additionalProperties")
                .filter(|it| it.is_object())
        })
}

/// Whether a schema lets a layer set what it is about; none if it does not say.
fn permits(schema: Option<&Value>, layer: &str) -> Option<bool> {
    match schema?.get("x-override")? {
        Value::Array(layers) => Some(layers.iter().any(|it| it.as_str() == Some(layer))),
        Value::String(one) => Some(one == layer),
        _ => None,
    }
}

fn walk_allowed(
    path: &Pointer,
    value: &Value,
    schema: Option<&Value>,
    layer: &str,
    inherited: bool,
    refused: &mut Vec<Pointer>,
) {
    let permitted = permits(schema, layer).unwrap_or(inherited);
    match value {
        Value::Object(map) if !map.is_empty() && !map.keys().any(|key| key.starts_with('$')) => {
            for (key, value) in map {
                let below = schema.and_then(|schema| property(schema, key));
                walk_allowed(&path.key(key), value, below, layer, permitted, refused);
            }
        }
        _ if permitted => {}
        _ => refused.push(path.clone()),
    }
}

/// Validates the effective documents of one name, each distinct combination of layers once.
struct EffectiveCheck<'a> {
    name: &'a ConfigName,
    extent: Extent,
    layers: Vec<Layer>,
    /// The places in `layers` of those that are not a tenant's.
    general: Vec<usize>,
    /// The places in `layers` of each tenant's own.
    own: BTreeMap<TenantId, Vec<usize>>,
    compiled: CompiledSchema,
    schema: Option<&'a Value>,
}

impl<'a> EffectiveCheck<'a> {
    fn new(
        name: &'a ConfigName,
        extent: Extent,
        layers: Vec<Layer>,
        compiled: CompiledSchema,
        schema: Option<&'a Value>,
    ) -> Self {
        let mut general = Vec::new();
        let mut own: BTreeMap<TenantId, Vec<usize>> = BTreeMap::new();
        for (index, layer) in layers.iter().enumerate() {
            match &layer.selector.tenant {
                None => general.push(index),
                Some(tenant) => own.entry(tenant.clone()).or_default().push(index),
            }
        }
        Self {
            name,
            extent,
            layers,
            general,
            own,
            compiled,
            schema,
        }
    }

    fn run(&self, draft: &mut Draft<'_>, touched: &Touched, every: bool, found: &mut Violations) {
        let mut checked: BTreeSet<Vec<usize>> = BTreeSet::new();
        let mut broken = 0_usize;
        let gone = touched.keys().any(|key| {
            key.kind() == Kind::Config
                && key.name() == self.name.as_str()
                && !self.layers.iter().any(|layer| layer.key == *key)
        });
        for audience in self.audiences(draft) {
            let matching = self.matching(&audience);
            // A layer that goes away changes documents that it no longer matches.
            let concerned = every
                || gone
                || matches!(self.extent, Extent::Tenants(_))
                || matching.iter().any(|index| {
                    self.layers
                        .get(*index)
                        .is_some_and(|layer| touched.has(&layer.key))
                });
            if !concerned || !checked.insert(matching.clone()) {
                continue;
            }
            let layers: Vec<_> = matching
                .iter()
                .filter_map(|index| self.layers.get(*index)?.values())
                .collect();
            let effective = Value::Object(config::merge(&layers, self.schema));
            let violations = self.compiled.validate(&effective, Code::ConfigInvalid);
            if violations.is_empty() {
                continue;
            }
            broken += 1;
            if broken <= REPORTED_MAX {
                let blamed = self.blame(&matching, touched);
                for violation in violations {
                    found.push(self.explain(violation, &audience, blamed, touched));
                }
            }
        }
        if broken > REPORTED_MAX {
            let detail = format!(
                "{} more effective documents of `{}` are invalid",
                broken - REPORTED_MAX,
                self.name
            );
            found.push(
                Violation::new(Code::ConfigInvalid, "", detail)
                    .next("correct those that are listed first"),
            );
        }
    }

    /// The indices of the layers that apply, those that win last.
    fn matching(&self, audience: &Audience) -> Vec<usize> {
        let own = audience.tenant.as_ref().and_then(|it| self.own.get(it));
        let layers = self
            .general
            .iter()
            .chain(own.into_iter().flatten())
            .filter_map(|index| Some((&self.layers.get(*index)?.selector, *index)));
        config::matching(layers, &audience.scope())
            .into_iter()
            .map(|(_, index)| index)
            .collect()
    }

    /// The touched layer that a finding is pointed at: the one that wins over the others.
    fn blame(&self, matching: &[usize], touched: &Touched) -> Option<&Layer> {
        let layers = matching
            .iter()
            .rev()
            .filter_map(|index| self.layers.get(*index));
        layers.into_iter().find(|layer| touched.has(&layer.key))
    }

    fn explain(
        &self,
        violation: Violation,
        audience: &Audience,
        blamed: Option<&Layer>,
        touched: &Touched,
    ) -> Violation {
        let pointer = match blamed {
            Some(layer) => {
                let here = touched.pointer(&layer.key);
                let set = layer.values().and_then(|values| {
                    let pointer: Pointer = violation.pointer.parse().ok()?;
                    pointer.resolve(&Value::Object(values.clone())).map(|_| ())
                });
                if set.is_some() {
                    format!("{here}{}", violation.pointer)
                } else {
                    here
                }
            }
            None => touched.pointer(&DocumentKey::schema(self.name)),
        };
        let at = if violation.pointer.is_empty() {
            "/"
        } else {
            &violation.pointer
        };
        let detail = format!(
            "the effective `{}` {} is invalid at `{at}`: {}",
            self.name,
            audience.describe(),
            violation.detail
        );
        Violation {
            pointer,
            detail,
            ..violation
        }
    }

    /// Everybody whose effective document may differ from another's.
    fn audiences(&self, draft: &mut Draft<'_>) -> Vec<Audience> {
        let by_place = self
            .layers
            .iter()
            .any(|it| it.selector.region.is_some() || it.selector.plan.is_some());
        let mut places: BTreeSet<(Option<Label>, Option<Label>)> = BTreeSet::new();
        if matches!(self.extent, Extent::Everybody) {
            places.insert((None, None));
        }
        if by_place && matches!(self.extent, Extent::Everybody) {
            draft.any(Kind::Tenant, |_, document| {
                if let Document::Tenant(tenant) = document {
                    places.insert((tenant.region.clone(), tenant.plan.clone()));
                }
                false
            });
            // A layer for a plan or a region that no tenant has yet is checked all the same.
            for layer in &self.layers {
                places.insert((layer.selector.region.clone(), layer.selector.plan.clone()));
            }
        }
        let mut tenants: Vec<_> = places
            .into_iter()
            .map(|(region, plan)| (region, plan, None))
            .collect();
        let concerned: Vec<&TenantId> = match &self.extent {
            Extent::Everybody => self.own.keys().collect(),
            Extent::Tenants(tenants) => tenants.iter().collect(),
        };
        for id in concerned {
            let tenant = draft.get(&DocumentKey::tenant(id));
            let (region, plan) = match tenant.as_deref() {
                Some(Document::Tenant(tenant)) => (tenant.region.clone(), tenant.plan.clone()),
                _ => (None, None),
            };
            tenants.push((region, plan, Some(id.clone())));
        }
        let mut services: BTreeSet<Option<&Label>> = self
            .layers
            .iter()
            .map(|layer| layer.selector.service.as_ref())
            .collect();
        services.insert(None);
        let mut audiences = Vec::new();
        for environment in environments(draft) {
            for service in &services {
                for (region, plan, tenant) in &tenants {
                    audiences.push(Audience {
                        environment: environment.clone(),
                        region: region.clone(),
                        service: service.cloned(),
                        plan: plan.clone(),
                        tenant: tenant.clone(),
                    });
                }
            }
        }
        audiences
    }
}
