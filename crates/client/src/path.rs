//! How paths and queries are written.

use plane_model::{DocumentKey, Kind};

/// Joins path segments, each percent-encoded.
pub(crate) fn path(segments: &[&str]) -> String {
    let mut path = String::from("/v1");
    for segment in segments {
        path.push('/');
        encode(segment, &mut path);
    }
    path
}

/// Writes a query; entries without a value are left out.
pub(crate) fn query(entries: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (name, value) in entries {
        let Some(value) = value else { continue };
        query.push(if query.is_empty() { '?' } else { '&' });
        encode(name, &mut query);
        query.push('=');
        encode(value, &mut query);
    }
    query
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(
                    char::from_digit(u32::from(digit), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
        }
    }
}

/// The path of a document.
pub(crate) fn document(key: &DocumentKey) -> String {
    let (scope, name) = (key.scope(), key.name());
    let (environment, tenant) = match scope.split_once('/') {
        Some((environment, tenant)) => (environment, Some(tenant)),
        None => (scope, None),
    };
    match (key.kind(), tenant) {
        (Kind::Environment, _) => path(&["environments", name]),
        (Kind::Tenant, _) => path(&["tenants", name]),
        (Kind::Segment, _) => path(&["segments", name]),
        (Kind::ExclusionGroup, _) => path(&["exclusion-groups", name]),
        (Kind::Flag, _) => path(&["flags", name]),
        (Kind::Targeting, _) => path(&["environments", scope, "targeting", name]),
        (Kind::Kill, None) => path(&["environments", scope, "kills", name]),
        (Kind::Kill, Some(tenant)) => path(&[
            "environments",
            environment,
            "tenants",
            tenant,
            "kills",
            name,
        ]),
        (Kind::Pin, _) => path(&[
            "environments",
            environment,
            "tenants",
            tenant.unwrap_or_default(),
            "pins",
            name,
        ]),
        (Kind::Schema, _) => path(&["config", name, "schema"]),
        (Kind::Config, _) => path(&["config", name, "layers", scope]),
        (Kind::Trust, _) => path(&["trust", name]),
        (Kind::Agent | Kind::Tool, _) => version(key.kind(), name),
        (Kind::Status, _) => {
            let (kind, id) = name.split_once(':').unwrap_or(("agent", name));
            let kind = if kind == "tool" {
                Kind::Tool
            } else {
                Kind::Agent
            };
            format!("{}/status", version(kind, id))
        }
        (Kind::Channel, _) => path(&["environments", scope, "channels", name]),
        (Kind::Token, _) => path(&["tokens", name]),
        (Kind::RoleBinding, _) => path(&["role-bindings", name]),
        (Kind::Schedule, _) => path(&["environments", scope, "schedules", name]),
    }
}

fn version(kind: Kind, id: &str) -> String {
    let many = if kind == Kind::Tool {
        "tools"
    } else {
        "agents"
    };
    let (name, version) = id.split_once('@').unwrap_or((id, ""));
    path(&[many, name, "versions", version])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, scope: &str, name: &str, expected: &str) {
        let key = DocumentKey::new(kind, scope, name).unwrap();
        assert_eq!(document(&key), expected);
    }

    #[test]
    fn every_document_has_its_path() {
        check(
            Kind::Environment,
            "",
            "production",
            "/v1/environments/production",
        );
        check(
            Kind::Targeting,
            "production",
            "x",
            "/v1/environments/production/targeting/x",
        );
        check(
            Kind::Kill,
            "production",
            "flag:x",
            "/v1/environments/production/kills/flag%3Ax",
        );
        check(
            Kind::Pin,
            "production/t@1",
            "agent:acme/a",
            "/v1/environments/production/tenants/t%401/pins/agent%3Aacme%2Fa",
        );
        check(
            Kind::Kill,
            "production/t1",
            "tool:crm",
            "/v1/environments/production/tenants/t1/kills/tool%3Acrm",
        );
        check(
            Kind::Config,
            "production.plan=free",
            "ai",
            "/v1/config/ai/layers/production.plan%3Dfree",
        );
        check(Kind::Schema, "", "ai", "/v1/config/ai/schema");
        check(
            Kind::Tool,
            "",
            "acme/crm@1.0.0",
            "/v1/tools/acme%2Fcrm/versions/1.0.0",
        );
        check(
            Kind::Status,
            "",
            "agent:a@1.0.0",
            "/v1/agents/a/versions/1.0.0/status",
        );
    }

    #[test]
    fn every_path_is_one_of_the_api() {
        let samples = [
            (Kind::Environment, "", "e"),
            (Kind::Tenant, "", "t"),
            (Kind::Segment, "", "s"),
            (Kind::ExclusionGroup, "", "g"),
            (Kind::Flag, "", "f"),
            (Kind::Targeting, "e", "f"),
            (Kind::Kill, "e", "flag:f"),
            (Kind::Kill, "e/t", "flag:f"),
            (Kind::Pin, "e/t", "flag:f"),
            (Kind::Schema, "", "d"),
            (Kind::Config, "base", "d"),
            (Kind::Trust, "", "default"),
            (Kind::Agent, "", "a@1.0.0"),
            (Kind::Tool, "", "a@1.0.0"),
            (Kind::Status, "", "tool:a@1.0.0"),
            (Kind::Channel, "e", "a"),
            (Kind::RoleBinding, "", "b"),
            (Kind::Schedule, "e", "s"),
        ];
        for (kind, scope, name) in samples {
            let key = DocumentKey::new(kind, scope, name).unwrap();
            let path = document(&key);
            let segments: Vec<_> = path.split('/').collect();
            let known = plane_api::operations().iter().any(|operation| {
                let pattern: Vec<_> = operation.path.split('/').collect();
                pattern.len() == segments.len()
                    && pattern
                        .iter()
                        .zip(&segments)
                        .all(|(pattern, segment)| pattern.starts_with('{') || pattern == segment)
            });
            assert!(known, "{path}");
        }
    }

    #[test]
    fn queries_leave_out_what_is_not_given() {
        assert_eq!(
            query(&[("at", None), ("q", Some("a b")), ("x", Some("é"))]),
            "?q=a%20b&x=%C3%A9"
        );
        assert_eq!(query(&[("at", None)]), "");
    }
}
