//! What kinds of document exist and how each is named.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, ConfigName, EnvironmentName, FlagKey,
    GroupName, Label, Namespace, ScheduleName, SegmentName, TenantId, TokenId, Violation,
};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// A kind of document.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            schemars::JsonSchema,
        )]
        pub enum Kind {
            $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Kind {
            /// All kinds, in the order in which a tree is applied.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The kind as it stands in the log, the API and commands.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $text,)* }
            }

            /// One sentence about the kind.
            pub const fn summary(self) -> &'static str {
                match self { $(Kind::$variant => concat!($($doc),*),)* }
            }
        }
    };
}

kinds! {
    /// A place where the platform runs, such as production.
    Environment = "environment",
    /// A customer of the platform, and what the platform knows of it.
    Tenant = "tenant",
    /// A set of ids that rules can name.
    Segment = "segment",
    /// A flag: its type, its variants and what they override.
    Flag = "flag",
    /// Which variant of a flag whom gets in one environment.
    Targeting = "targeting",
    /// Flags of which a unit gets one at most, and the units that get none of them.
    ExclusionGroup = "exclusion-group",
    /// An emergency stop of a flag, an agent or a tool.
    Kill = "kill",
    /// What one tenant gets, whatever the rules say.
    Pin = "pin",
    /// The JSON Schema of a config document.
    Schema = "schema",
    /// One layer of one config document.
    Config = "config",
    /// The keys that sign the agents and tools of a namespace.
    Trust = "trust",
    /// One published version of a tool.
    Tool = "tool",
    /// One published version of an agent.
    Agent = "agent",
    /// Whether a published version may still be used.
    Status = "status",
    /// Which version of an agent an environment gets.
    Channel = "channel",
    /// A right to use this control plane.
    Token = "token",
    /// A role that a principal has, and where.
    RoleBinding = "role-binding",
    /// Changes that are to be made at a time to come.
    Schedule = "schedule",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Violation;

    fn from_str(text: &str) -> Result<Self, Violation> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|kind| kind.as_str()).collect();
                Violation::new(
                    Code::KindUnknown,
                    "",
                    format!("`{text}` is not a kind of document"),
                )
                .next(format!("use one of: {}", known.join(", ")))
            })
    }
}

/// The whole name of a document: its kind, the scope that it holds in, and its name there.
///
/// Scopes and names by kind: targeting `environment / flag`; kill `environment[/tenant] / flag:KEY`,
/// `agent:NAME` or `tool:NAME`; pin `environment/tenant / flag:KEY` or `agent:NAME`; config
/// `selector / document`; channel `environment / agent`; schedule `environment / name`; status `- / agent:NAME@VERSION` or
/// `tool:NAME@VERSION`; agent and tool `- / NAME@VERSION`; all others `- / name`.
///
/// Keys are in the order of kind, scope and name. There is one of each document in memory, so a key
/// is one allocation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    kind: Kind,
    /// Scope and name, with a separator that sorts before everything that either can contain.
    text: Arc<str>,
}

/// Stands between scope and name.
const SEPARATOR: char = '\0';

