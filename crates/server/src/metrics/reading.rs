//! What is read from the node when metrics are asked for, because nothing counts it on the way.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use plane_api::AlertRule;
use plane_model::documents::StatusState;
use plane_model::{ArtifactKind, ArtifactVersion, Document, DocumentKey, EnvironmentName, Kind};
use plane_node::{Node, ScheduleCounts};
use plane_state::State;

use super::{Alert, FAILED, Killed, LastRead, Metrics, Outcome, RAN, Reload, Tenants};

impl Metrics {
    pub(super) fn read(&self, node: &Node) {
        let status = node.status();
        let snapshot = node.snapshot();
        let state = snapshot.state();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let revisions = status.revision.saturating_sub(read.revision);
        let anomalies = status.anomalies.saturating_sub(read.anomalies);
        let reloads = |result: &'static str, count: u64| {
            self.reloads
                .get_or_create(&Reload {
                    source: "log",
                    result,
                })
                .inc_by(count);
        };
        reloads("success", revisions.saturating_sub(anomalies));
        reloads("invalid", anomalies);
        if revisions > 0 || read.gauges.is_none() {
            let is_good = anomalies == 0 && status.halted.is_none();
            self.last_reload_successful.set(i64::from(is_good));
        }
        if status.halted.is_some() {
            self.last_reload_successful.set(0);
        }
        self.last_reload_at.set(state.head().at.as_ms() / 1_000);
        self.revision
            .set(i64::try_from(status.revision).unwrap_or(i64::MAX));
        self.documents
            .set(i64::try_from(state.len()).unwrap_or(i64::MAX));
        let dropped = i64::try_from(status.observations_dropped).unwrap_or(i64::MAX);
        self.observations_dropped.set(dropped);
        let schedules = node.schedule_counts();
        self.count_schedules(schedules, read.schedules);
        if read.gauges != Some(status.revision) {
            self.read_kills(state);
            self.read_tenants(state);
        }
        *read = LastRead {
            revision: status.revision,
            anomalies: status.anomalies,
            schedules,
            gauges: Some(status.revision),
        };
    }

    fn count_schedules(&self, now: ScheduleCounts, before: ScheduleCounts) {
        let failed = now.failed - before.failed;
        for (result, more) in [(RAN, now.ran - before.ran), (FAILED, failed)] {
            let counter = self.schedules.get_or_create(&Outcome { result });
            counter.inc_by(more);
        }
        if failed > 0 {
            let rule = AlertRule::ScheduleFailed.as_str();
            self.alerts.get_or_create(&Alert { rule }).inc_by(failed);
        }
    }

    fn read_kills(&self, state: &State) {
        self.kill_switches.clear();
        for (key, _) in state.of_kind(Kind::Kill) {
            let Some(environment) = key.environment_name() else {
                continue;
            };
            let labels = Killed {
                environment: environment.to_string(),
                subject: key.name().to_owned(),
            };
            self.kill_switches.get_or_create(&labels).inc();
        }
    }

    /// Counts tenants by version: pinned ones by their pins, all others by the channel's default.
    fn read_tenants(&self, state: &State) {
        self.asset_tenants.clear();
        let all = state.of_kind(Kind::Tenant).count();
        let mut pinned: BTreeMap<(EnvironmentName, String), usize> = BTreeMap::new();
        let mut counts: BTreeMap<(EnvironmentName, String, String), usize> = BTreeMap::new();
        for (key, entry) in state.of_kind(Kind::Pin) {
            let (Some(environment), Some(("agent", agent))) =
                (key.environment_name(), key.subject())
            else {
                continue;
            };
            let Some(Document::Pin(pin)) = entry.document().map(|it| &**it) else {
                continue;
            };
            let Some(version) = &pin.version else {
                continue;
            };
            *pinned
                .entry((environment.clone(), agent.to_owned()))
                .or_default() += 1;
            *counts
                .entry((environment, agent.to_owned(), version.to_string()))
                .or_default() += 1;
        }
        for (key, entry) in state.of_kind(Kind::Channel) {
            let (Some(environment), Some(Document::Channel(channel))) =
                (key.environment_name(), entry.document().map(|it| &**it))
            else {
                continue;
            };
            let agent = key.name().to_owned();
            let elsewhere = pinned
                .get(&(environment.clone(), agent.clone()))
                .copied()
                .unwrap_or_default();
            let version = channel.default.version.to_string();
            *counts.entry((environment, agent, version)).or_default() +=
                all.saturating_sub(elsewhere);
        }
        for ((environment, asset, version), count) in counts {
            let lifecycle = lifecycle(state, &asset, &version);
            let environment = environment.to_string();
            let labels = Tenants {
                environment,
                kind: "agent",
                asset,
                version,
                lifecycle,
            };
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.asset_tenants.get_or_create(&labels).set(count);
        }
    }
}

fn lifecycle(state: &State, asset: &str, version: &str) -> &'static str {
    let id = format!("{asset}@{version}").parse::<ArtifactVersion>();
    let status = id.ok().and_then(|id| {
        match &**state.document(&DocumentKey::status(ArtifactKind::Agent, &id))? {
            Document::Status(status) => Some(status.status),
            _ => None,
        }
    });
    match status {
        None | Some(StatusState::Active) => "active",
        Some(StatusState::Deprecated) => "deprecated",
        Some(StatusState::Yanked | StatusState::Revoked | StatusState::Quarantined) => "retired",
    }
}
