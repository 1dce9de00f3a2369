//! What the live instances of services would make of a plan, by what they say they rely on.
//!
//! They are judged by everything that is in the environment; one whose token covers less may have
//! nothing to reject. What they reject already, as it is now, is not the plan's doing and not told.

use std::collections::{BTreeMap, BTreeSet};

use plane_api::{PlannedBreach, PlannedInstances, PlannedRejection};
use plane_model::{Digest, EnvironmentName};
use plane_node::{CommitError, Node, Preview, Snapshot};
use plane_state::{Breach, CheckedContract, Scope};

use crate::instances::{Alike, Instances, Reliance};

/// Against how many different contracts a plan is held; more than that count as unknown.
const JUDGED_MAX: usize = 200;
/// How many breaches of one version of a service are told.
const BREACHES_MAX: usize = 20;

/// Says what the live instances that the caller may know of would make of a plan; none if there are none.
///
/// # Errors
/// Too much is being decided already.
pub(crate) async fn forecast(
    node: &Node,
    instances: &Instances,
    scope: &Scope,
    preview: Preview,
) -> Result<Option<PlannedInstances>, CommitError> {
    let is_seen =
        |name: &&str| EnvironmentName::new(name).is_ok_and(|name| scope.sees_environment(&name));
    let environments = preview.plan().environments.iter().map(String::as_str);
    let live = instances.live(node.now(), &environments.filter(is_seen).collect());
    if live.is_empty() || preview.plan().changes.is_empty() {
        return Ok(None);
    }
    let relies = |it: &Alike| matches!(it.contract, Reliance::On(..));
    if !live.iter().any(relies) {
        return Ok(Some(add_up(live, |_, _, _| Some(Vec::new()))));
    }
    let told = node.apart(move || {
        let (before, after) = (preview.before().clone(), preview.after());
        let mut judged = BTreeMap::new();
        add_up(live, |alike, digest, contract| {
            let place = (alike.environment.clone(), alike.service.clone(), digest);
            let is_known = judged.contains_key(&place);
            if !is_known && judged.len() >= JUDGED_MAX {
                return None;
            }
            let broken = judged
                .entry(place)
                .or_insert_with(|| newly_broken(alike, contract, &before, &after));
            Some(broken.clone())
        })
    });
    told.await.map(Some)
}

/// What of a contract holds now and would not hold then.
fn newly_broken(
    alike: &Alike,
    contract: &CheckedContract,
    before: &Snapshot,
    after: &Snapshot,
) -> Vec<PlannedBreach> {
    let breaches = |snapshot: &Snapshot| {
        let view = snapshot.view(&alike.environment);
        view.map_or(Vec::new(), |view| {
            contract.check(view, Some(&alike.service)).0
        })
    };
    let mut broken = breaches(after);
    if !broken.is_empty() {
        let known = breaches(before);
        broken.retain(|it| !known.contains(it));
    }
    let told = broken.into_iter().map(
        |Breach {
             subject,
             pointer,
             detail,
         }| PlannedBreach {
            subject,
            pointer,
            detail,
        },
    );
    told.collect()
}

/// Adds up what `judge` says of each, by environment, service and version; it says none of what it does not know.
fn add_up(
    live: Vec<Alike>,
    mut judge: impl FnMut(&Alike, Digest, &CheckedContract) -> Option<Vec<PlannedBreach>>,
) -> PlannedInstances {
    let mut all = PlannedInstances::default();
    let mut versions: BTreeMap<_, (PlannedRejection, BTreeSet<PlannedBreach>)> = BTreeMap::new();
    for alike in live {
        let broken = match &alike.contract {
            Reliance::Nothing => Some(Vec::new()),
            Reliance::Unknown => None,
            Reliance::On(digest, told) => judge(&alike, *digest, &told.contract),
        };
        all.live += alike.instances;
        let place = (
            alike.environment.clone(),
            alike.service.clone(),
            alike.service_version.clone(),
        );
        let (version, breaches) = versions.entry(place).or_insert_with(|| {
            let version = PlannedRejection {
                environment: alike.environment,
                service: alike.service,
                service_version: alike.service_version,
                instances: 0,
                live: 0,
                breaches: Vec::new(),
            };
            (version, BTreeSet::new())
        });
        version.live += alike.instances;
        match broken {
            None => all.unknown += alike.instances,
            Some(broken) if broken.is_empty() => {}
            Some(broken) => {
                version.instances += alike.instances;
                breaches.extend(broken);
            }
        }
    }
    let versions = versions.into_values();
    let rejections = versions.filter(|(version, _)| version.instances > 0);
    all.rejections = rejections
        .map(|(version, breaches)| PlannedRejection {
            breaches: breaches.into_iter().take(BREACHES_MAX).collect(),
            ..version
        })
        .collect();
    all
}