impl DocumentKey {
    /// Checks the scope and the name against the rules of the kind, and writes both canonically.
    pub fn new(kind: Kind, scope: &str, name: &str) -> Result<Self, Violation> {
        let (scope, name) = check(kind, scope, name)?;
        Ok(Self::of(kind, &scope, &name))
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The scope; empty where the kind has none.
    pub fn scope(&self) -> &str {
        self.parts().0
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_once(SEPARATOR).unwrap_or_default()
    }

    /// A key as it was stored: the rules of its kind were checked when it was made.
    pub fn stored(kind: Kind, scope: &str, name: &str) -> Self {
        Self::of(kind, scope, name)
    }

    /// A bound for searching sorted keys: no document need have it, nor could every one.
    pub fn bound(kind: Kind, scope: &str, name: &str) -> Self {
        Self::of(kind, scope, name)
    }

    fn of(kind: Kind, scope: &str, name: &str) -> Self {
        let mut text = String::with_capacity(scope.len() + 1 + name.len());
        text.push_str(scope);
        text.push(SEPARATOR);
        text.push_str(name);
        Self {
            kind,
            text: text.into(),
        }
    }

    /// The key of an environment.
    pub fn environment(name: &EnvironmentName) -> Self {
        Self::of(Kind::Environment, "", name.as_str())
    }

    /// The key of a tenant.
    pub fn tenant(id: &TenantId) -> Self {
        Self::of(Kind::Tenant, "", id.as_str())
    }

    /// The key of a flag.
    pub fn flag(key: &FlagKey) -> Self {
        Self::of(Kind::Flag, "", key.as_str())
    }

    /// The key of a flag's targeting in an environment.
    pub fn targeting(environment: &EnvironmentName, flag: &FlagKey) -> Self {
        Self::of(Kind::Targeting, environment.as_str(), flag.as_str())
    }

    /// The key of a segment.
    pub fn segment(name: &SegmentName) -> Self {
        Self::of(Kind::Segment, "", name.as_str())
    }

    /// The key of an exclusion group.
    pub fn exclusion_group(name: &GroupName) -> Self {
        Self::of(Kind::ExclusionGroup, "", name.as_str())
    }

    /// The key of a config document's schema.
    pub fn schema(document: &ConfigName) -> Self {
        Self::of(Kind::Schema, "", document.as_str())
    }

    /// The key of one layer of a config document.
    pub fn config(selector: &Selector, document: &ConfigName) -> Self {
        Self::of(Kind::Config, &selector.to_string(), document.as_str())
    }

    /// The key of a published version.
    pub fn artifact(kind: ArtifactKind, version: &ArtifactVersion) -> Self {
        let kind = match kind {
            ArtifactKind::Agent => Kind::Agent,
            ArtifactKind::Tool => Kind::Tool,
        };
        Self::of(kind, "", &version.to_string())
    }

    /// The key of a published version's status.
    pub fn status(kind: ArtifactKind, version: &ArtifactVersion) -> Self {
        Self::of(Kind::Status, "", &format!("{kind}:{version}"))
    }

    /// The key of an agent's channel in an environment.
    pub fn channel(environment: &EnvironmentName, agent: &ArtifactName) -> Self {
        Self::of(Kind::Channel, environment.as_str(), agent.as_str())
    }

    /// The key of a namespace's trust.
    pub fn trust(namespace: &Namespace) -> Self {
        Self::of(Kind::Trust, "", namespace.as_str())
    }

    /// The key of a token.
    pub fn token(id: &TokenId) -> Self {
        Self::of(Kind::Token, "", id.as_str())
    }

    /// The key of a schedule in an environment.
    pub fn schedule(environment: &EnvironmentName, name: &ScheduleName) -> Self {
        Self::of(Kind::Schedule, environment.as_str(), name.as_str())
    }

    /// The key of a kill of `subject` (`flag:KEY`, `agent:NAME` or `tool:NAME`).
    pub fn kill(
        environment: &EnvironmentName,
        tenant: Option<&TenantId>,
        subject: &str,
    ) -> Result<Self, Violation> {
        match tenant {
            None => Self::new(Kind::Kill, environment.as_str(), subject),
            Some(tenant) => Self::new(Kind::Kill, &format!("{environment}/{tenant}"), subject),
        }
    }

    /// The key of a tenant's pin of `subject` (`flag:KEY` or `agent:NAME`).
    pub fn pin(
        environment: &EnvironmentName,
        tenant: &TenantId,
        subject: &str,
    ) -> Result<Self, Violation> {
        Self::new(Kind::Pin, &format!("{environment}/{tenant}"), subject)
    }

    /// The environment that the document is bound to, if it is bound to one.
    pub fn environment_name(&self) -> Option<EnvironmentName> {
        let text = match self.kind {
            Kind::Environment => self.name(),
            Kind::Targeting | Kind::Channel | Kind::Kill | Kind::Pin | Kind::Schedule => {
                self.scope().split('/').next().unwrap_or_default()
            }
            Kind::Config => {
                return Selector::from_str(self.scope())
                    .ok()
                    .and_then(|it| it.environment);
            }
            _ => return None,
        };
        EnvironmentName::new(text).ok()
    }

    /// The tenant that the document is bound to, if it is bound to one.
    pub fn tenant_id(&self) -> Option<TenantId> {
        match self.kind {
            Kind::Tenant => TenantId::new(self.name()).ok(),
            Kind::Kill | Kind::Pin => self
                .scope()
                .split_once('/')
                .and_then(|(_, tenant)| TenantId::new(tenant).ok()),
            Kind::Config => Selector::from_str(self.scope())
                .ok()
                .and_then(|it| it.tenant),
            _ => None,
        }
    }

    /// The parts of a `flag:KEY`, `agent:NAME` or `tool:NAME` name.
    pub fn subject(&self) -> Option<(&str, &str)> {
        self.name().split_once(':')
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, name) = self.parts();
        if scope.is_empty() {
            write!(f, "{} `{name}`", self.kind)
        } else {
            write!(f, "{} `{name}` in `{scope}`", self.kind)
        }
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}, {:?})", self.kind, self.scope(), self.name())
    }
}

