//! What a document names, and where.

use plane_model::documents::{Allowed, Applies, Flag, Pin, Schedule, ScheduledChange, Targeting};
use plane_model::{
    AttributePath, Clause, Document, DocumentKey, EnvironmentName, Expr, Kind, Operand, Operator,
    Pointer, TenantId,
};
use semver::Version;

/// The attribute that holds the id of the tenant.
const TENANT_ID: &str = "tenant.id";

/// What a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) kind: Kind,
    /// None for all there are.
    pub(crate) name: Option<&'a str>,
    /// Of an agent or a tool, where one is named.
    pub(crate) version: Option<Version>,
    /// Of an environment or a tenant: whether the document is bound to it.
    pub(crate) is_place: bool,
    /// Of a segment: whether it is asked for the id of a tenant.
    pub(crate) is_by_tenant: bool,
}

impl<'a> Named<'a> {
    fn new(kind: Kind, name: &'a str) -> Self {
        Self {
            kind,
            name: Some(name),
            version: None,
            is_place: false,
            is_by_tenant: false,
        }
    }

    fn place(kind: Kind, name: &'a str) -> Self {
        Self {
            is_place: true,
            ..Self::new(kind, name)
        }
    }

    fn version(kind: Kind, name: &'a str, version: &Version) -> Self {
        Self {
            version: Some(version.clone()),
            ..Self::new(kind, name)
        }
    }

    /// Says whether it is the document of this key, of a kind whose documents are named without versions.
    pub(crate) fn is(&self, key: &DocumentKey) -> bool {
        self.kind == key.kind() && self.name == Some(key.name())
    }

    /// The key, of a kind whose documents are named without versions.
    pub(crate) fn key(&self) -> Option<DocumentKey> {
        self.name
            .map(|name| DocumentKey::stored(self.kind, "", name))
    }
}

/// Is told what is named, and can ask where.
type Visit<'v> = dyn FnMut(Named<'_>, &dyn Fn() -> Pointer) + 'v;

/// Calls `visit` for all that a document names: by its scope and its name (at the root) and in its body.
pub(crate) fn for_each_named(key: &DocumentKey, document: &Document, visit: &mut Visit<'_>) {
    place(key, visit);
    match document {
        Document::Targeting(it) => targeting(key, it, visit),
        Document::Segment(it) => {
            if let Some(when) = &it.when {
                expression(when, &|| Pointer::root().key("when"), visit);
            }
        }
        Document::Flag(it) => flag(it, visit),
        Document::ExclusionGroup(it) => {
            for name in it.percent.keys() {
                let at = || Pointer::root().key("percent").key(name.as_str());
                visit(Named::new(Kind::Flag, name.as_str()), &at);
            }
            for (index, name) in it.held.iter().enumerate() {
                let at = || Pointer::root().key("held").index(index);
                visit(Named::new(Kind::Flag, name.as_str()), &at);
            }
        }
        Document::Kill(it) => {
            if let Some((kind, name)) = subject(key) {
                visit(Named::new(kind, name), &Pointer::root);
                if let Some(version) = &it.fallback {
                    let at = || Pointer::root().key("fallback");
                    visit(Named::version(kind, name, version), &at);
                }
            }
        }
        Document::Pin(it) => pin(key, it, visit),
        Document::Status(it) => {
            let named = subject(key).and_then(|(kind, id)| Some((kind, id.split_once('@')?)));
            let Some((kind, (name, version))) = named else {
                return;
            };
            if let Ok(version) = version.parse() {
                visit(Named::version(kind, name, &version), &Pointer::root);
            }
            if let Some(other) = &it.replacement {
                let at = || Pointer::root().key("replacement");
                visit(
                    Named::version(kind, other.name.as_str(), &other.version),
                    &at,
                );
            }
        }
        Document::Channel(it) => {
            let at = || Pointer::root().key("default").key("version");
            let version = &it.default.version;
            visit(Named::version(Kind::Agent, key.name(), version), &at);
            let shares = it.split.iter().flat_map(|split| split.totals().into_keys());
            for version in shares.filter_map(|it| it.as_str().parse().ok()) {
                let at = || Pointer::root().key("split");
                visit(Named::version(Kind::Agent, key.name(), &version), &at);
            }
        }
        Document::Token(it) => grants(&it.environments, &it.tenants, visit),
        Document::RoleBinding(it) => grants(&it.environments, &it.tenants, visit),
        Document::Schedule(it) => scheduled(it, visit),
        Document::Environment(_)
        | Document::Tenant(_)
        | Document::Schema(_)
        | Document::Config(_)
        | Document::Trust(_)
        | Document::Tool(_)
        | Document::Agent(_) => {}
    }
}

/// The environment and the tenant that a document is bound to.
fn place(key: &DocumentKey, visit: &mut Visit<'_>) {
    if matches!(key.kind(), Kind::Environment | Kind::Tenant) {
        return;
    }
    if let Some(environment) = key.environment_name() {
        let named = Named::place(Kind::Environment, environment.as_str());
        visit(named, &Pointer::root);
    }
    if let Some(tenant) = key.tenant_id() {
        visit(Named::place(Kind::Tenant, tenant.as_str()), &Pointer::root);
    }
}

/// What a kill, a pin or a status is about.
fn subject(key: &DocumentKey) -> Option<(Kind, &str)> {
    let (what, name) = key.subject()?;
    let kind = match what {
        "flag" => Kind::Flag,
        "agent" => Kind::Agent,
        "tool" => Kind::Tool,
        _ => return None,
    };
    Some((kind, name))
}

