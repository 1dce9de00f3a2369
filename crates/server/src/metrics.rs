//! Metrics in the Prometheus text format: what happens, counted; what is, read when asked.

mod evaluations;
mod reading;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plane_api::{AlertRule, Operation, SignatureState, status};
use plane_eval::Reason;
use plane_model::{ArtifactKind, Code};
use plane_node::{Node, ScheduleCounts};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::failure::Failure;

use evaluations::Evaluations;
pub(crate) use evaluations::{Asker, Given, Served};

/// How many versions have counters of deprecated uses of their own.
const VERSIONS_MAX: usize = 2_000;
/// What comes of schedules that are due.
const RAN: &str = "ran";
/// The same.
const FAILED: &str = "failed";
/// The name that stands for all that are beyond a limit.
const OTHER: &str = "__other__";
/// One in so many evaluations is timed, so that reading the clock does not slow the others.
const TIMED_ONE_IN: u64 = 128;

const EVALUATION_BUCKETS: [f64; 13] = [
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2,
];
const LOOKUP_BUCKETS: [f64; 13] = [
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 1e-1, 0.5, 1.0,
];
const PROPAGATION_BUCKETS: [f64; 12] = [
    5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0, 60.0, 300.0,
];
const HTTP_BUCKETS: [f64; 12] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0,
];

