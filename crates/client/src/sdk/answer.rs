//! What evaluations give: one view, one moment, one context.

use plane_eval::{Context, ErrorCode, Evaluation, Reason, Resolved, View};
use plane_model::documents::Metadata;
use plane_model::{ArtifactName, ConfigName, NameError, Timestamp, VariantName};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Error;

/// How a boolean flag is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Options {
    /// What to answer if the flag cannot be evaluated, or leaves it to the caller.
    pub default: bool,
    /// At most this share of the units, in percent from 0 to 100, gets true from rules and defaults.
    ///
    /// Pins and targets by id are exempt. Units that a smaller share has keep what they have when
    /// it grows.
    pub rollout_percent_max: Option<f64>,
}

impl From<bool> for Options {
    fn from(default: bool) -> Self {
        Self {
            default,
            rollout_percent_max: None,
        }
    }
}

/// Why a flag was not evaluated, as `OpenFeature` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlagError {
    /// The flag does not exist, is archived, contradicts itself, or divides by a unit that is missing.
    Flag(ErrorCode),
    /// The flag's values are of another type than the caller's default.
    TypeMismatch,
    /// There is no view yet.
    NotReady,
    /// The context's tenant has something of its own that is not loaded.
    TenantNotLoaded,
    /// The client is closed.
    Closed,
}

impl FlagError {
    /// The error as `OpenFeature` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flag(code) => code.as_str(),
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::NotReady | Self::Closed => "PROVIDER_NOT_READY",
            Self::TenantNotLoaded => "GENERAL",
        }
    }
}

/// What a flag is for a context, and why: the caller's own copy.
#[derive(Debug, Clone, PartialEq)]
pub struct Detail {
    /// The value; the caller's default if there is an error or the flag leaves it to the caller.
    pub value: Value,
    /// The variant; none if the value is the caller's default.
    pub variant: Option<VariantName>,
    /// Why.
    pub reason: Reason,
    /// Why not; set if and only if the reason is [`Reason::Error`].
    pub error: Option<FlagError>,
    /// What is wrong, in the user's terms.
    pub error_detail: Option<String>,
    /// The name of the rule that decided.
    pub rule: Option<String>,
    /// The revision of the view that was evaluated; zero if there is none.
    pub revision: u64,
    /// Whether the context names a tenant that is not known.
    pub tenant_unknown: bool,
    /// What the flag's author tells those who evaluate it, whatever it gives.
    pub metadata: Metadata,
}

impl Detail {
    /// The default, because there is nothing to evaluate.
    pub(crate) fn without_view(default: Value, why: &Error) -> Self {
        let error = match why {
            Error::Closed => FlagError::Closed,
            Error::TenantNotLoaded { .. } => FlagError::TenantNotLoaded,
            _ => FlagError::NotReady,
        };
        Self {
            value: default,
            variant: None,
            reason: Reason::Error,
            error: Some(error),
            error_detail: Some(why.to_string()),
            rule: None,
            revision: 0,
            tenant_unknown: false,
            metadata: Metadata::new(),
        }
    }
}

/// Writes down what evaluating a flag of any type gave.
pub(crate) fn detail(
    evaluation: &Evaluation<'_>,
    flag: &str,
    default: Value,
    revision: u64,
) -> Detail {
    let mut detail = Detail {
        value: Value::Null,
        variant: evaluation.variant().cloned(),
        reason: evaluation.reason(),
        error: evaluation.error().map(FlagError::Flag),
        error_detail: evaluation.error_detail(),
        rule: evaluation.rule().map(str::to_owned),
        revision,
        tenant_unknown: evaluation.tenant_unknown(),
        metadata: evaluation.metadata().clone(),
    };
    match evaluation.value() {
        Some(value) if is_alike(value, &default) => detail.value = value.clone(),
        Some(value) => {
            detail.error_detail = Some(format!(
                "`{flag}` is {}, and the caller's default is {}",
                type_name(value),
                type_name(&default)
            ));
            detail.value = default;
            detail.variant = None;
            detail.reason = Reason::Error;
            detail.error = Some(FlagError::TypeMismatch);
        }
        None => detail.value = default,
    }
    detail
}

/// Says whether a caller who gives such a default can use the value.
fn is_alike(value: &Value, default: &Value) -> bool {
    match default {
        // Without a default any value will do.
        Value::Null => true,
        Value::Bool(_) => value.is_boolean(),
        Value::Number(_) => value.is_number(),
        Value::String(_) => value.is_string(),
        Value::Array(_) => value.is_array(),
        Value::Object(_) => value.is_object(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Reads a boolean flag; none if the caller's default holds.
#[inline]
pub(crate) fn is_true(evaluation: &Evaluation<'_>, options: Options) -> Option<bool> {
    match options.rollout_percent_max {
        None => evaluation.as_bool(),
        Some(percent) => evaluation.as_bool_within(percent),
    }
}

/// Says which agent a context gets.
pub(crate) fn resolve(
    view: &View,
    agent: &str,
    ctx: &Context,
    now: Timestamp,
) -> Result<Resolved, Error> {
    let name: ArtifactName = agent.parse().map_err(|error| misnamed(&error))?;
    Ok(view.resolve(&name, ctx, now)?)
}

/// Reads the configuration at `document` or `document.key.key`.
pub(crate) fn config(
    view: &View,
    path: &str,
    service: Option<&str>,
    ctx: &Context,
) -> Result<Value, Error> {
    let not_found = || Error::ConfigNotFound {
        path: path.to_owned(),
    };
    let (document, keys) = match path.split_once('.') {
        Some((document, keys)) => (document, keys.split('.').collect()),
        None => (path, Vec::new()),
    };
    let document = ConfigName::new(document).map_err(|error| misnamed(&error))?;
    let effective = match service.filter(|_| ctx.service().is_none()) {
        Some(service) => view.config(&document, &ctx.clone().with("service", service)),
        None => view.config(&document, ctx),
    };
    let effective = effective.ok_or_else(not_found)?;
    if keys.is_empty() {
        return Ok(Value::Object(effective.value().clone()));
    }
    effective.get(&keys).cloned().ok_or_else(not_found)
}

/// Reads the configuration at a path as a type of the caller's.
pub(crate) fn typed<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value).map_err(|error| Error::ConfigType {
        path: path.to_owned(),
        detail: error.to_string(),
    })
}

fn misnamed(error: &NameError) -> Error {
    Error::Invalid(vec![error.at("")])
}
