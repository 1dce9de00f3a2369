//! The workspace as `cargo metadata` reports it, reduced to what the commands read.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{capture, cargo};

/// The packages of the workspace and, if they were asked for, all that they depend on.
#[derive(Debug)]
pub(crate) struct Workspace {
    packages: BTreeMap<String, Package>,
    members: Vec<String>,
    edges: BTreeMap<String, Vec<Edge>>,
}

/// One package: ours or a dependency.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its SPDX expression, empty where it declares none.
    pub(crate) license: String,
    /// Where it comes from; none for a path.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    pub(crate) targets: Vec<Target>,
    /// The names of the packages that its manifest names, optional ones and every kind included.
    pub(crate) declared: Vec<String>,
}

/// One library, binary or test of a package.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) src_path: String,
    pub(crate) required_features: Vec<String>,
}

/// One resolved dependency.
#[derive(Debug)]
struct Edge {
    to: String,
    /// Whether it is linked into what depends on it, rather than used by its build or its tests.
    normal: bool,
}

impl Workspace {
    /// Reads the members only: quick, and needs no network.
    pub(crate) fn of_members() -> Result<Workspace> {
        Workspace::parse(&capture(&mut cargo(&[
            "metadata",
            "--format-version=1",
            "--no-deps",
        ]))?)
    }

    /// Reads the members and everything they depend on, on every platform.
    ///
    /// Fails if `Cargo.lock` is not up to date.
    pub(crate) fn with_dependencies() -> Result<Workspace> {
        Workspace::parse(&capture(&mut cargo(&[
            "metadata",
            "--format-version=1",
            "--locked",
        ]))?)
    }

    /// Parses the JSON of `cargo metadata`.
    pub(crate) fn parse(json: &str) -> Result<Workspace> {
        let metadata: Value = serde_json::from_str(json).context("cargo metadata is not JSON")?;
        let packages = array(&metadata, "packages")
            .map(|package| Ok((text(package, "id")?, parse_package(package)?)))
            .collect::<Result<_>>()?;
        let members = array(&metadata, "workspace_members")
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let mut edges = BTreeMap::new();
        for node in array(&metadata["resolve"], "nodes") {
            let to = array(node, "deps")
                .map(parse_edge)
                .collect::<Result<Vec<_>>>()?;
            edges.insert(text(node, "id")?, to);
        }
        Ok(Workspace {
            packages,
            members,
            edges,
        })
    }

    /// Every package, sorted by id.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The packages of this repository, in cargo's order.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// What is linked into the packages `roots`, themselves included: for each package the way by
    /// which it was first reached, from the root to the package.
    pub(crate) fn linked<'a>(
        &'a self,
        roots: impl Iterator<Item = &'a Package>,
    ) -> Vec<Vec<&'a Package>> {
        let mut reached: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
        let mut queue: Vec<Vec<&Package>> = roots.map(|root| vec![root]).collect();
        let mut next = 0;
        while let Some(way) = queue.get(next).cloned() {
            next += 1;
            let Some(package) = way.last() else { continue };
            if reached.contains_key(package.id.as_str()) {
                continue;
            }
            for edge in self
                .edges
                .get(&package.id)
                .into_iter()
                .flatten()
                .filter(|edge| edge.normal)
            {
                if let Some(dependency) = self.packages.get(&edge.to) {
                    queue.push(way.iter().copied().chain([dependency]).collect());
                }
            }
            reached.insert(&package.id, way);
        }
        reached.into_values().collect()
    }
}

fn parse_package(package: &Value) -> Result<Package> {
    Ok(Package {
        id: text(package, "id")?,
        name: text(package, "name")?,
        version: text(package, "version")?,
        license: package["license"].as_str().unwrap_or_default().to_owned(),
        source: package["source"].as_str().map(str::to_owned),
        manifest_path: text(package, "manifest_path")?,
        targets: array(package, "targets")
            .map(parse_target)
            .collect::<Result<_>>()?,
        declared: array(package, "dependencies")
            .map(|dependency| text(dependency, "name"))
            .collect::<Result<_>>()?,
    })
}