fn targeting(key: &DocumentKey, targeting: &Targeting, visit: &mut Visit<'_>) {
    visit(Named::new(Kind::Flag, key.name()), &Pointer::root);
    for (index, needed) in targeting.prerequisites.iter().enumerate() {
        let at = || Pointer::root().key("prerequisites").index(index);
        visit(Named::new(Kind::Flag, needed.flag.as_str()), &at);
    }
    for (index, target) in targeting.targets.iter().enumerate() {
        if target.by.as_ref().map(AttributePath::as_str) != Some(TENANT_ID) {
            continue;
        }
        for (of, id) in target.values.iter().enumerate() {
            let at = || Pointer::root().key("targets").index(index);
            let at = || at().key("values").index(of);
            visit(Named::new(Kind::Tenant, id), &at);
        }
    }
    for (index, rule) in targeting.rules.iter().enumerate() {
        let at = || Pointer::root().key("rules").index(index).key("if");
        expression(&rule.when, &at, visit);
    }
}

fn expression(expr: &Expr, at: &dyn Fn() -> Pointer, visit: &mut Visit<'_>) {
    expr.for_each_clause_at(at, &mut |it, at| clause(it, at, visit));
}

fn clause(clause: &Clause, at: &dyn Fn() -> Pointer, visit: &mut Visit<'_>) {
    let is_by_tenant = clause.attribute.as_str() == TENANT_ID;
    let kind = match clause.operator {
        Operator::Segment => Kind::Segment,
        Operator::Equals | Operator::In if is_by_tenant => Kind::Tenant,
        _ => return,
    };
    for (index, operand) in clause.operands.iter().enumerate() {
        let Operand::Text(name) = operand else {
            continue;
        };
        let at = || {
            let operands = at().key(clause.operator.as_str());
            if clause.list {
                operands.index(index)
            } else {
                operands
            }
        };
        let named = Named {
            is_by_tenant,
            ..Named::new(kind, name)
        };
        visit(named, &at);
    }
}

fn flag(flag: &Flag, visit: &mut Visit<'_>) {
    let Some(overrides) = &flag.overrides else {
        return;
    };
    for (kind, list, applies) in [
        (Kind::Agent, "agents", &overrides.agents),
        (Kind::Tool, "tools", &overrides.tools),
    ] {
        let at = || Pointer::root().key("overrides").key(list);
        match applies {
            None => {}
            Some(Applies::All(_)) => {
                let all = Named {
                    name: None,
                    ..Named::new(kind, "")
                };
                visit(all, &at);
            }
            Some(Applies::Names(names)) => {
                for (index, name) in names.iter().enumerate() {
                    visit(Named::new(kind, name.as_str()), &|| at().index(index));
                }
            }
        }
    }
}

fn pin(key: &DocumentKey, pin: &Pin, visit: &mut Visit<'_>) {
    match (subject(key), &pin.version) {
        (Some((kind, name)), Some(version)) => {
            let at = || Pointer::root().key("version");
            visit(Named::version(kind, name, version), &at);
        }
        (Some((kind, name)), None) => visit(Named::new(kind, name), &Pointer::root),
        (None, _) => {}
    }
}

/// What a schedule changes, and what the documents that it puts name. One that failed changes nothing any more.
fn scheduled(schedule: &Schedule, visit: &mut Visit<'_>) {
    if schedule.failed.is_some() {
        return;
    }
    for (index, op) in schedule.ops.iter().enumerate() {
        let at = || Pointer::root().key("ops").index(index);
        let Ok(key) = op.key() else { continue };
        changed(&key, &mut |named, _| visit(named, &at));
        let body = op.body.as_ref();
        let body = body.filter(|_| op.op == ScheduledChange::Put);
        let document = body.and_then(|body| Document::parse(&key, body).ok());
        if let Some(document) = document {
            let at = || at().key("body");
            for_each_named(&key, &document, &mut |named, place| {
                visit(named, &|| at().join(&place()));
            });
        }
    }
}

/// What the name of a document that changes says: the document itself, or what it is about.
fn changed(key: &DocumentKey, visit: &mut Visit<'_>) {
    place(key, visit);
    let named = match key.kind() {
        Kind::Environment | Kind::Tenant | Kind::Segment | Kind::Flag => {
            Some((key.kind(), key.name()))
        }
        Kind::Targeting => Some((Kind::Flag, key.name())),
        Kind::Channel => Some((Kind::Agent, key.name())),
        Kind::Pin | Kind::Status => {
            let about = subject(key);
            about.map(|(kind, id)| (kind, id.split('@').next().unwrap_or(id)))
        }
        _ => None,
    };
    if let Some((kind, name)) = named {
        visit(Named::new(kind, name), &Pointer::root);
    }
}

/// The environments and the tenants that a token or a binding is limited to.
fn grants(
    environments: &Allowed<EnvironmentName>,
    tenants: &Allowed<TenantId>,
    visit: &mut Visit<'_>,
) {
    let environments = only(environments).iter().map(EnvironmentName::as_str);
    allowed(Kind::Environment, "environments", environments, visit);
    let tenants = only(tenants).iter().map(TenantId::as_str);
    allowed(Kind::Tenant, "tenants", tenants, visit);
}

fn allowed<'n>(
    kind: Kind,
    list: &str,
    names: impl Iterator<Item = &'n str>,
    visit: &mut Visit<'_>,
) {
    for (index, name) in names.enumerate() {
        let at = || Pointer::root().key(list).index(index);
        visit(Named::new(kind, name), &at);
    }
}

fn only<T>(allowed: &Allowed<T>) -> &[T] {
    match allowed {
        Allowed::All(_) => &[],
        Allowed::Only(names) => names,
    }
}
