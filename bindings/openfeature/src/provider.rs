//! The provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use open_feature::provider::{
    FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails,
};
use open_feature::{
    EvaluationContext, EvaluationError, EvaluationErrorCode, EvaluationReason, EvaluationResult,
    FlagMetadata, StructValue, async_trait,
};
use plane_client::ControlPlane;
use plane_client::sdk::{Detail, Environment, Error, ErrorCode, FlagError, Reason, Source};
use plane_model::documents::MetadataValue;
use serde_json::Value;

use crate::{context, value};

/// How long a provider waits for its first view, unless it is told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves flags from one environment of the control plane.
///
/// The client stays the caller's: dropping the provider closes nothing. A flag that leaves its value to
/// the caller is an error of the code [`EvaluationErrorCode::General`], because this SDK tells a provider
/// of no default; what it says is the reason, `DEFAULT` or `DISABLED`.
#[derive(Debug)]
pub struct Provider {
    environment: Environment,
    metadata: ProviderMetadata,
    timeout: Duration,
    only_flag_metadata: bool,
    is_initialized: Arc<AtomicBool>,
}

impl Provider {
    /// Makes a provider of the client's own environment.
    ///
    /// # Errors
    /// As [`ControlPlane::default_environment`].
    pub fn new(plane: &ControlPlane) -> Result<Self, Error> {
        Ok(Self::of(plane.default_environment()?))
    }

    /// Makes a provider of an environment.
    pub fn of(environment: Environment) -> Self {
        Self {
            environment,
            metadata: ProviderMetadata::new("control-plane"),
            timeout: TIMEOUT,
            only_flag_metadata: false,
            is_initialized: Arc::default(),
        }
    }

    /// Sets how long it waits for its first view; whatever comes later is served, too.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Leaves out of a flag's metadata all but what its author wrote: `revision`, `bucketing`, `rule`
    /// and `tenant_unknown`, which come with every evaluation otherwise.
    #[must_use]
    pub fn only_flag_metadata(mut self) -> Self {
        self.only_flag_metadata = true;
        self
    }

    fn resolve<T>(
        &self,
        flag: &str,
        ctx: &EvaluationContext,
        read: impl FnOnce(Value) -> Result<T, Value>,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        // Before that a question could wait for a view, and with it the runtime.
        if !self.is_initialized.load(Ordering::Acquire) {
            return Err(error(
                EvaluationErrorCode::ProviderNotReady,
                "the provider is not initialized".to_owned(),
            ));
        }
        let ctx = context::read(ctx)?;
        let snapshot = self.environment.snapshot().map_err(|it| {
            let detail = format!("{it}; {}", it.next());
            error(EvaluationErrorCode::ProviderNotReady, detail)
        })?;
        // Without a default of ours any type will do: whether it fits, `read` says.
        let detail = snapshot.evaluate(flag, &ctx, Value::Null);
        if let Some(code) = detail.error {
            return Err(error(
                code_of(code),
                detail.error_detail.unwrap_or_default(),
            ));
        }
        let mut metadata = of_author(&detail);
        if !self.only_flag_metadata {
            add_ours(&mut metadata, &detail);
            metadata.add_value("bucketing", snapshot.view().bucketing().as_str());
        }
        let reason = reason_of(detail.reason);
        let Some(variant) = detail.variant else {
            let what = format!("`{flag}` leaves its value to the caller");
            return Err(error(
                EvaluationErrorCode::General(reason.to_string()),
                what,
            ));
        };
        let value = read(detail.value).map_err(|value| {
            let detail = format!("`{flag}` is {value}, which is of another type");
            error(EvaluationErrorCode::TypeMismatch, detail)
        })?;
        Ok(ResolutionDetails {
            value,
            variant: Some(variant.to_string()),
            reason: Some(reason),
            flag_metadata: Some(metadata),
        })
    }
}

/// What the flag's author wrote. The names are none of ours: the control plane refuses those.
fn of_author(detail: &Detail) -> FlagMetadata {
    let mut metadata = FlagMetadata::default();
    for (name, said) in &detail.metadata {
        match said {
            MetadataValue::Bool(value) => metadata.add_value(name, *value),
            MetadataValue::Text(text) => metadata.add_value(name, text.as_str()),
            MetadataValue::Number(number) => match number.as_i64() {
                Some(whole) => metadata.add_value(name, whole),
                None => metadata.add_value(name, number.as_f64().unwrap_or_default()),
            },
        }
    }
    metadata
}

fn add_ours(metadata: &mut FlagMetadata, detail: &Detail) {
    let revision = i64::try_from(detail.revision).unwrap_or(i64::MAX);
    metadata.add_value("revision", revision);
    if let Some(rule) = &detail.rule {
        metadata.add_value("rule", rule.as_str());
    }
    if detail.tenant_unknown {
        metadata.add_value("tenant_unknown", true);
    }
}

#[async_trait]
impl FeatureProvider for Provider {
    /// Waits for a view on a thread of its own; without one the status is an error until one comes.
    async fn initialize(&mut self, _: &EvaluationContext) {
        let (done, is_done) = tokio::sync::oneshot::channel();
        let (environment, timeout) = (self.environment.clone(), self.timeout);
        let wait = move || {
            // Why there is none, the status and every question say.
            let _waited = environment.wait_ready(timeout);
            let _heard = done.send(());
        };
        let name = "control-plane-openfeature".to_owned();
        if std::thread::Builder::new().name(name).spawn(wait).is_ok() {
            // The sender is dropped if the thread panics, and then there is nothing to wait for either.
            let _waited = is_done.await;
        }
        self.is_initialized.store(true, Ordering::Release);
    }

    fn status(&self) -> ProviderStatus {
        if !self.is_initialized.load(Ordering::Acquire) {
            return ProviderStatus::NotReady;
        }
        match self.environment.status().source {
            Source::None => ProviderStatus::Error,
            Source::Stale | Source::LastKnownGood | Source::Bundled => ProviderStatus::STALE,
            Source::Live | Source::Tree | Source::Memory => ProviderStatus::Ready,
        }
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.resolve(flag_key, evaluation_context, value::boolean)
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.resolve(flag_key, evaluation_context, value::integer)
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.resolve(flag_key, evaluation_context, value::float)
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.resolve(flag_key, evaluation_context, value::string)
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        evaluation_context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        self.resolve(flag_key, evaluation_context, value::structure)
    }
}

pub(crate) fn error(code: EvaluationErrorCode, message: String) -> EvaluationError {
    EvaluationError {
        code,
        message: Some(message),
    }
}

fn code_of(error: FlagError) -> EvaluationErrorCode {
    match error {
        FlagError::Flag(ErrorCode::FlagNotFound) => EvaluationErrorCode::FlagNotFound,
        FlagError::Flag(ErrorCode::ParseError) => EvaluationErrorCode::ParseError,
        FlagError::Flag(ErrorCode::TargetingKeyMissing) => EvaluationErrorCode::TargetingKeyMissing,
        FlagError::TypeMismatch => EvaluationErrorCode::TypeMismatch,
        FlagError::NotReady | FlagError::Closed => EvaluationErrorCode::ProviderNotReady,
        FlagError::TenantNotLoaded => {
            EvaluationErrorCode::General(FlagError::TenantNotLoaded.as_str().to_owned())
        }
    }
}

fn reason_of(reason: Reason) -> EvaluationReason {
    match reason {
        Reason::Static => EvaluationReason::Static,
        Reason::Default => EvaluationReason::Default,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Split => EvaluationReason::Split,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Error => EvaluationReason::Error,
    }
}
