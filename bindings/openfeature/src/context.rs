//! Contexts as `OpenFeature` has them, read into ours.

use std::any::Any;
use std::collections::HashMap;

use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationResult,
    StructValue,
};
use plane_client::sdk::Context;
use plane_model::Timestamp;
use serde_json::{Map, Value};

use crate::provider::error;
use crate::value;

/// Reads a context: `tenant`, `user`, `agent` and `conversation` are what they are everywhere in the
/// control plane, all else is an attribute.
pub(crate) fn read(ctx: &EvaluationContext) -> EvaluationResult<Context> {
    let fields = ctx.custom_fields.iter();
    let fields = fields.map(|(name, field)| Ok((name.clone(), read_field(name, field)?)));
    let mut fields = fields.collect::<EvaluationResult<Map<_, _>>>()?;
    // What the SDK calls the targeting key is no field beside it.
    fields.remove("targetingKey");
    if let Some(key) = &ctx.targeting_key {
        fields.insert("targetingKey".to_owned(), key.as_str().into());
    }
    Context::parse_flat(&Value::Object(fields)).map_err(|found| {
        let details: Vec<String> = found.iter().map(ToString::to_string).collect();
        error(EvaluationErrorCode::InvalidContext, details.join("; "))
    })
}

fn read_field(name: &str, field: &EvaluationContextFieldValue) -> EvaluationResult<Value> {
    Ok(match field {
        EvaluationContextFieldValue::Bool(value) => (*value).into(),
        EvaluationContextFieldValue::Int(value) => (*value).into(),
        // What is not finite is null in JSON, and so an attribute that is missing.
        EvaluationContextFieldValue::Float(value) => (*value).into(),
        EvaluationContextFieldValue::String(value) => value.as_str().into(),
        EvaluationContextFieldValue::DateTime(value) => {
            let ms = value.unix_timestamp_nanos() / 1_000_000;
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            Timestamp(ms).to_string().into()
        }
        EvaluationContextFieldValue::Struct(value) => {
            read_structure(&**value).ok_or_else(|| {
                error(
                    EvaluationErrorCode::InvalidContext,
                    format!(
                        "`{name}` holds a type that is not known here; give a `serde_json::Value`, \
                         a `StructValue` or a map of strings"
                    ),
                )
            })?
        }
    })
}

/// The SDK passes structures as any type at all: those that are known can be read.
fn read_structure(value: &(dyn Any + Send + Sync)) -> Option<Value> {
    if let Some(value) = value.downcast_ref::<Value>() {
        Some(value.clone())
    } else if let Some(fields) = value.downcast_ref::<Map<String, Value>>() {
        Some(Value::Object(fields.clone()))
    } else if let Some(value) = value.downcast_ref::<StructValue>() {
        Some(value::of_structure(value))
    } else {
        let fields = value.downcast_ref::<HashMap<String, String>>()?;
        let fields = fields
            .iter()
            .map(|(name, it)| (name.clone(), it.as_str().into()));
        Some(Value::Object(fields.collect()))
    }
}
