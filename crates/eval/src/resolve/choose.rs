//! The procedure: kill, pin, channel, version, tools, overrides.

use std::sync::Arc;

use plane_model::documents::Kill;
use plane_model::{ArtifactName, Digest, Document, TenantId, Timestamp, VariantName};
use serde_json::{Map, Value};

use super::offer::{Applying, Content, Offer};
use super::registry::AgentEntry;
use super::{
    ChosenBy, Effective, Override, Patch, ResolveError, Resolved, Subject, Told, Warning,
    WarningCode,
};
use crate::clause::Facts;
use crate::context::Context;
use crate::evaluation::Decision;
use crate::flag::Chunk;
use crate::tenant::{AgentFacts, TenantFacts};
use crate::view::View;

/// Marks a place in the key of kept manifests as one of a tool that is left out.
const LEFT_OUT: u32 = 1 << 31;

pub(crate) fn resolve(
    view: &View,
    agent: &ArtifactName,
    ctx: &Context,
    now: Timestamp,
) -> Result<Resolved, ResolveError> {
    let tenant = view.tenant_facts(ctx);
    let mut warnings = Vec::new();
    if ctx.tenant().is_some() && tenant.and_then(TenantFacts::tenant).is_none() {
        let id = ctx.tenant().unwrap_or_default();
        warnings.push(Arc::new(Told::from(Warning::new(
            WarningCode::TenantUnknown,
            format!("tenant:{id}"),
            format!("the tenant `{id}` is not known: only its id counts"),
        ))));
    }
    let entry = view.registry().agent(agent);
    let facts = tenant.and_then(|tenant| tenant.agent(agent));
    let choice = choose(view, agent, entry, facts, ctx, now)?;
    if let Some(reason) = choice.killed {
        warnings.push(Arc::new(Told::from(Warning::new(
            WarningCode::AgentFallback,
            format!("agent:{agent}"),
            format!("`{agent}` is killed and its fallback given: {reason}"),
        ))));
    }
    let subject = || Subject {
        kind: plane_model::ArtifactKind::Agent,
        version: plane_model::ArtifactVersion {
            name: agent.clone(),
            version: choice.version.clone(),
        },
    };
    let offer = entry
        .and_then(|entry| entry.offer(choice.version, choice.lock))
        .ok_or_else(|| ResolveError::VersionNotFound { subject: subject() })?;
    let content = offer.content.as_ref().map_err(Clone::clone)?;
    warnings.extend(content.warnings.iter().map(|it| dated(it, now)));

    let mut key = Vec::new();
    let killed = Killed { view, tenant };
    for (place, tool) in (0_u32..).zip(&content.tools) {
        if let Some(reason) = killed.reason(&tool.version.name) {
            let name = &tool.version.name;
            warnings.push(Arc::new(Told::from(Warning::new(
                WarningCode::ToolKilled,
                format!("tool:{name}"),
                format!("`{name}` is killed and left out: {reason}"),
            ))));
            key.push(LEFT_OUT | place);
            continue;
        }
        let ready = tool.state.as_ref().map_err(Clone::clone)?;
        warnings.extend(ready.warnings.iter().map(|it| dated(it, now)));
    }
    let left_out = key.clone();

    let mut overrides = Vec::with_capacity(offer.applying.len());
    for (place, applying) in (0_u32..).zip(&offer.applying) {
        let Some((chunk, decision)) = view.decide(applying.overrider.flag, ctx, tenant, now) else {
            continue;
        };
        if let Some(code) = decision.error {
            let flag = &applying.overrider.key;
            let code = code.as_str();
            warnings.push(Arc::new(Told::from(Warning::new(
                WarningCode::OverrideNotEvaluated,
                format!("flag:{flag}"),
                format!("`{flag}` could not be evaluated ({code}), so its patch was not applied"),
            ))));
        }
        let described = describe(applying, chunk, decision);
        if let (true, Some(variant)) = (described.applied, decision.variant) {
            key.extend([place, u32::from(variant)]);
        }
        overrides.push(described);
    }
    let effective = offer.effective(&key, || make(offer, content, &overrides, &left_out));
    Ok(Resolved {
        offer: Arc::clone(offer),
        effective,
        environment: view.environment().clone(),
        tenant: ctx.tenant().map(Into::into),
        revision: view.revision(),
        chosen_by: choice.by,
        overrides,
        warnings,
    })
}

/// A version that was chosen, and what chose it.
struct Choice<'a> {
    version: &'a semver::Version,
    lock: Option<Digest>,
    by: ChosenBy,
    /// Why the agent is killed, if this is the fallback.
    killed: Option<&'a str>,
}