/// Which contexts a config layer applies to; an empty selector is the base layer.
///
/// Written `production.region=eu.service=chat.plan=free.tenant=t1`, with the parts that are set, in
/// this order, and `base` where none is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    /// Weight 1.
    pub environment: Option<EnvironmentName>,
    /// Weight 2.
    pub region: Option<Label>,
    /// Weight 4.
    pub service: Option<Label>,
    /// Weight 8.
    pub plan: Option<Label>,
    /// Weight 16.
    pub tenant: Option<TenantId>,
}

impl Selector {
    const BASE: &'static str = "base";
    /// The layers as `x-override` names them, the narrowest last.
    pub const LAYERS: [&'static str; 6] = [
        Self::BASE,
        "environment",
        "region",
        "service",
        "plan",
        "tenant",
    ];
    const RULE: &'static str = "write `base`, or ENVIRONMENT, `region=`, `service=`, `plan=` and `tenant=` in this order, joined by `.`";

    /// The sum of the weights of what is set: of two layers that apply, the larger wins.
    pub fn weight(&self) -> u8 {
        u8::from(self.environment.is_some())
            + 2 * u8::from(self.region.is_some())
            + 4 * u8::from(self.service.is_some())
            + 8 * u8::from(self.plan.is_some())
            + 16 * u8::from(self.tenant.is_some())
    }

    /// The name of the narrowest part that is set, as `x-override` names it.
    pub fn layer(&self) -> &'static str {
        match self.weight() {
            16.. => "tenant",
            8.. => "plan",
            4.. => "service",
            2.. => "region",
            1 => "environment",
            0 => Self::BASE,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(environment) = &self.environment {
            write!(f, "{environment}")?;
            separator = ".";
        }
        for (part, value) in [
            ("region", self.region.as_ref().map(Label::as_str)),
            ("service", self.service.as_ref().map(Label::as_str)),
            ("plan", self.plan.as_ref().map(Label::as_str)),
            ("tenant", self.tenant.as_ref().map(TenantId::as_str)),
        ] {
            if let Some(value) = value {
                write!(f, "{separator}{part}={value}")?;
                separator = ".";
            }
        }
        if separator.is_empty() {
            f.write_str(Self::BASE)
        } else {
            Ok(())
        }
    }
}

impl FromStr for Selector {
    type Err = crate::NameError;

    fn from_str(text: &str) -> Result<Self, crate::NameError> {
        let error = || crate::NameError::new(text, "config layer", Self::RULE);
        let mut selector = Self::default();
        if text == Self::BASE {
            return Ok(selector);
        }
        let mut rest = Some(text);
        let mut position = 0;
        while let Some(text) = rest {
            // A tenant id may hold dots, so it takes all that is left.
            let (part, next) = match text.split_once('.') {
                Some((part, next)) if !text.starts_with("tenant=") => (part, Some(next)),
                _ => (text, None),
            };
            let at = match part.split_once('=') {
                None => {
                    selector.environment = Some(EnvironmentName::new(part)?);
                    1
                }
                Some(("region", value)) => {
                    selector.region = Some(Label::new(value)?);
                    2
                }
                Some(("service", value)) => {
                    selector.service = Some(Label::new(value)?);
                    3
                }
                Some(("plan", value)) => {
                    selector.plan = Some(Label::new(value)?);
                    4
                }
                Some(("tenant", value)) => {
                    selector.tenant = Some(TenantId::new(value)?);
                    5
                }
                Some(_) => return Err(error()),
            };
            if at <= position {
                return Err(error());
            }
            position = at;
            rest = next;
        }
        if selector
            .environment
            .as_ref()
            .is_some_and(|name| name.as_str() == Self::BASE)
        {
            return Err(error());
        }
        Ok(selector)
    }
}

fn refusal(detail: impl Into<String>, next: impl Into<String>) -> Violation {
    Violation::new(Code::NameInvalid, "", detail).next(next)
}

