//! What instances of services hold, and how far a revision has come.

use std::collections::BTreeMap;

use plane_api::{
    AckProblem, AckReply, AckRequest, AckState, Contract, InstanceCounts, InstanceStatus,
    RevisionStatusReply, ServiceStatus,
};
use plane_model::{Code, EnvironmentName, Timestamp, Violation, Violations, limits};
use plane_state::CheckedContract;

use crate::call::{Answer, Call, json, no_environment};
use crate::failure::Failure;
use crate::instances::{Heard, InstanceKey, SILENT_AFTER_MS, Told};

/// How often instances are asked to say what they hold.
const AGAIN_SECONDS: u64 = 30;
/// How long a name may be.
const NAME_BYTES_MAX: usize = 256;
/// How many problems an instance may tell at once, and how long each may be.
const PROBLEMS_MAX: usize = 50;
const DETAIL_BYTES_MAX: usize = 2_048;
/// How many instances are listed by name.
const LISTED_MAX: usize = 1_000;

/// Takes down what an instance holds.
pub(super) fn acknowledge(call: &Call) -> Answer {
    let environment = call.environment()?;
    let mut request: AckRequest = call.read()?;
    check(&request)?;
    let told = request.contract.take();
    let told = told.map(|it| checked(&it, &mut request)).transpose()?;
    let node = call.node();
    let now = node.now();
    let state = match request.state {
        AckState::Applied => "applied",
        AckState::Rejected => "rejected",
        AckState::HeldBack => "held_back",
    };
    let subject = format!("{environment}/{}/{}", request.service, request.instance);
    let (serves, revision) = (request.serves.to_string(), request.revision.to_string());
    let first = request.problems.first();
    let labels = [
        ("version", request.service_version.as_str()),
        ("serves", &serves),
        ("revision", &revision),
        ("state", state),
        ("subject", first.map_or("", |it| &it.subject)),
        ("detail", first.map_or("", |it| &it.detail)),
    ];
    let key = InstanceKey {
        environment,
        service: request.service.clone(),
        instance: request.instance.clone(),
    };
    let instances = &call.app().instances;
    let hearing = instances.hear(key, now, request.clone(), told);
    let said = |it: &AckRequest| (it.serves, it.revision, it.state, it.problems.clone());
    if hearing.before.as_ref().map(said) != Some(said(&request)) {
        node.observe("ack", &subject, &labels);
    }
    let revision = node.snapshot().revision();
    let reply = AckReply {
        revision,
        again_seconds: AGAIN_SECONDS,
        wants_contract: hearing.wants_contract,
    };
    json(revision, &reply)
}

/// Makes ready what an instance relies on, and names it by its digest if the instance did not.
fn checked(contract: &Contract, request: &mut AckRequest) -> Result<Told, Failure> {
    let refuse = |code, pointer: &str, detail: String, next: &str| {
        Failure::from(Violation::new(code, pointer, detail).next(next))
    };
    let (digest, bytes) = contract.digest().map_err(|error| {
        let next = "write numbers that JSON can carry";
        refuse(Code::FieldInvalid, "/contract", error.to_string(), next)
    })?;
    if bytes > limits::CONTRACT_BYTES_MAX {
        let detail = format!("{bytes} bytes, and at most {}", limits::CONTRACT_BYTES_MAX);
        let next = "declare what the service reads, not whole documents";
        return Err(refuse(Code::LimitExceeded, "/contract", detail, next));
    }
    if request.contract_digest.is_some_and(|named| named != digest) {
        let detail = format!("the contract has the digest {digest}");
        let next = "name the digest of the contract's canonical JSON";
        return Err(refuse(Code::FieldInvalid, "/contract_digest", detail, next));
    }
    let below = |it: Violation| it.below("/contract");
    let contract = CheckedContract::new(contract)
        .map_err(|found| found.into_iter().map(below).collect::<Violations>())?;
    request.contract_digest = Some(digest);
    Ok(Told { contract, bytes })
}

fn check(request: &AckRequest) -> Result<(), Failure> {
    let mut found = Violations::new();
    let mut bounded = |pointer: String, text: &str, least: usize, most: usize| {
        if text.len() < least || text.len() > most || text.chars().any(char::is_control) {
            let detail = format!("expected {least} to {most} bytes without control characters");
            found.push(
                Violation::new(Code::FieldInvalid, &pointer, detail)
                    .next("shorten it, or leave out what is optional"),
            );
        }
    };
    bounded("/service".into(), &request.service, 1, NAME_BYTES_MAX);
    bounded(
        "/service_version".into(),
        &request.service_version,
        0,
        NAME_BYTES_MAX,
    );
    bounded("/instance".into(), &request.instance, 1, NAME_BYTES_MAX);
    bounded("/sdk".into(), &request.sdk, 0, NAME_BYTES_MAX);
    for (at, problem) in request.problems.iter().enumerate() {
        let pointer = |name: &str| format!("/problems/{at}/{name}");
        bounded(pointer("subject"), &problem.subject, 1, NAME_BYTES_MAX);
        bounded(pointer("pointer"), &problem.pointer, 0, DETAIL_BYTES_MAX);
        bounded(pointer("detail"), &problem.detail, 0, DETAIL_BYTES_MAX);
    }
    if request.problems.len() > PROBLEMS_MAX {
        let detail = format!(
            "{} problems, and at most {PROBLEMS_MAX}",
            request.problems.len()
        );
        found.push(
            Violation::new(Code::LimitExceeded, "/problems", detail).next("send the first ones"),
        );
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(found.into())
    }
}

