//! Flags that have done what they were made for.

use plane_api::{FlagUsage, StaleFinding, StaleFlag, StaleRule};
use plane_eval::Reason;
use plane_model::{Document, FlagKey, Kind};
use plane_state::{Seen, StaleInquiry};

use crate::call::{Answer, Call, json, no_environment};
use crate::cursor::{After, page};
use crate::query::refuse;

/// How many days are looked at, if the caller does not say, and at most: usage is kept no longer.
const DAYS: u32 = 30;
const DAYS_MAX: u32 = 90;

/// Lists the flags of an environment that should be gone, or are gone and still asked for.
pub(super) async fn list(call: Call) -> Answer {
    let environment = call.environment()?;
    let form = "write a number of days from 1 to 90";
    let days = call.query().read("days", form)?.unwrap_or(DAYS);
    if !(1..=DAYS_MAX).contains(&days) {
        return Err(refuse("days", &days.to_string(), form));
    }
    let limit = call.query().limit()?;
    let after = After::of(call.query())?;
    call.app().usage.read(call.node()).await?;
    let snapshot = call.node().snapshot();
    if snapshot.view(&environment).is_none() {
        return Err(no_environment(environment.as_str()));
    }
    let now = call.node().now();
    let since = plane_model::Timestamp(now.0 - i64::from(days) * 86_400_000);
    let since_revision = call.node().revision_at(since).await?;
    let (app, revision) = (call.app().clone(), snapshot.revision());
    let work = move || {
        let inquiry = StaleInquiry::new(snapshot.state(), &environment, now, days, since_revision);
        let from = after.as_ref().map_or("", |after| after.name.as_str());
        let flags = snapshot.state().from(Kind::Flag, "", from);
        let flags = flags.filter(|(key, _)| {
            after
                .as_ref()
                .is_none_or(|after| after.admits(key.scope(), key.name()))
        });
        let stale = flags.filter_map(|(key, entry)| {
            let Document::Flag(flag) = &**entry.document()? else {
                return None;
            };
            let key = FlagKey::new(key.name()).ok()?;
            let usage = app
                .usage
                .of_flag(key.as_str(), now, |it| *it == environment);
            let seen: Vec<_> = usage.iter().map(seen).collect();
            let findings = inquiry.of(&key, &seen);
            if findings.is_empty() {
                return None;
            }
            let stale = StaleFlag {
                owner: flag.owner.clone(),
                lifecycle: flag.lifecycle,
                last_at: usage.iter().map(|it| it.last_at).max(),
                findings: findings.into_iter().map(finding).collect(),
                flag: key,
            };
            Some((String::new(), stale.flag.to_string(), stale))
        });
        page(stale, limit, revision)
    };
    json(revision, &call.node().apart(work).await?)
}

fn seen(usage: &FlagUsage) -> Seen<'_> {
    Seen {
        variant: &usage.variant,
        first_at: usage.first_at,
        last_at: usage.last_at,
        is_error: usage.reason == Reason::Error.as_str(),
    }
}

fn finding(found: plane_state::StaleFinding) -> StaleFinding {
    let rule = match found.rule {
        plane_state::StaleRule::Expired => StaleRule::Expired,
        plane_state::StaleRule::ArchivedButUsed => StaleRule::ArchivedButUsed,
        plane_state::StaleRule::NeverEvaluated => StaleRule::NeverEvaluated,
        plane_state::StaleRule::Settled => StaleRule::Settled,
        plane_state::StaleRule::OneVariant => StaleRule::OneVariant,
    };
    StaleFinding {
        rule,
        detail: found.detail,
        next: found.next,
    }
}
