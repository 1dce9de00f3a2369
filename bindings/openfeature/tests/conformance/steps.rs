//! What the steps of a scenario do.

use std::sync::{Arc, Mutex};

use control_plane_openfeature::Provider;
use open_feature::{
    Client, EvaluationContext, EvaluationDetails, EvaluationError, EvaluationOptions,
    EvaluationReason, FlagMetadata, FlagMetadataValue, Hook, HookContext, HookHints, OpenFeature,
    StructValue, Value as SdkValue, async_trait,
};
use plane_client::ControlPlane;
use plane_client::sdk::InMemory;
use serde_json::Value;

use crate::gherkin::Step;

/// What an evaluation gave, with the scenario's fallback where the SDK gives an error.
#[derive(Debug)]
struct Outcome {
    value: Value,
    variant: Option<String>,
    reason: String,
    error: Option<String>,
    metadata: FlagMetadata,
}

/// A hook that notes which of its stages ran.
struct Recorder {
    name: &'static str,
    ran: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn note(&self, stage: &str) {
        self.ran
            .lock()
            .unwrap()
            .push(format!("{stage} {}", self.name));
    }
}

#[async_trait]
impl Hook for Recorder {
    async fn before<'a>(
        &self,
        _: &HookContext<'a>,
        _: Option<&'a HookHints>,
    ) -> Result<Option<EvaluationContext>, EvaluationError> {
        self.note("before");
        Ok(None)
    }

    async fn after<'a>(
        &self,
        _: &HookContext<'a>,
        _: &EvaluationDetails<SdkValue>,
        _: Option<&'a HookHints>,
    ) -> Result<(), EvaluationError> {
        self.note("after");
        Ok(())
    }

    async fn error<'a>(&self, _: &HookContext<'a>, _: &EvaluationError, _: Option<&'a HookHints>) {
        self.note("error");
    }

    async fn finally<'a>(
        &self,
        _: &HookContext<'a>,
        _: &EvaluationDetails<SdkValue>,
        _: Option<&'a HookHints>,
    ) {
        self.note("finally");
    }
}

/// What the steps of a scenario share.
pub(crate) struct World<'a> {
    memory: &'a InMemory,
    only_flag_metadata: bool,
    client: Option<Client>,
    kind: String,
    key: String,
    fallback: Value,
    ctx: EvaluationContext,
    options: EvaluationOptions,
    /// What ran of the hooks among the options.
    ran: Arc<Mutex<Vec<String>>>,
    outcome: Option<Outcome>,
}

impl<'a> World<'a> {
    pub(crate) fn new(memory: &'a InMemory, only_flag_metadata: bool) -> Self {
        Self {
            memory,
            only_flag_metadata,
            client: None,
            kind: String::new(),
            key: String::new(),
            fallback: Value::Null,
            ctx: EvaluationContext::default(),
            options: EvaluationOptions::default(),
            ran: Arc::default(),
            outcome: None,
        }
    }