/// Says how far a revision has come.
pub(super) fn revision_status(call: &Call) -> Answer {
    let text = call.param("revision")?;
    let head = call.node().snapshot().revision();
    let revision = text
        .parse::<u64>()
        .ok()
        .filter(|it| (1..=head).contains(it));
    let Some(revision) = revision else {
        return Err(Failure::new(
            Code::RevisionNotFound,
            format!("there is no revision `{text}`; the last one is {head}"),
        )
        .next("`control-plane log` lists the commits"));
    };
    let environment = match call.query().get("environment") {
        Some(text) => Some(environment(call, text)?),
        None => None,
    };
    let now = call.node().now();
    let heard: Vec<_> = call
        .app()
        .instances
        .all(now)
        .into_iter()
        .filter(|(key, _)| environment.as_ref().is_none_or(|it| key.environment == *it))
        .filter(|(key, _)| call.scope().sees_environment(&key.environment))
        .collect();
    json(head, &status(revision, now, &heard))
}

pub(super) fn environment(call: &Call, text: &str) -> Result<EnvironmentName, Failure> {
    EnvironmentName::new(text)
        .ok()
        .filter(|it| call.scope().sees_environment(it))
        .filter(|it| call.node().snapshot().view(it).is_some())
        .ok_or_else(|| no_environment(text))
}

/// Where an instance stands towards a revision.
enum Standing {
    Applied,
    Refuses(AckState),
    Lagging,
    Silent,
}

fn standing(revision: u64, now: Timestamp, heard: &Heard) -> Standing {
    let said = &heard.said;
    // What it says of a revision goes for the one asked about if that one is part of it.
    let is_of_it = |problem: &AckProblem| problem.since <= revision;
    let is_told = said.problems.is_empty() || said.problems.iter().any(is_of_it);
    if said.state != AckState::Applied && said.revision >= revision && is_told {
        return Standing::Refuses(said.state);
    }
    if said.serves >= revision {
        return Standing::Applied;
    }
    if now.0.saturating_sub(heard.at.0) > SILENT_AFTER_MS {
        Standing::Silent
    } else {
        Standing::Lagging
    }
}

fn status(revision: u64, now: Timestamp, heard: &[(InstanceKey, Heard)]) -> RevisionStatusReply {
    let mut services: BTreeMap<(&EnvironmentName, &str, &str), InstanceCounts> = BTreeMap::new();
    let mut all = InstanceCounts::default();
    let mut behind = Vec::new();
    for (key, heard) in heard {
        let version = heard.said.service_version.as_str();
        let place = (&key.environment, key.service.as_str(), version);
        let standing = standing(revision, now, heard);
        let count = |counts: &mut InstanceCounts| {
            counts.total += 1;
            *match standing {
                Standing::Applied => &mut counts.applied,
                Standing::Refuses(AckState::HeldBack) => &mut counts.held_back,
                Standing::Refuses(_) => &mut counts.rejected,
                Standing::Lagging => &mut counts.lagging,
                Standing::Silent => &mut counts.silent,
            } += 1;
        };
        count(&mut all);
        count(services.entry(place).or_default());
        if !matches!(standing, Standing::Applied) && behind.len() < LISTED_MAX {
            let (state, problems) = match standing {
                Standing::Refuses(state) => (Some(state), heard.said.problems.clone()),
                _ => (None, Vec::new()),
            };
            behind.push(InstanceStatus {
                environment: key.environment.clone(),
                service: key.service.clone(),
                service_version: version.to_owned(),
                instance: key.instance.clone(),
                serves: heard.said.serves,
                state,
                problems,
                heard_at: heard.at,
            });
        }
    }
    let services = services
        .into_iter()
        .map(
            |((environment, service, version), instances)| ServiceStatus {
                environment: environment.clone(),
                service: service.to_owned(),
                service_version: version.to_owned(),
                instances,
            },
        )
        .collect();
    RevisionStatusReply {
        revision,
        instances: all,
        services,
        behind,
    }
}
