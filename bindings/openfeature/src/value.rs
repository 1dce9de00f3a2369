//! Values of flags as the SDK has them; what does not fit is given back.

use open_feature::{StructValue, Value as SdkValue};
use serde_json::Value;

pub(crate) fn boolean(value: Value) -> Result<bool, Value> {
    value.as_bool().ok_or(value)
}

/// A number that is written without a fraction; `1.0` is the value of a flag of another type.
pub(crate) fn integer(value: Value) -> Result<i64, Value> {
    value.as_i64().ok_or(value)
}

pub(crate) fn float(value: Value) -> Result<f64, Value> {
    value.as_f64().ok_or(value)
}

pub(crate) fn string(value: Value) -> Result<String, Value> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(other),
    }
}

/// An object, unless null is in it, for which the SDK has no value.
pub(crate) fn structure(value: Value) -> Result<StructValue, Value> {
    match to_sdk(&value) {
        Some(SdkValue::Struct(fields)) => Ok(fields),
        _ => Err(value),
    }
}

fn to_sdk(value: &Value) -> Option<SdkValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => SdkValue::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => SdkValue::Int(whole),
            None => SdkValue::Float(number.as_f64()?),
        },
        Value::String(text) => SdkValue::String(text.clone()),
        Value::Array(items) => SdkValue::Array(items.iter().map(to_sdk).collect::<Option<_>>()?),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, it)| Some((name.clone(), to_sdk(it)?)));
            SdkValue::Struct(StructValue {
                fields: fields.collect::<Option<_>>()?,
            })
        }
    })
}

/// A structure of the SDK as JSON.
pub(crate) fn of_structure(value: &StructValue) -> Value {
    let fields = value.fields.iter();
    Value::Object(
        fields
            .map(|(name, it)| (name.clone(), from_sdk(it)))
            .collect(),
    )
}

fn from_sdk(value: &SdkValue) -> Value {
    match value {
        SdkValue::Bool(value) => (*value).into(),
        SdkValue::Int(value) => (*value).into(),
        SdkValue::Float(value) => (*value).into(),
        SdkValue::String(value) => value.as_str().into(),
        SdkValue::Array(items) => items.iter().map(from_sdk).collect(),
        SdkValue::Struct(value) => of_structure(value),
    }
}