fn parse_target(target: &Value) -> Result<Target> {
    Ok(Target {
        name: text(target, "name")?,
        kind: array(target, "kind")
            .find_map(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        src_path: text(target, "src_path")?,
        required_features: array(target, "required-features")
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    })
}

fn parse_edge(dependency: &Value) -> Result<Edge> {
    Ok(Edge {
        to: text(dependency, "pkg")?,
        // Cargo names the other kinds, `dev` and `build`, and gives null for this one.
        normal: array(dependency, "dep_kinds").any(|kind| kind["kind"].is_null()),
    })
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> Result<String> {
    let text = value[key]
        .as_str()
        .with_context(|| format!("cargo metadata has no `{key}` where one was expected"))?;
    Ok(text.to_owned())
}

/// A workspace for tests, written as one line per package.
#[cfg(test)]
pub(crate) mod example {
    use serde_json::{Value, json};

    use super::Workspace;

    /// A package of the repository that uses `uses`.
    pub(crate) fn ours(name: &str, uses: &[&str]) -> Value {
        package(name, "0.1.0", "Apache-2.0", None, uses)
    }

    /// A package of crates.io that uses `uses`.
    pub(crate) fn theirs(name: &str, version: &str, license: &str, uses: &[&str]) -> Value {
        package(
            name,
            version,
            license,
            Some("registry+index/crates.io-index"),
            uses,
        )
    }

    /// A package; its id is `NAME` for ours and `NAME@VERSION` for theirs.
    pub(crate) fn package(
        name: &str,
        version: &str,
        license: &str,
        source: Option<&str>,
        uses: &[&str],
    ) -> Value {
        let id = source.map_or_else(|| name.to_owned(), |_| format!("{name}@{version}"));
        let names: Vec<Value> = uses
            .iter()
            .map(|used| json!({ "name": used.split('@').next().unwrap_or(used) }))
            .collect();
        json!({
            "id": id, "name": name, "version": version, "license": license, "source": source,
            "manifest_path": format!("crates/{name}/Cargo.toml"), "targets": [],
            "dependencies": names, "uses": uses,
        })
    }

    /// The workspace of `packages`, all of their edges normal.
    pub(crate) fn workspace(packages: &[Value]) -> Workspace {
        let members: Vec<&Value> = packages
            .iter()
            .filter(|package| package["source"].is_null())
            .collect();
        let members: Vec<&Value> = members.iter().map(|package| &package["id"]).collect();
        let nodes: Vec<Value> = packages.iter().map(node).collect();
        let metadata = json!({
            "packages": packages, "workspace_members": members, "resolve": { "nodes": nodes },
        });
        Workspace::parse(&metadata.to_string()).expect("well-formed metadata")
    }

    fn node(package: &Value) -> Value {
        let deps: Vec<Value> = super::array(package, "uses")
            .map(|used| json!({ "pkg": used, "dep_kinds": [{ "kind": null }] }))
            .collect();
        json!({ "id": package["id"], "deps": deps })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_normal_dependencies_are_linked() {
        let package = |name: &str| {
            json!({ "id": name, "name": name, "version": "1.0.0", "source": null,
                "manifest_path": "Cargo.toml", "targets": [], "dependencies": [] })
        };
        let metadata = json!({
            "workspace_members": ["ours"],
            "packages": [package("ours"), package("linked"), package("for_tests")],
            "resolve": { "nodes": [{ "id": "ours", "deps": [
                { "pkg": "linked", "dep_kinds": [{ "kind": "build" }, { "kind": null }] },
                { "pkg": "for_tests", "dep_kinds": [{ "kind": "dev" }] },
            ] }] },
        });
        let workspace = Workspace::parse(&metadata.to_string()).expect("well-formed");
        let names: Vec<&str> = workspace
            .linked(workspace.members())
            .iter()
            .filter_map(|way| way.last())
            .map(|package| package.name.as_str())
            .collect();
        assert_eq!(names, ["linked", "ours"]);
    }

    #[test]
    fn metadata_of_another_shape_is_an_error_and_no_panic() {
        assert!(Workspace::parse("[]").is_ok_and(|workspace| workspace.members().count() == 0));
        assert!(Workspace::parse(r#"{"packages": [{}]}"#).is_err());
        assert!(Workspace::parse("not JSON").is_err());
    }
}
