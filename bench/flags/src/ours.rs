//! Our evaluator, on a pinned view: by key and by handle.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use plane_eval::{Context, Signature, Source, View};
use plane_model::{
    ArtifactKind, ArtifactVersion, Digest, Document, DocumentKey, EnvironmentName, Kind, Timestamp,
};
use serde_json::{Value, json};

use crate::workload::{
    ATTRIBUTES, FLAGS, Field, PLAN, REGION, RULES, TENANTS, USER, Workload, key, others,
};

/// Ours, found by key.
pub const BY_KEY: &str = "ours by key";
/// Ours, by a handle that was found before.
pub const BY_HANDLE: &str = "ours by handle";

struct Nothing;

impl Source for Nothing {
    fn blob(&self, _: &Digest) -> Option<Arc<[u8]>> {
        None
    }

    fn signature(&self, _: ArtifactKind, _: &ArtifactVersion) -> Signature {
        Signature::Unsigned
    }
}

/// Enters our evaluator.
pub fn enter(field: &mut Field) -> Result<()> {
    let small: &'static View = Box::leak(Box::new(view([
        ("a".to_owned(), json!({"state": "enabled", "default": "on"})),
        ("b".to_owned(), rules(&json!([rule("b", &json!({"all": [
            {"attribute": "tenant_id", "in": TENANTS},
            {"attribute": "plan", "in": [PLAN]},
            {"attribute": "region", "starts_with": REGION},
        ]}))]))),
        ("c".to_owned(), json!({"state": "enabled", "default": {"percent": {"on": 25}}})),
    ])?));
    let large: &'static View = Box::leak(Box::new(view((0..FLAGS).map(|flag| {
        let all = (0..RULES).map(|number| rule(&format!("r{number}"), &json!({"all": [
            {"attribute": "region", "starts_with": REGION},
            {"attribute": "tenant_id", "in": others(flag, number)},
        ]})));
        (key(flag), rules(&all.collect()))
    }))?));
    // A pinned view knows its time; windows and ramps read it, and nothing else does.
    let now: Timestamp = "2026-06-01T00:00:00Z".parse()?;
    let ctx: &'static Context = Box::leak(Box::new(context()));
    for workload in Workload::ALL {
        let view = match workload {
            Workload::Hot | Workload::Turn => large,
            _ => small,
        };
        let by_key = move |key: &String| {
            let found = view.evaluate_key(black_box(key), black_box(ctx), now);
            found.as_bool().unwrap_or_default()
        };
        if workload == Workload::Context {
            field.enter(BY_KEY, workload, || black_box(context()).targeting_key().is_some());
            continue;
        }
        let handles: Option<Vec<_>> = workload.keys().iter().map(|key| view.flag(key)).collect();
        let handles = handles.ok_or_else(|| anyhow!("a flag is missing"))?;
        let by_handle = move |handle: &plane_eval::FlagHandle| {
            let found = view.evaluate(*black_box(handle), black_box(ctx), now);
            found.as_bool().unwrap_or_default()
        };
        if workload == Workload::Turn {
            field.enter_turns(BY_KEY, workload, workload.keys(), by_key);
            field.enter_turns(BY_HANDLE, workload, handles, by_handle);
        } else if let (Some(key), Some(handle)) = (workload.keys().pop(), handles.first().copied()) {
            field.enter(BY_KEY, workload, move || by_key(&key));
            field.enter(BY_HANDLE, workload, move || by_handle(&handle));
        }
    }
    Ok(())
}

fn context() -> Context {
    let mut ctx = Context::new().with_targeting_key(black_box(USER));
    for (name, value) in ATTRIBUTES {
        ctx.set(black_box(name), black_box(value));
    }
    ctx
}

fn rule(name: &str, when: &Value) -> Value {
    json!({"name": name, "if": when, "serve": "on"})
}

fn rules(rules: &Value) -> Value {
    json!({"state": "enabled", "rules": rules, "default": "off"})
}

fn view(flags: impl IntoIterator<Item = (String, Value)>) -> Result<View> {
    let mut documents = Vec::new();
    for (flag, targeting) in flags {
        documents.push(document(Kind::Flag, "", &flag, &json!({"type": "boolean"}))?);
        documents.push(document(Kind::Targeting, "production", &flag, &targeting)?);
    }
    let environment = EnvironmentName::new("production")?;
    let documents = documents.iter().map(|(key, document)| (key, 1, document));
    Ok(View::build(environment, 1, documents, &Nothing))
}

fn document(kind: Kind, scope: &str, name: &str, body: &Value) -> Result<(DocumentKey, Arc<Document>)> {
    let key = DocumentKey::new(kind, scope, name).map_err(|error| anyhow!("{error:?}"))?;
    let document = Document::parse(&key, body).map_err(|found| anyhow!("{key}: {found:?}"))?;
    Ok((key, Arc::new(document)))
}