fn check(kind: Kind, scope: &str, name: &str) -> Result<(String, String), Violation> {
    if !matches!(
        kind,
        Kind::Targeting | Kind::Kill | Kind::Pin | Kind::Config | Kind::Channel | Kind::Schedule
    ) && !scope.is_empty()
    {
        return Err(refusal(
            format!("a {kind} has no scope, but `{scope}` was given"),
            "leave the scope out",
        ));
    }
    let name = match kind {
        Kind::Environment => {
            let name = EnvironmentName::new(name)?;
            if name.as_str() == Selector::BASE {
                return Err(refusal(
                    "`base` names the config layer below all environments",
                    "give the environment another name",
                ));
            }
            name.to_string()
        }
        Kind::Tenant => TenantId::new(name)?.to_string(),
        Kind::Segment => SegmentName::new(name)?.to_string(),
        Kind::ExclusionGroup => GroupName::new(name)?.to_string(),
        Kind::Flag | Kind::Targeting => FlagKey::new(name)?.to_string(),
        Kind::Schema | Kind::Config => ConfigName::new(name)?.to_string(),
        Kind::Trust => Namespace::new(name)?.to_string(),
        Kind::Tool | Kind::Agent => name.parse::<ArtifactVersion>()?.to_string(),
        Kind::Channel => ArtifactName::new(name)?.to_string(),
        Kind::Token | Kind::RoleBinding => TokenId::new(name)?.to_string(),
        Kind::Schedule => ScheduleName::new(name)?.to_string(),
        Kind::Kill | Kind::Pin | Kind::Status => subject(kind, name)?,
    };
    let scope = match kind {
        Kind::Targeting | Kind::Channel | Kind::Schedule => {
            EnvironmentName::new(scope)?.to_string()
        }
        Kind::Config => scope.parse::<Selector>()?.to_string(),
        Kind::Kill | Kind::Pin => {
            let (environment, tenant) = match scope.split_once('/') {
                Some((environment, tenant)) => (environment, Some(tenant)),
                None => (scope, None),
            };
            let environment = EnvironmentName::new(environment)?;
            match tenant {
                Some(tenant) => {
                    format!("{environment}/{}", TenantId::new(tenant)?)
                }
                None if kind == Kind::Kill => environment.to_string(),
                None => {
                    return Err(refusal(
                        format!(
                            "a pin's scope is `environment/tenant`, but `{scope}` names no tenant"
                        ),
                        "say which tenant",
                    ));
                }
            }
        }
        _ => String::new(),
    };
    Ok((scope, name))
}

fn subject(kind: Kind, name: &str) -> Result<String, Violation> {
    let expected = match kind {
        Kind::Kill => "`flag:KEY`, `agent:NAME` or `tool:NAME`",
        Kind::Pin => "`flag:KEY` or `agent:NAME`",
        _ => "`agent:NAME@VERSION` or `tool:NAME@VERSION`",
    };
    let wrong = || {
        refusal(
            format!("`{name}` is not a valid {kind} name"),
            format!("write {expected}"),
        )
    };
    let (what, of) = name.split_once(':').ok_or_else(wrong)?;
    let of = match (kind, what) {
        (Kind::Kill | Kind::Pin, "flag") => FlagKey::new(of)?.to_string(),
        (Kind::Kill | Kind::Pin, "agent") | (Kind::Kill, "tool") => {
            ArtifactName::new(of)?.to_string()
        }
        (Kind::Status, "agent" | "tool") => of.parse::<ArtifactVersion>()?.to_string(),
        _ => return Err(wrong()),
    };
    Ok(format!("{what}:{of}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, scope: &str, name: &str) -> Option<(String, String)> {
        DocumentKey::new(kind, scope, name)
            .ok()
            .map(|key| (key.scope().to_owned(), key.name().to_owned()))
    }

    #[test]
    fn a_selector_reads_what_it_writes_and_weighs_its_parts() {
        for (text, weight, layer) in [
            ("base", 0, "base"),
            ("production", 1, "environment"),
            ("region=eu-west", 2, "region"),
            ("production.service=chat", 5, "service"),
            ("production.plan=free", 9, "plan"),
            ("production.plan=free.tenant=a.b=c", 25, "tenant"),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(
                (selector.to_string().as_str(), selector.weight()),
                (text, weight)
            );
            assert_eq!(selector.layer(), layer);
        }
        for text in [
            "",
            "plan=free.production",
            "plan=a.plan=b",
            "color=red",
            "base.plan=x",
            "a.b",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_checked_by_the_rules_of_their_kind() {
        assert!(key(Kind::Flag, "", "a.b").is_some());
        assert!(key(Kind::Flag, "production", "a").is_none());
        assert!(key(Kind::Targeting, "", "a").is_none());
        assert!(key(Kind::Pin, "production", "flag:a").is_none());
        assert!(key(Kind::Pin, "production/t", "tool:a").is_none());
        assert!(key(Kind::Kill, "production/t", "tool:a").is_some());
        assert!(key(Kind::Config, "production.plan=free", "ai").is_some());
        assert!(key(Kind::Config, "base", "a.b").is_none());
        assert_eq!(
            key(Kind::Status, "", "tool:default/crm@1.0.0"),
            Some((String::new(), "tool:crm@1.0.0".to_owned()))
        );
    }
}
