//! What the steps of a scenario do.

use control_plane_openfeature::Provider;
use open_feature::{
    Client, EvaluationContext, EvaluationError, EvaluationReason, OpenFeature, StructValue,
    Value as SdkValue,
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
}

/// What the steps of a scenario share.
pub(crate) struct World<'a> {
    memory: &'a InMemory,
    client: Option<Client>,
    kind: String,
    key: String,
    fallback: Value,
    ctx: EvaluationContext,
    outcome: Option<Outcome>,
}

impl<'a> World<'a> {
    pub(crate) fn new(memory: &'a InMemory) -> Self {
        Self {
            memory,
            client: None,
            kind: String::new(),
            key: String::new(),
            fallback: Value::Null,
            ctx: EvaluationContext::default(),
            outcome: None,
        }
    }

    /// Takes a step; says what is wrong with it.
    pub(crate) async fn take(&mut self, step: &Step) -> Result<(), String> {
        let (words, quoted) = parts(&step.text);
        let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
        match (words.as_str(), quoted.as_slice()) {
            ("a stable provider", []) => {
                let provider = Provider::new(&self.memory.control_plane()).unwrap();
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
            ("the flag was evaluated with details", []) => self.evaluate().await?,
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
        let (key, ctx) = (self.key.as_str(), Some(&self.ctx));
        let found = match self.kind.as_str() {
            "boolean" => read(
                client
                    .get_bool_details(key, ctx, None)
                    .await
                    .map(|it| it.into_value()),
            ),
            "integer" => read(
                client
                    .get_int_details(key, ctx, None)
                    .await
                    .map(|it| it.into_value()),
            ),
            "float" => read(
                client
                    .get_float_details(key, ctx, None)
                    .await
                    .map(|it| it.into_value()),
            ),
            "string" => read(
                client
                    .get_string_details(key, ctx, None)
                    .await
                    .map(|it| it.into_value()),
            ),
            _ => {
                let found = client
                    .get_struct_details::<StructValue>(key, ctx, None)
                    .await;
                read(found.map(|it| it.into_value()))
            }
        };
        self.outcome = Some(found.unwrap_or_else(|error| Outcome {
            value: self.fallback.clone(),
            variant: None,
            reason: EvaluationReason::Error.to_string(),
            error: Some(error.code.to_string()),
        }));
        Ok(())
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
