//! How often flags are evaluated, and by whom.

use plane_api::{FlagUsageReply, UsageReply, UsageRequest};
use plane_eval::Reason;
use plane_model::documents::Flag;
use plane_model::{Code, Document, DocumentKey, FlagKey, VariantName, Violation, Violations};

use super::instances::environment;
use crate::call::{Answer, Call, json};
use crate::failure::Failure;

/// How often instances are asked to say what they have counted.
const AGAIN_SECONDS: u64 = 60;
/// How many counts there may be at once, and how long a name may be.
const COUNTS_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 256;

/// Takes down what an instance has counted.
pub(super) async fn report(call: Call) -> Answer {
    let environment = call.environment()?;
    let request: UsageRequest = call.read()?;
    check(&request)?;
    let (node, usage) = (call.node(), call.app().usage().await?);
    let snapshot = node.snapshot();
    if usage.add(node, &environment, &request) {
        for it in &request.counts {
            let key = FlagKey::new(&it.flag).ok();
            let key = key.map(|it| DocumentKey::flag(&it));
            let document = key.and_then(|key| snapshot.state().document(&key).cloned());
            let flag = match document.as_deref() {
                Some(Document::Flag(flag)) => Some(&**flag),
                _ => None,
            };
            // Only what is there has counters of its own: what services say is not bounded.
            let known = flag.is_some_and(|flag| has_variant(flag, &it.variant));
            let variant = if known { it.variant.as_str() } else { "" };
            let reason = reason(&it.reason).unwrap_or(Reason::Error);
            let name = flag.map(|_| it.flag.as_str());
            let metrics = &call.app().metrics;
            metrics.evaluated_elsewhere(name, variant, reason, it.count);
        }
    }
    let revision = snapshot.revision();
    let reply = UsageReply {
        revision,
        again_seconds: AGAIN_SECONDS,
    };
    json(revision, &reply)
}

fn has_variant(flag: &Flag, variant: &str) -> bool {
    let has = |name: &VariantName| flag.all_variants().contains_key(name);
    VariantName::new(variant).is_ok_and(|name| has(&name))
}

fn reason(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|it| it.as_str() == text)
}

fn check(request: &UsageRequest) -> Result<(), Failure> {
    let mut found = Violations::new();
    let mut bounded = |pointer: &str, text: &str, least: usize| {
        let is_bad = text.len() < least || text.len() > NAME_BYTES_MAX;
        if is_bad || text.chars().any(char::is_control) {
            let detail =
                format!("expected {least} to {NAME_BYTES_MAX} bytes without control characters");
            let violation = Violation::new(Code::FieldInvalid, pointer, detail);
            found.push(violation.next("shorten it, or leave out what is optional"));
        }
    };
    bounded("/service", &request.service, 1);
    bounded("/service_version", &request.service_version, 0);
    bounded("/batch", &request.batch, 1);
    for (at, it) in request.counts.iter().enumerate().take(COUNTS_MAX) {
        bounded(&format!("/counts/{at}/flag"), &it.flag, 1);
        bounded(&format!("/counts/{at}/variant"), &it.variant, 0);
    }
    for (at, it) in request.counts.iter().enumerate().take(COUNTS_MAX) {
        if reason(&it.reason).is_none() {
            let known: Vec<_> = Reason::ALL.iter().map(|it| it.as_str()).collect();
            let pointer = format!("/counts/{at}/reason");
            let violation = Violation::new(Code::FieldInvalid, &pointer, "there is no such reason");
            found.push(violation.next(format!("write one of {}", known.join(", "))));
        }
    }
    if request.counts.len() > COUNTS_MAX {
        let detail = format!("{} counts, and at most {COUNTS_MAX}", request.counts.len());
        let violation = Violation::new(Code::LimitExceeded, "/counts", detail);
        found.push(violation.next("send them in several batches"));
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(found.into())
    }
}

/// Says who evaluates a flag.
pub(super) async fn of_flag(call: Call) -> Answer {
    let flag = call.param("flag")?;
    let asked = match call.query().get("environment") {
        Some(text) => Some(environment(&call, text)?),
        None => None,
    };
    let (node, scope) = (call.node(), call.scope());
    let usage = call.app().usage().await?;
    let usage = usage.of_flag(flag, node.now(), |environment| {
        asked.as_ref().is_none_or(|it| it == environment) && scope.sees_environment(environment)
    });
    let snapshot = node.snapshot();
    let key = FlagKey::new(flag).map(|key| DocumentKey::flag(&key));
    let is_there = key.is_ok_and(|key| scope.sees(&key) && snapshot.state().entry(&key).is_some());
    if usage.is_empty() && !is_there {
        let detail = format!("there is no flag `{flag}`, and nobody asks for one");
        return Err(
            Failure::new(Code::NotFound, detail).next("`control-plane flag list` shows the flags")
        );
    }
    let revision = snapshot.revision();
    let reply = FlagUsageReply {
        flag: flag.to_owned(),
        revision,
        count: usage.iter().fold(0, |sum, it| it.count.saturating_add(sum)),
        last_at: usage.iter().map(|it| it.last_at).max(),
        usage,
    };
    json(revision, &reply)
}