    /// Takes a step; says what is wrong with it.
    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), String> {
        let (words, quoted) = parts(&step.text);
        let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
        match (words.as_str(), quoted.as_slice()) {
            ("a stable provider", []) => {
                let mut provider = Provider::new(&self.memory.control_plane()).unwrap();
                if self.only_flag_metadata {
                    provider = provider.only_flag_metadata();
                }
                self.register(provider).await;
            }
            ("a not ready provider", []) => {
                // Nobody listens on port 1, and nobody waits for long.
                let plane = ControlPlane::builder()
                    .url("http://127.0.0.1:1")
                    .token("cp_none");
                let plane = plane.environment("test").build().unwrap();
                let provider = Provider::new(&plane).unwrap();
                self.register(provider.timeout(std::time::Duration::from_millis(1)))
                    .await;
            }
            (words, [key, fallback]) if words.contains("-flag with key") => {
                let kind = words
                    .split_once("-flag")
                    .map(|(it, _)| it)
                    .unwrap_or_default();
                self.kind = kind.trim_start_matches("a ").to_ascii_lowercase();
                self.key = (*key).to_owned();
                self.fallback = typed(&self.kind, fallback)?;
            }
            ("a context containing a key , with type and with value", [key, kind, value]) => {
                let ctx = std::mem::take(&mut self.ctx);
                self.ctx = match typed(&kind.to_ascii_lowercase(), value)? {
                    Value::Bool(value) => ctx.with_custom_field(*key, value),
                    Value::Number(number) => match number.as_i64() {
                        Some(whole) => ctx.with_custom_field(*key, whole),
                        None => ctx.with_custom_field(*key, number.as_f64().unwrap_or_default()),
                    },
                    other => ctx.with_custom_field(*key, other.as_str().unwrap_or_default()),
                };
            }
            // The SDK has no such value: it is the same as a key that is not there.
            ("a context containing a key with null value", [_]) => {}
            // Every evaluation of this SDK is asynchronous.
            (
                "the flag was evaluated with details"
                | "the flag was evaluated with details asynchronously"
                | "the flag was evaluated with details using the evaluation options",
                [],
            ) => self.evaluate().await?,
            ("the evaluation should complete without blocking", []) => {
                self.outcome.as_ref().ok_or("nothing was evaluated")?;
            }
            ("evaluation options containing specific hooks", []) => {
                for name in ["first", "second"] {
                    let ran = Arc::clone(&self.ran);
                    let options = std::mem::take(&mut self.options);
                    self.options = options.with_hook(Recorder { name, ran });
                }
            }
            (
                "the specified hooks should execute during evaluation"
                | "the hook order should be maintained",
                [],
            ) => {
                let ran = self.ran.lock().unwrap().join(", ");
                let expected = "before first, before second, after second, after first, \
                                finally second, finally first";
                if ran != expected {
                    return Err(format!("the hooks ran as {ran}"));
                }
            }
            ("the resolved metadata should contain", []) => {
                for row in step.table.iter().skip(1) {
                    self.compare_metadata(row)?;
                }
            }
            ("the resolved metadata is empty", []) => {
                let outcome = self.outcome.as_ref().ok_or("nothing was evaluated")?;
                if !outcome.metadata.values.is_empty() {
                    return Err(format!("they are {:?}", outcome.metadata));
                }
            }
            ("the resolved details value should be", [value]) => {
                let expected = typed(&self.kind, value)?;
                self.compare(&expected, |it| it.value.clone())?;
            }
            ("the reason should be", [reason]) => {
                self.compare(&Value::from(*reason), |it| it.reason.clone().into())?;
            }
            ("the variant should be", [variant]) => {
                self.compare(&Value::from(*variant), |it| it.variant.clone().into())?;
            }
            ("the error-code should be", [code]) => {
                self.compare(&Value::from(*code), |it| it.error.clone().into())?;
            }
            ("the flag key should be", [key]) if *key == self.key => {}
            (words, _) => return Err(format!("there is no such step: {words}")),
        }
        Ok(())
    }

    async fn register(&mut self, provider: Provider) {
        let mut api = OpenFeature::default();
        api.set_provider(provider).await;
        self.client = Some(api.create_client());
    }

    async fn evaluate(&mut self) -> Result<(), String> {
        let client = self.client.as_ref().ok_or("there is no provider")?;
        let (key, ctx, options) = (self.key.as_str(), Some(&self.ctx), Some(&self.options));
        let found = match self.kind.as_str() {
            "boolean" => read(
                client
                    .get_bool_details(key, ctx, options)
                    .await
                    .map(|it| it.into_value()),
            ),
            "integer" => read(
                client
                    .get_int_details(key, ctx, options)
                    .await
                    .map(|it| it.into_value()),
            ),
            "float" => read(
                client
                    .get_float_details(key, ctx, options)
                    .await
                    .map(|it| it.into_value()),
            ),
            "string" => read(
                client
                    .get_string_details(key, ctx, options)
                    .await
                    .map(|it| it.into_value()),
            ),
            _ => {
                let found = client
                    .get_struct_details::<StructValue>(key, ctx, options)
                    .await;
                read(found.map(|it| it.into_value()))
            }
        };
        self.outcome = Some(found.unwrap_or_else(|error| Outcome {
            value: self.fallback.clone(),
            variant: None,
            reason: EvaluationReason::Error.to_string(),
            error: Some(error.code.to_string()),
            metadata: FlagMetadata::default(),
        }));
        Ok(())
    }

    /// Looks for what a row says: a name, a type and a value.
    fn compare_metadata(&self, row: &[String]) -> Result<(), String> {
        let [name, kind, value] = row else {
            return Err(format!("a row of {} cells", row.len()));
        };
        let outcome = self.outcome.as_ref().ok_or("nothing was evaluated")?;
        let found = outcome.metadata.values.get(name);
        let expected = match typed(&kind.to_ascii_lowercase(), value)? {
            Value::Bool(value) => FlagMetadataValue::Bool(value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => FlagMetadataValue::Int(whole),
                None => FlagMetadataValue::Float(number.as_f64().unwrap_or_default()),
            },
            other => FlagMetadataValue::String(other.as_str().unwrap_or_default().to_owned()),
        };
        match found {
            Some(found) if *found == expected => Ok(()),
            _ => Err(format!("`{name}` is {found:?}")),
        }
    }

    fn compare(&self, expected: &Value, of: impl Fn(&Outcome) -> Value) -> Result<(), String> {
        let outcome = self.outcome.as_ref().ok_or("nothing was evaluated")?;
        let found = of(outcome);
        if found == *expected {
            return Ok(());
        }
        Err(format!("found {found} in {outcome:?}"))
    }
}

