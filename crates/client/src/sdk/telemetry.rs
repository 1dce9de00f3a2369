//! What was evaluated, told to whoever records it: an event for each evaluation, as OpenTelemetry's conventions name it.
//!
//! It is an event of `tracing`, of the level DEBUG and the target `feature_flag`: a subscriber that is not interested costs
//! one look at a number. Whom it was evaluated for is not in it. How many are kept is up to who records them.

use plane_eval::{Evaluation, Override, Reason};
use plane_model::{EnvironmentName, VariantName};
use tracing::Level;

/// The name of the event.
const NAME: &str = "feature_flag.evaluation";
/// What its source is called.
const PROVIDER: &str = "control-plane";

/// Tells of an evaluation.
#[inline]
pub(crate) fn evaluated(
    environment: &EnvironmentName,
    revision: u64,
    flag: &str,
    evaluation: &Evaluation<'_>,
) {
    if is_wanted() {
        let detail = evaluation.error_detail();
        let told = Told {
            flag,
            variant: evaluation.variant().map(VariantName::as_str),
            reason: evaluation.reason(),
            error: evaluation.error().map(plane_eval::ErrorCode::as_str),
            error_detail: detail.as_deref(),
        };
        told.tell(environment, revision);
    }
}

/// Tells of the flags that a resolve evaluated.
#[inline]
pub(crate) fn resolved(environment: &EnvironmentName, revision: u64, overrides: &[Override]) {
    if is_wanted() {
        for given in overrides {
            let told = Told {
                flag: given.flag.as_str(),
                variant: given.variant.as_ref().map(VariantName::as_str),
                reason: given.reason,
                error: None,
                error_detail: None,
            };
            told.tell(environment, revision);
        }
    }
}

#[inline]
fn is_wanted() -> bool {
    tracing::enabled!(target: "feature_flag", Level::DEBUG)
}

struct Told<'a> {
    flag: &'a str,
    variant: Option<&'a str>,
    reason: Reason,
    error: Option<&'static str>,
    error_detail: Option<&'a str>,
}

impl Told<'_> {
    #[cold]
    fn tell(&self, environment: &EnvironmentName, revision: u64) {
        let reason = self.reason.as_str().to_ascii_lowercase();
        let is_error = self.reason == Reason::Error;
        let error = self.error.or(is_error.then_some("GENERAL"));
        let error = error.map(str::to_ascii_lowercase);
        tracing::event!(
            name: NAME,
            target: "feature_flag",
            Level::DEBUG,
            feature_flag.key = self.flag,
            feature_flag.provider.name = PROVIDER,
            feature_flag.set.id = environment.as_str(),
            feature_flag.version = revision.to_string(),
            feature_flag.result.reason = reason,
            feature_flag.result.variant = self.variant,
            "error.type" = error,
            feature_flag.error.message = self.error_detail,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::super::{Context, ControlPlane};

    type Seen = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

    /// Keeps what is told of evaluations, and wants nothing else.
    struct Recorder(Seen);

    #[derive(Default)]
    struct Fields(BTreeMap<String, String>);

    impl Visit for Fields {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name().to_owned(), value.to_owned());
        }

        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.insert(field.name().to_owned(), format!("{value:?}"));
        }
    }

    impl Subscriber for Recorder {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "feature_flag"
        }

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            fields
                .0
                .insert("name".to_owned(), event.metadata().name().to_owned());
            self.0.lock().unwrap().push(fields.0);
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn each_evaluation_is_an_event_as_opentelemetry_names_it() {
        let memory = ControlPlane::in_memory();
        memory.flag("checkout", true).unwrap();
        let plane = memory.control_plane();
        let ctx = Context::new().with_user("somebody");
        let revision = plane
            .wait_ready(std::time::Duration::ZERO)
            .unwrap()
            .to_string();
        let seen = Seen::default();
        tracing::subscriber::with_default(Recorder(seen.clone()), || {
            assert!(plane.is_enabled("checkout", &ctx, false));
            plane.evaluate("checkout", &ctx, false);
            plane.evaluate("no_such_flag", &ctx, false);
        });
        plane.is_enabled("checkout", &ctx, false);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0], seen[1]);
        let told = |at: usize, name: &str| seen[at].get(name).map(String::as_str);
        for (name, value) in [
            ("name", "feature_flag.evaluation"),
            ("feature_flag.key", "checkout"),
            ("feature_flag.provider.name", "control-plane"),
            ("feature_flag.version", &revision),
            ("feature_flag.result.reason", "static"),
        ] {
            assert_eq!(told(0, name), Some(value), "{name}");
        }
        assert!(told(0, "feature_flag.result.variant").is_some());
        assert_eq!(told(0, "error.type"), None);
        assert_eq!(told(2, "error.type"), Some("flag_not_found"));
        assert_eq!(told(2, "feature_flag.result.reason"), Some("error"));
        assert_eq!(told(2, "feature_flag.result.variant"), None);
        assert!(!format!("{seen:?}").contains("somebody"));
    }
}
