//! Passes over documents that cannot refer to a subject, without reading them.

use memchr::memmem::Finder;
use plane_model::{DocumentKey, Kind, TenantId};

use super::Subject;
use crate::state::{Entry, State};

/// Looks for a subject's name where a document that refers to the subject has it.
///
/// INVARIANT: a document that [`may_name`](Self::may_name) denies does not refer to the subject; one that it
/// admits has to be read.
#[derive(Debug)]
pub(super) struct Search {
    /// Of a tenant: its id.
    tenant: Option<TenantId>,
    name: Finder<'static>,
    /// What names all there are.
    all: Finder<'static>,
}

impl Search {
    pub(super) fn new(subject: &Subject) -> Self {
        let tenant = TenantId::new(&subject.name).ok();
        Self {
            tenant: tenant.filter(|_| subject.kind == Kind::Tenant),
            name: Finder::new(&subject.name).into_owned(),
            all: Finder::new("\"all\""),
        }
    }

    /// The documents of a kind among which are those that refer to the subject.
    pub(super) fn candidates<'s>(
        &self,
        state: &'s State,
        kind: Kind,
    ) -> Box<dyn Iterator<Item = (&'s DocumentKey, &'s Entry)> + 's> {
        let scopes: Vec<String> = match (&self.tenant, kind) {
            (Some(tenant), Kind::Kill | Kind::Pin) => {
                let environments = state.of_kind(Kind::Environment);
                let scopes = environments.map(|(key, _)| format!("{}/{tenant}", key.name()));
                scopes.collect()
            }
            (Some(tenant), Kind::Config) => {
                let places = state.layer_places();
                places.filter_map(|it| it.of(tenant)).collect()
            }
            _ => return Box::new(state.of_kind(kind)),
        };
        let mut found = Vec::new();
        for scope in scopes {
            found.extend(state.in_scope(kind, &scope, ""));
        }
        Box::new(found.into_iter())
    }

    /// Says whether a document can refer to the subject.
    pub(super) fn may_name(&self, key: &DocumentKey, entry: &Entry) -> bool {
        let is_in = |text: &str| self.name.find(text.as_bytes()).is_some();
        if is_in(key.scope()) || is_in(key.name()) {
            return true;
        }
        match key.kind() {
            // All that these name, their keys say.
            Kind::Config | Kind::Kill | Kind::Pin | Kind::Channel => false,
            Kind::Flag | Kind::Schedule if self.all.find(&entry.bytes).is_some() => true,
            _ => self.is_in(&entry.bytes),
        }
    }

    /// Says whether JSON can have the name in one of its strings.
    pub(super) fn is_in(&self, json: &[u8]) -> bool {
        // What is written with escapes is written in more than one way.
        self.name.find(json).is_some() || json.contains(&b'\\')
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plane_model::{Digest, Document};
    use serde_json::json;

    use super::super::{for_each_named, users};
    use super::*;
    use crate::record::BodyRef;
    use crate::state::Content;

    fn entry(document: Document) -> Entry {
        Entry {
            revision: 1,
            body: BodyRef::Salted(Digest::of(b"")),
            bytes: document.to_value().to_string().into_bytes().into(),
            content: Content::Readable(Arc::new(document)),
            managed: false,
        }
    }

    #[test]
    fn what_a_document_names_is_found_and_what_it_does_not_name_is_not() {
        let flag = json!({"type": "boolean", "overrides": {
            "agents": "all", "tools": ["crm"], "patches": {"on": {"a": 1}},
        }});
        let hash = Digest::of(b"").to_string();
        let mut subjects = Vec::new();
        for (kind, scope, name, body) in [
            (
                Kind::Targeting,
                "production",
                "top",
                json!({
                    "state": "enabled", "prerequisites": [{"flag": "base", "variants": ["on"]}],
                    "targets": [{"by": "tenant.id", "values": ["acme"], "serve": "on"}],
                    "rules": [{"name": "r", "serve": "on", "if": {"any": [
                        {"not": {"attribute": "user.id", "segment": ["friends"]}},
                        {"attribute": "tenant.id", "in": ["zeta"]},
                    ]}}],
                }),
            ),
            (
                Kind::Segment,
                "",
                "s",
                json!({"when": {"attribute": "user.id", "segment": "friends"}}),
            ),
            (Kind::Flag, "", "f", flag.clone()),
            (
                Kind::ExclusionGroup,
                "",
                "g",
                json!({"percent": {"base": 10}, "holdout": 5, "held": ["top"]}),
            ),
            (
                Kind::Kill,
                "production/acme",
                "agent:support",
                json!({"reason": "r", "fallback": "1.0.0"}),
            ),
            (
                Kind::Pin,
                "staging/acme",
                "agent:support",
                json!({"version": "1.0.0"}),
            ),
            (
                Kind::Pin,
                "staging/acme",
                "flag:top",
                json!({"variant": "on"}),
            ),
            (
                Kind::Config,
                "production.plan=free.tenant=acme",
                "ai",
                json!({"a": 1}),
            ),
            (
                Kind::Status,
                "",
                "tool:crm@1.0.0",
                json!({
                    "status": "deprecated", "message": "m", "replacement": "mail@2.0.0",
                }),
            ),
            (
                Kind::Channel,
                "production",
                "support",
                json!({"default": {"version": "1.0.0"}}),
            ),
            (
                Kind::Token,
                "",
                "t",
                json!({
                    "kind": "service", "principal": "p", "hash": hash,
                    "environments": ["staging"], "tenants": ["acme", "zeta"],
                }),
            ),
            (
                Kind::RoleBinding,
                "",
                "b",
                json!({
                    "principal": "p", "role": "viewer", "environments": ["staging"], "tenants": ["zeta"],
                }),
            ),
            (
                Kind::Schedule,
                "production",
                "later",
                json!({
                    "at": "2030-01-01T00:00:00Z", "reason": "r", "ops": [
                        {"op": "put", "kind": "flag", "name": "f", "body": flag},
                        {"op": "delete", "kind": "pin", "scope": "production/acme", "name": "agent:support"},
                    ],
                }),
            ),
        ] {
            let key = DocumentKey::new(kind, scope, name).unwrap();
            let document = Document::parse(&key, &body).unwrap();
            let entry = entry(document.clone());
            let mut named = Vec::new();
            for_each_named(&key, &document, &mut |it, _| {
                named.push((it.kind, it.name.unwrap_or("anything").to_owned()));
            });
            assert!(!named.is_empty(), "{key}");
            for (kind, name) in named {
                let subject = Subject::new(kind, &name).unwrap();
                assert!(users(kind).contains(&key.kind()), "{subject} by {key}");
                assert!(
                    Search::new(&subject).may_name(&key, &entry),
                    "{subject} in {key}"
                );
                subjects.push(subject);
            }
            let other = Subject::new(Kind::Tenant, "nobody").unwrap();
            let names_all = matches!(kind, Kind::Flag | Kind::Schedule);
            assert_eq!(
                Search::new(&other).may_name(&key, &entry),
                names_all,
                "{key}"
            );
        }
        for kind in Subject::KINDS {
            assert!(subjects.iter().any(|it| it.kind() == kind), "{kind}");
        }
    }

    #[test]
    fn a_name_that_is_written_with_escapes_is_not_passed_over() {
        let search = Search::new(&Subject::new(Kind::Segment, "friends").unwrap());
        assert!(search.is_in(br#"["\u0066riends"]"#));
        assert!(!search.is_in(br#"["foes"]"#));
    }
}