fn read(
    found: Result<open_feature::EvaluationDetails<SdkValue>, EvaluationError>,
) -> Result<Outcome, EvaluationError> {
    let details = found?;
    Ok(Outcome {
        value: plain(&details.value),
        variant: details.variant,
        reason: details.reason.unwrap_or_default().to_string(),
        error: None,
        metadata: details.flag_metadata,
    })
}

fn plain(value: &SdkValue) -> Value {
    match value {
        SdkValue::Bool(value) => (*value).into(),
        SdkValue::Int(value) => (*value).into(),
        SdkValue::Float(value) => (*value).into(),
        SdkValue::String(value) => value.as_str().into(),
        SdkValue::Array(items) => items.iter().map(plain).collect(),
        SdkValue::Struct(value) => {
            let fields = value.fields.iter();
            Value::Object(fields.map(|(name, it)| (name.clone(), plain(it))).collect())
        }
    }
}

/// Splits a step into its words and what stands in quotes, in which `\"` is a quote.
fn parts(text: &str) -> (String, Vec<String>) {
    let (mut words, mut quoted) = (String::new(), Vec::new());
    let mut chars = text.chars();
    let mut open: Option<String> = None;
    while let Some(next) = chars.next() {
        match (&mut open, next) {
            (Some(_), '"') => quoted.extend(open.take()),
            (Some(inner), '\\') => inner.extend(chars.next()),
            (Some(inner), other) => inner.push(other),
            (None, '"') => open = Some(String::new()),
            (None, other) => words.push(other),
        }
    }
    let words: Vec<&str> = words.split_whitespace().collect();
    (words.join(" "), quoted)
}

fn typed(kind: &str, text: &str) -> Result<Value, String> {
    match kind {
        "string" => Ok(text.into()),
        // `0` for a float is the number that it is, with a point or without.
        "float" => text
            .parse::<f64>()
            .map(Value::from)
            .map_err(|it| it.to_string()),
        _ => serde_json::from_str(text).map_err(|it| format!("{text}: {it}")),
    }
}