fn choose<'a>(
    view: &View,
    agent: &ArtifactName,
    entry: Option<&'a AgentEntry>,
    facts: Option<&'a AgentFacts>,
    ctx: &Context,
    now: Timestamp,
) -> Result<Choice<'a>, ResolveError> {
    let everywhere = entry.and_then(AgentEntry::kill);
    let here = facts.and_then(AgentFacts::kill);
    if let Some(choice) = fallback(agent, everywhere, here, ctx)? {
        return Ok(choice);
    }
    let pin = facts.and_then(AgentFacts::pin);
    if let Some(pin) = pin.filter(|pin| pin.until.is_none_or(|until| now < until))
        && let Some(version) = &pin.version
    {
        return Ok(Choice {
            version,
            lock: pin.lock,
            by: ChosenBy::Pin,
            killed: None,
        });
    }
    let Some((entry, channel)) = entry.and_then(|entry| Some((entry, entry.channel()?))) else {
        return Err(if view.registry().knows(agent) {
            ResolveError::ChannelNotFound {
                agent: agent.clone(),
                environment: view.environment().clone(),
            }
        } else {
            ResolveError::AgentNotFound {
                agent: agent.clone(),
            }
        });
    };
    let tenant = view.tenant_facts(ctx);
    let share = entry
        .division()
        .and_then(|division| division.share(Facts { ctx, tenant }, view.bucketing()));
    Ok(match share {
        Some((version, lock)) => Choice {
            version,
            lock: *lock,
            by: ChosenBy::Split,
            killed: None,
        },
        None => Choice {
            version: &channel.default.version,
            lock: channel.default.lock,
            by: ChosenBy::Default,
            killed: None,
        },
    })
}

/// What kills leave: an error if one of them names no fallback; the tenant's fallback is the nearer.
fn fallback<'a>(
    agent: &ArtifactName,
    everywhere: Option<&'a Kill>,
    here: Option<&'a Kill>,
    ctx: &Context,
) -> Result<Option<Choice<'a>>, ResolveError> {
    for (kill, tenant) in [(everywhere, None), (here, ctx.tenant())] {
        if let Some(kill) = kill.filter(|kill| kill.fallback.is_none()) {
            return Err(ResolveError::AgentKilled {
                agent: agent.clone(),
                tenant: tenant.and_then(|id| TenantId::new(id).ok()),
                reason: kill.reason.clone(),
            });
        }
    }
    Ok(here.or(everywhere).and_then(|kill| {
        Some(Choice {
            version: kill.fallback.as_ref()?,
            lock: None,
            by: ChosenBy::Fallback,
            killed: Some(&kill.reason),
        })
    }))
}

/// The tools that are killed, for the tenant or for all.
struct Killed<'a> {
    view: &'a View,
    tenant: Option<&'a TenantFacts>,
}

impl<'a> Killed<'a> {
    fn reason(&self, tool: &ArtifactName) -> Option<&'a str> {
        let here = self.tenant.map_or(&[][..], TenantFacts::killed_tools);
        [self.view.registry().killed_tools(), here]
            .into_iter()
            .find_map(|killed| {
                let at = killed.binary_search_by(|(name, _)| name.cmp(tool)).ok()?;
                match killed.get(at).map(|(_, document)| &**document) {
                    Some(Document::Kill(kill)) => Some(kill.reason.as_str()),
                    _ => Some(""),
                }
            })
    }
}

/// Turns the warning of a deprecation whose time has come into a stronger one.
fn dated(told: &Arc<Told>, now: Timestamp) -> Arc<Told> {
    let Told { warning, .. } = &**told;
    let due = warning.sunset.is_some_and(|sunset| sunset <= now);
    if due && warning.code == WarningCode::VersionDeprecated {
        Arc::new(Told::from(Warning {
            code: WarningCode::VersionSunset,
            ..warning.clone()
        }))
    } else {
        Arc::clone(told)
    }
}

fn patch<'a>(applying: &'a Applying, variant: &VariantName) -> Option<&'a Map<String, Value>> {
    applying.overrider.overrides()?.patches.get(variant)
}

fn describe(applying: &Applying, chunk: &Chunk, decision: Decision) -> Override {
    let variant = decision.variant.and_then(|index| chunk.variant(index));
    let variant = variant.map(|(name, _)| name);
    Override {
        flag: applying.overrider.key.clone(),
        variant: variant.cloned(),
        reason: decision.reason,
        rule: decision.rule.and_then(|rule| chunk.rule_name_shared(rule)),
        flag_revision: chunk.revision(),
        priority: applying.overrider.priority(),
        applied: variant.is_some_and(|variant| patch(applying, variant).is_some()),
    }
}

fn make(offer: &Offer, content: &Content, overrides: &[Override], left_out: &[u32]) -> Effective {
    let applying = offer.applying.iter().zip(overrides).enumerate();
    let patches: Vec<_> = applying
        .filter_map(|(overrider, (applying, chosen))| {
            Some(Patch {
                overrider,
                members: patch(applying, chosen.variant.as_ref()?)?,
                agent: applying.agent,
                tools: &applying.tools,
            })
        })
        .collect();
    Effective::new(offer.version(), content, &patches, |place| {
        left_out
            .iter()
            .any(|it| u32::try_from(place) == Ok(it & !LEFT_OUT))
    })
}
