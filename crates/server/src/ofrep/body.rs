//! The bodies of evaluations, written straight from them.

use std::io::Write as _;

use plane_eval::Evaluation;
use plane_model::documents::FlagType;
use serde::Serialize;
use serde_json::Value;

/// Bytes that a flag takes in most bodies.
const ENTRY_BYTES: usize = 160;

/// The bodies of several flags, one after the other.
#[derive(Debug)]
pub(crate) struct Entries(Vec<u8>);

impl Entries {
    /// Begins a list of about so many flags.
    pub(crate) fn begin(count: usize) -> Self {
        let mut bytes = Vec::with_capacity((count + 4) * ENTRY_BYTES);
        bytes.extend_from_slice(b"{\"flags\":[");
        Self(bytes)
    }

    /// Adds a flag.
    pub(crate) fn push(&mut self, key: &str, evaluation: &Evaluation<'_>) {
        if self.0.last() == Some(&b'}') {
            self.0.push(b',');
        }
        if evaluation.error().is_some() {
            failed_entry(&mut self.0, key, evaluation);
        } else {
            entry(&mut self.0, key, evaluation, None);
        }
    }

    /// Ends the list, and adds what there is to say beside it.
    pub(crate) fn finish(
        mut self,
        environment: &str,
        warning: Option<&str>,
        events: Option<&str>,
    ) -> Vec<u8> {
        let out = &mut self.0;
        out.extend_from_slice(b"],\"metadata\":{\"environment\":");
        text(out, environment);
        member(out, "warning", warning);
        out.push(b'}');
        if let Some(uri) = events {
            out.extend_from_slice(
                b",\"eventStreams\":[{\"type\":\"sse\",\"endpoint\":{\"requestUri\":",
            );
            text(out, uri);
            out.extend_from_slice(b"},\"inactivityDelaySec\":120}]");
        }
        out.push(b'}');
        self.0
    }
}

/// Writes what a flag is.
pub(crate) fn entry(
    out: &mut Vec<u8>,
    key: &str,
    evaluation: &Evaluation<'_>,
    warning: Option<&str>,
) {
    out.extend_from_slice(b"{\"key\":");
    text(out, key);
    if let Some(given) = evaluation.value() {
        out.extend_from_slice(b",\"value\":");
        value(out, given, evaluation.flag_type());
    }
    member(
        out,
        "variant",
        evaluation.variant().map(plane_model::VariantName::as_str),
    );
    member(out, "reason", Some(evaluation.reason().as_str()));
    out.extend_from_slice(b",\"metadata\":{\"revision\":");
    json(out, &evaluation.revision());
    member(out, "bucketing", Some(evaluation.bucketing().as_str()));
    member(out, "rule", evaluation.rule());
    member(out, "warning", warning);
    out.extend_from_slice(b"}}");
}

/// Writes why a flag has no result.
pub(crate) fn failed_entry(out: &mut Vec<u8>, key: &str, evaluation: &Evaluation<'_>) {
    out.extend_from_slice(b"{\"key\":");
    text(out, key);
    let code = evaluation
        .error()
        .map_or("GENERAL", plane_eval::ErrorCode::as_str);
    member(out, "errorCode", Some(code));
    member(
        out,
        "errorDetails",
        Some(&evaluation.error_detail().unwrap_or_default()),
    );
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, value: &Value, kind: Option<FlagType>) {
    match (value, kind) {
        // Clients of some languages take `1` for an integer, and refuse it as a float.
        (Value::Number(number), Some(FlagType::Float)) => json(out, &number.as_f64()),
        _ => json(out, value),
    }
}

/// Writes a further member of an object; nothing if there is no value.
fn member(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        text(out, value);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' || byte == b' ';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        json(out, text);
    }
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let begun = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing to memory does not fail, and neither do values that were read from JSON.
        out.truncate(begun);
        drop(out.write_all(b"null"));
    }
}
