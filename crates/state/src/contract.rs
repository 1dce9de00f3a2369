//! Whether a view has what a service relies on, and which part of it does not.

use std::fmt;

use plane_eval::{Keep, View};
use plane_model::documents::FlagType;
use plane_model::{ArtifactName, Code, ConfigName, Contract, FlagKey, Violation, Violations};
use plane_registry::{CompiledSchema, schema};
use serde_json::Value;

/// How many values of one config document are looked at.
const VALUES_MAX: usize = 4_096;

/// A contract that is ready to be held against views.
#[derive(Clone)]
pub struct CheckedContract {
    configs: Vec<(ConfigName, CompiledSchema)>,
    flags: Vec<(FlagKey, FlagType)>,
    agents: Vec<(
        ArtifactName,
        Option<semver::VersionReq>,
        Option<CompiledSchema>,
    )>,
}

/// Something that a service relies on and a view does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    /// What it is about, such as `config:ai`.
    pub subject: String,
    /// Where in it, as a JSON pointer; empty for all of it.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl CheckedContract {
    /// Makes a contract ready.
    ///
    /// # Errors
    /// What is wrong with its schemas, by pointers into the contract.
    pub fn new(contract: &Contract) -> Result<Self, Violations> {
        let mut found = Violations::new();
        let mut compile = |below: String, schema: &Value| match schema::compile(schema) {
            Ok(compiled) => Some(compiled),
            Err(violations) => {
                found.extend(violations.into_iter().map(|it| it.below(&below)));
                None
            }
        };
        let configs = contract.configs.iter().filter_map(|(name, schema)| {
            Some((name.clone(), compile(format!("/configs/{name}"), schema)?))
        });
        let configs = configs.collect();
        let agents = contract.agents.iter().map(|(name, agent)| {
            let below = format!("/agents/{}/metadata", name.as_str().replace('/', "~1"));
            let metadata = agent.metadata.as_ref().and_then(|it| compile(below, it));
            (name.clone(), agent.version.clone(), metadata)
        });
        let agents = agents.collect();
        let flags = contract.flags.iter();
        let flags = flags.map(|(key, kind)| (key.clone(), *kind)).collect();
        if found.is_empty() {
            Ok(Self {
                configs,
                flags,
                agents,
            })
        } else {
            Err(found)
        }
    }

    /// Says what of the contract a view breaks for a service, and what of the view that is.
    pub fn check(&self, view: &View, service: Option<&str>) -> (Vec<Breach>, Keep) {
        let (mut breaches, mut keep) = (Vec::new(), Keep::default());
        for (key, kind) in &self.flags {
            let detail = match view.flag_type(key.as_str()) {
                Some(found) if found == *kind => continue,
                Some(found) => format!("it is of type {}, not {}", found.as_str(), kind.as_str()),
                None => "it does not exist".to_owned(),
            };
            keep.flags.insert(key.clone());
            breaches.push(breach("flag", key.as_str(), "", detail));
        }
        for (name, schema) in &self.configs {
            let values = view.config_values(name, service, VALUES_MAX);
            let mut found: Vec<_> = values
                .iter()
                .flat_map(|value| {
                    schema.validate(&Value::Object((**value).clone()), Code::ConfigInvalid)
                })
                .map(
                    |Violation {
                         pointer, detail, ..
                     }| { breach("config", name.as_str(), &pointer, detail) },
                )
                .collect();
            if values.is_empty() {
                found.push(breach(
                    "config",
                    name.as_str(),
                    "",
                    "it does not exist".to_owned(),
                ));
            }
            found.sort();
            found.dedup();
            if !found.is_empty() {
                keep.configs.insert(name.clone());
                breaches.extend(found);
            }
        }
        for (name, wanted, schema) in &self.agents {
            let found = check_agent(view, name, wanted.as_ref(), schema.as_ref());
            if !found.is_empty() {
                keep.agents.insert(name.clone());
                breaches.extend(found);
            }
        }
        (breaches, keep)
    }
}

fn check_agent(
    view: &View,
    name: &ArtifactName,
    wanted: Option<&semver::VersionReq>,
    schema: Option<&CompiledSchema>,
) -> Vec<Breach> {
    let Some(offered) = view.offered(name) else {
        let detail = "it has no channel".to_owned();
        return vec![breach("agent", name.as_str(), "", detail)];
    };
    let mut found = Vec::new();
    for (version, metadata) in offered {
        if let Some(wanted) = wanted.filter(|it| !it.matches(&version)) {
            let detail = format!("its channel can give {version}, which is not {wanted}");
            found.push(breach("agent", name.as_str(), "", detail));
        }
        let violations = schema
            .zip(metadata)
            .map(|(schema, metadata)| schema.validate(&metadata, Code::ConfigInvalid));
        for violation in violations.into_iter().flatten() {
            let pointer = format!("/metadata{}", violation.pointer);
            let detail = format!("in {version}: {}", violation.detail);
            found.push(breach("agent", name.as_str(), &pointer, detail));
        }
    }
    found
}

fn breach(kind: &str, name: &str, pointer: &str, detail: String) -> Breach {
    Breach {
        subject: format!("{kind}:{name}"),
        pointer: pointer.to_owned(),
        detail,
    }
}

impl fmt::Debug for CheckedContract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedContract")
            .field("configs", &self.configs.len())
            .field("flags", &self.flags.len())
            .field("agents", &self.agents.len())
            .finish()
    }
}
