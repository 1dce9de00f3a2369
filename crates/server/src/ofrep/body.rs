//! The bodies of evaluations, written straight from them.

use std::io::Write as _;

use plane_eval::{ErrorCode, Evaluation};
use plane_model::VariantName;
use plane_model::documents::FlagType;
use serde::Serialize;
use serde_json::Value;

/// Bytes that a flag takes in most bodies.
const ENTRY_BYTES: usize = 160;

/// The body of a reply.
#[derive(Debug)]
pub(crate) struct Body {
    out: Vec<u8>,
    /// Whether a browser or a device asks, which is told what flags are and nothing of how they came about.
    is_client: bool,
}

impl Body {
    /// Begins a body of about so many flags.
    pub(crate) fn new(is_client: bool, flags: usize) -> Self {
        Self {
            out: Vec::with_capacity((flags + 1) * ENTRY_BYTES),
            is_client,
        }
    }

    /// Writes what a flag is, or why it has no result.
    pub(crate) fn flag(&mut self, key: &str, evaluation: &Evaluation<'_>, warning: Option<&str>) {
        self.out.extend_from_slice(b"{\"key\":");
        text(&mut self.out, key);
        match evaluation.error() {
            None => self.result(evaluation, warning),
            Some(error) => self.failure(error, evaluation),
        }
        self.out.push(b'}');
    }

    fn result(&mut self, evaluation: &Evaluation<'_>, warning: Option<&str>) {
        let out = &mut self.out;
        if let Some(given) = evaluation.value() {
            out.extend_from_slice(b",\"value\":");
            value(out, given, evaluation.flag_type());
        }
        member(
            out,
            "variant",
            evaluation.variant().map(VariantName::as_str),
        );
        member(out, "reason", Some(evaluation.reason().as_str()));
        out.extend_from_slice(b",\"metadata\":{\"revision\":");
        json(out, &evaluation.revision());
        member(out, "bucketing", Some(evaluation.bucketing().as_str()));
        if !self.is_client {
            member(out, "rule", evaluation.rule());
        }
        member(out, "warning", warning);
        // The names are none of ours: the model refuses those.
        for (name, said) in evaluation.metadata() {
            out.push(b',');
            text(out, name);
            out.push(b':');
            json(out, said);
        }
        out.push(b'}');
    }

    fn failure(&mut self, error: ErrorCode, evaluation: &Evaluation<'_>) {
        let detail = match error {
            // What is wrong with it may quote it.
            ErrorCode::ParseError if self.is_client => {
                Some("the flag contradicts itself; who wrote it can see how".to_owned())
            }
            _ => evaluation.error_detail(),
        };
        member(&mut self.out, "errorCode", Some(error.as_str()));
        let detail = detail.as_deref().unwrap_or_default();
        member(&mut self.out, "errorDetails", Some(detail));
    }

    /// Writes several flags as the list of all of them, and what there is to say beside it.
    pub(crate) fn flags<'e>(
        &mut self,
        flags: impl IntoIterator<Item = (&'e str, &'e Evaluation<'e>)>,
        environment: &str,
        warning: Option<&str>,
        events: Option<&str>,
    ) {
        self.out.extend_from_slice(b"{\"flags\":[");
        for (place, (key, evaluation)) in flags.into_iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            self.flag(key, evaluation, None);
        }
        let out = &mut self.out;
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
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.out
    }
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