/// What can be wrong with stored manifests.
const INTEGRITY: [Code; 3] = [
    Code::ManifestMissing,
    Code::DigestMismatch,
    Code::SignatureInvalid,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reload {
    source: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Rule {
    rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Killed {
    environment: String,
    subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lookup {
    kind: &'static str,
    result: &'static str,
}

const AGENT_HIT: Lookup = Lookup {
    kind: "agent",
    result: "hit",
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tenants {
    environment: String,
    kind: &'static str,
    asset: String,
    version: String,
    lifecycle: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alert {
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Used {
    kind: String,
    asset: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Http {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldUp {
    limit: &'static str,
}

/// The limit that held a request up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// Requests a second by one token.
    Token,
    /// Requests a second from one address without a valid token.
    Address,
    /// Connections.
    Connections,
    /// Memory for bodies.
    BodiesMemory,
}

impl Refused {
    const ALL: [Self; 4] = [
        Self::Token,
        Self::Address,
        Self::Connections,
        Self::BodiesMemory,
    ];

    const fn labels(self) -> HeldUp {
        let limit = match self {
            Self::Token => "token_rate",
            Self::Address => "address_rate",
            Self::Connections => "connections",
            Self::BodiesMemory => "bodies_memory",
        };
        HeldUp { limit }
    }
}

type Histograms = Family<Route, Histogram, fn() -> Histogram>;

/// What the server counts.
pub(crate) struct Metrics {
    registry: Registry,
    reloads: Family<Reload, Counter>,
    last_reload_successful: Gauge,
    last_reload_at: Gauge,
    validation_failures: Family<Rule, Counter>,
    propagation: Histogram,
    evaluations: Evaluations,
    evaluations_elsewhere: Evaluations,
    evaluation_duration: Histogram,
    evaluations_begun: AtomicU64,
    kill_switches: Family<Killed, Gauge>,
    lookups: Family<Lookup, Counter>,
    /// That of `lookups` which every good resolve increases.
    agent_hits: Counter,
    lookup_duration: Histogram,
    signatures: Family<Outcome, Counter>,
    integrity_failures: Family<Cause, Counter>,
    asset_tenants: Family<Tenants, Gauge>,
    deprecated_uses: Family<Used, Counter>,
    alerts: Family<Alert, Counter>,
    schedules: Family<Outcome, Counter>,
    versions_seen: Mutex<HashSet<String>>,
    http_requests: Family<Http, Counter>,
    http_duration: Histograms,
    http_held_up: Family<HeldUp, Counter>,
    http_bodies_memory: Gauge,
    revision: Gauge,
    documents: Gauge,
    streams: Gauge,
    observations_dropped: Gauge,
    /// What was read last, so that the next reading tells what is new.
    read: Mutex<LastRead>,
}

#[derive(Debug)]
struct LastRead {
    revision: u64,
    anomalies: u64,
    schedules: ScheduleCounts,
    /// The revision that the gauges about documents are of.
    gauges: Option<u64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new(node: &Node) -> Self {
        let status = node.status();
        let lookups: Family<Lookup, Counter> = Family::default();
        let agent_hits = lookups.get_or_create(&AGENT_HIT).clone();
        let mut metrics = Self {
            registry: Registry::with_prefix("control_plane"),
            reloads: Family::default(),
            last_reload_successful: Gauge::default(),
            last_reload_at: Gauge::default(),
            validation_failures: Family::default(),
            propagation: Histogram::new(PROPAGATION_BUCKETS),
            evaluations: Evaluations::default(),
            evaluations_elsewhere: Evaluations::default(),
            evaluation_duration: Histogram::new(EVALUATION_BUCKETS),
            evaluations_begun: AtomicU64::new(0),
            kill_switches: Family::default(),
            agent_hits,
            lookups,
            lookup_duration: Histogram::new(LOOKUP_BUCKETS),
            signatures: Family::default(),
            integrity_failures: Family::default(),
            asset_tenants: Family::default(),
            deprecated_uses: Family::default(),
            alerts: Family::default(),
            schedules: Family::default(),
            versions_seen: Mutex::default(),
            http_requests: Family::default(),
            http_duration: Family::new_with_constructor(|| Histogram::new(HTTP_BUCKETS)),
            http_held_up: Family::default(),
            http_bodies_memory: Gauge::default(),
            revision: Gauge::default(),
            documents: Gauge::default(),
            streams: Gauge::default(),
            observations_dropped: Gauge::default(),
            read: Mutex::new(LastRead {
                revision: status.revision,
                anomalies: status.anomalies,
                schedules: node.schedule_counts(),
                gauges: None,
            }),
        };
        metrics.register();
        metrics.start_at_zero();
        metrics
    }

    fn register(&mut self) {
        let it = &mut self.registry;
        it.register(
            "config_reloads",
            "Revisions applied to the state",
            self.reloads.clone(),
        );
        it.register(
            "config_last_reload_successful",
            "Whether the last revision was applied without anything being passed over",
            self.last_reload_successful.clone(),
        );
        it.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the revision that is served was committed",
            Unit::Seconds,
            self.last_reload_at.clone(),
        );
        it.register(
            "config_validation_failures",
            "Findings in refused requests, by code",
            self.validation_failures.clone(),
        );
        it.register_with_unit(
            "config_propagation",
            "From a commit's arrival to its being served by this node",
            Unit::Seconds,
            self.propagation.clone(),
        );
        it.register(
            "flag_evaluations",
            "Evaluations of flags",
            self.evaluations.family.clone(),
        );
        it.register(
            "flag_sdk_evaluations",
            "Evaluations of flags in services, as far as their instances have said",
            self.evaluations_elsewhere.family.clone(),
        );
        it.register_with_unit(
            "flag_evaluation_duration",
            "How long an evaluation takes; one in 128 is timed",
            Unit::Seconds,
            self.evaluation_duration.clone(),
        );
        it.register(
            "flag_kill_switch_active",
            "Kills that hold: for everybody, or how many tenants",
            self.kill_switches.clone(),
        );
        it.register(
            "registry_lookups",
            "Resolves and reads of versions",
            self.lookups.clone(),
        );
        it.register_with_unit(
            "registry_lookup_duration",
            "How long resolving an agent takes",
            Unit::Seconds,
            self.lookup_duration.clone(),
        );
        it.register(
            "registry_signature_verifications",
            "Signatures checked when versions were read",
            self.signatures.clone(),
        );
        it.register(
            "registry_integrity_failures",
            "Requests that met bytes or signatures that do not hold",
            self.integrity_failures.clone(),
        );
        it.register(
            "asset_tenants",
            "Tenants by the version that a pin or else the channel's default gives them",
            self.asset_tenants.clone(),
        );
        it.register(
            "asset_deprecated_uses",
            "Resolves that gave a deprecated version",
            self.deprecated_uses.clone(),
        );
        it.register(
            "alerts",
            "Stops and revivals of flags, agents and tools that this node has committed, and schedules that failed",
            self.alerts.clone(),
        );
        it.register(
            "schedules",
            "Schedules that were due, by what came of them on this node",
            self.schedules.clone(),
        );
        it.register("http_requests", "Requests", self.http_requests.clone());
        it.register_with_unit(
            "http_request_duration",
            "How long requests take until their reply begins",
            Unit::Seconds,
            self.http_duration.clone(),
        );
        it.register(
            "http_held_up",
            "Requests refused because of how many there are or how much they take, by the limit",
            self.http_held_up.clone(),
        );
        it.register_with_unit(
            "http_bodies_memory",
            "Memory that the bodies of requests take now, of what `--bodies-memory` gives them",
            Unit::Bytes,
            self.http_bodies_memory.clone(),
        );
        it.register(
            "revision",
            "The revision that is served",
            self.revision.clone(),
        );
        it.register(
            "documents",
            "Documents in the state",
            self.documents.clone(),
        );
        it.register(
            "streams_open",
            "Streams that are open",
            self.streams.clone(),
        );
        it.register(
            "observations_dropped",
            "Observations that were dropped since the node started",
            self.observations_dropped.clone(),
        );
    }

    /// Makes every combination of labels that is known beforehand, so that its first increase shows.
    fn start_at_zero(&self) {
        for result in ["success", "invalid"] {
            drop(self.reloads.get_or_create(&Reload {
                source: "log",
                result,
            }));
        }
        for code in Code::ALL.iter().filter(|code| status(**code) == 422) {
            let rule = code.as_str().to_owned();
            drop(self.validation_failures.get_or_create(&Rule { rule }));
        }
        for kind in ["agent", "tool"] {
            for result in ["hit", "not_found", "error"] {
                drop(self.lookups.get_or_create(&Lookup { kind, result }));
            }
        }
        for result in ["verified", "unsigned", "mismatch"] {
            drop(self.signatures.get_or_create(&Outcome { result }));
        }
        for result in [RAN, FAILED] {
            drop(self.schedules.get_or_create(&Outcome { result }));
        }
        for code in INTEGRITY {
            drop(self.integrity_failures.get_or_create(&cause(code)));
        }
        for limit in Refused::ALL {
            drop(self.http_held_up.get_or_create(&limit.labels()));
        }
        for operation in plane_api::operations() {
            drop(self.http_requests.get_or_create(&http(operation, 200)));
        }
    }

    /// Counts a finding that made the server refuse a request.
    pub(crate) fn refused(&self, rule: &str) {
        let rule = rule.to_owned();
        self.validation_failures.get_or_create(&Rule { rule }).inc();
    }

    /// Counts a request that a limit held up.
    pub(crate) fn held_up(&self, limit: Refused) {
        self.held_up_by(limit).inc();
    }

    /// What counts the requests that a limit held up.
    pub(crate) fn held_up_by(&self, limit: Refused) -> Counter {
        self.http_held_up.get_or_create(&limit.labels()).clone()
    }

    /// Notes how long a commit took from its arrival until readers see it.
    pub(crate) fn committed(&self, took: Duration) {
        self.propagation.observe(took.as_secs_f64());
    }

    /// Counts evaluations of flags, and those that a service asked for by which it was.
    pub(crate) fn evaluated<'e>(
        &self,
        asker: Option<&Asker<'_>>,
        evaluations: impl IntoIterator<Item = Given<'e>>,
    ) {
        self.evaluations.count(asker, evaluations);
    }

    /// Takes what was evaluated here since it was taken last, by who asked for it.
    pub(crate) fn take_served(&self) -> Vec<Served> {
        self.evaluations.take_served()
    }

    /// Counts what an instance of a service has evaluated; `flag` is none for one that does not exist.
    pub(crate) fn evaluated_elsewhere(
        &self,
        flag: Option<&str>,
        variant: &str,
        reason: Reason,
        count: u64,
    ) {
        (self.evaluations_elsewhere).add(flag, variant, reason, count);
    }

    /// Begins to time an evaluation, if this one is timed.
    pub(crate) fn evaluation_timer(&self) -> Option<Instant> {
        let begun = self.evaluations_begun.fetch_add(1, Ordering::Relaxed);
        begun.is_multiple_of(TIMED_ONE_IN).then(Instant::now)
    }

    pub(crate) fn evaluation_took(&self, timer: Option<Instant>) {
        if let Some(begun) = timer {
            self.evaluation_duration
                .observe(begun.elapsed().as_secs_f64());
        }
    }

    /// Times some of the evaluations that are made as they are taken.
    pub(crate) fn timed<I: Iterator>(&self, mut evaluations: I) -> impl Iterator<Item = I::Item> {
        std::iter::from_fn(move || {
            let timer = self.evaluation_timer();
            let evaluation = evaluations.next()?;
            self.evaluation_took(timer);
            Some(evaluation)
        })
    }

    /// Counts a resolve that gave an agent.
    pub(crate) fn resolved(&self) {
        self.agent_hits.inc();
    }

    /// Counts a resolve or a read of a version.
    pub(crate) fn lookup(&self, kind: ArtifactKind, result: &'static str) {
        self.lookups
            .get_or_create(&Lookup {
                kind: kind.as_str(),
                result,
            })
            .inc();
    }

    #[expect(
        clippy::unused_self,
        reason = "the other timer belongs to the metrics as well"
    )]
    pub(crate) fn lookup_timer(&self) -> Instant {
        Instant::now()
    }

    pub(crate) fn lookup_took(&self, begun: Instant) {
        self.lookup_duration.observe(begun.elapsed().as_secs_f64());
    }

    /// Counts a check of signatures.
    pub(crate) fn signature(&self, state: SignatureState) {
        let result = match state {
            SignatureState::Verified => "verified",
            SignatureState::Unsigned => "unsigned",
            SignatureState::Invalid => "mismatch",
        };
        self.signatures.get_or_create(&Outcome { result }).inc();
    }

    /// Counts a failure, if it is one of integrity.
    pub(crate) fn integrity_failure(&self, code: &str) {
        if let Some(code) = INTEGRITY.iter().find(|known| known.as_str() == code) {
            self.integrity_failures.get_or_create(&cause(*code)).inc();
        }
    }

    /// Counts an alert.
    pub(crate) fn alerted(&self, rule: AlertRule) {
        let rule = rule.as_str();
        self.alerts.get_or_create(&Alert { rule }).inc();
    }

    /// Counts a use of a deprecated version, `agent:NAME@VERSION` or `tool:NAME@VERSION`.
    pub(crate) fn deprecated_use(&self, subject: &str) {
        let parts = subject.split_once(':').and_then(|(kind, id)| {
            let (asset, version) = id.split_once('@')?;
            Some((kind, asset, version))
        });
        let Some((kind, asset, version)) = parts else {
            return;
        };
        let mut seen = self
            .versions_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_known = seen.contains(subject)
            || (seen.len() < VERSIONS_MAX && seen.insert(subject.to_owned()));
        drop(seen);
        let (asset, version) = if is_known {
            (asset, version)
        } else {
            (OTHER, "")
        };
        self.deprecated_uses
            .get_or_create(&Used {
                kind: kind.to_owned(),
                asset: asset.to_owned(),
                version: version.to_owned(),
            })
            .inc();
    }

    /// Counts a request.
    pub(crate) fn request(&self, endpoint: &Endpoint, status: u16, took: Duration) {
        let (good, times) = endpoint.counted.get_or_init(|| self.of_endpoint(endpoint));
        if status == 200 {
            good.inc();
        } else {
            let labels = http(endpoint.operation, status);
            self.http_requests.get_or_create(&labels).inc();
        }
        times.observe(took.as_secs_f64());
    }

    fn of_endpoint(&self, endpoint: &Endpoint) -> (Counter, Histogram) {
        let Http { route, method, .. } = http(endpoint.operation, 200);
        let good = self
            .http_requests
            .get_or_create(&http(endpoint.operation, 200))
            .clone();
        let times = self
            .http_duration
            .get_or_create(&Route { route, method })
            .clone();
        (good, times)
    }

    /// Counts a request that no operation takes.
    pub(crate) fn stray_request(&self, status: u16) {
        let (route, method) = ("other", "other");
        let labels = Http {
            route,
            method,
            status,
        };
        self.http_requests.get_or_create(&labels).inc();
        let times = self.http_duration.get_or_create(&Route { route, method });
        times.observe(0.0);
    }

    /// Writes everything, after reading from the node what is not counted on the way.
    pub(crate) fn text(
        &self,
        node: &Node,
        streams_open: usize,
        bodies_memory: usize,
    ) -> Result<String, Failure> {
        self.read(node);
        for (gauge, number) in [
            (&self.streams, streams_open),
            (&self.http_bodies_memory, bodies_memory),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| Failure::internal(&error))?;
        Ok(text)
    }
}

fn http(operation: &'static Operation, status: u16) -> Http {
    Http {
        route: &operation.path,
        method: operation.method.as_str(),
        status,
    }
}

fn cause(code: Code) -> Cause {
    Cause {
        cause: code.as_str().to_ascii_lowercase(),
    }
}
