//! Flags that have done what they were made for, and stand in the way of those who read the code.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use plane_model::documents::{Flag, FlagState, Lifecycle, Targeting};
use plane_model::{
    Document, DocumentKey, EnvironmentName, FlagKey, Kind, SLOTS, Serve, Timestamp, VariantName,
};

use crate::state::State;

const DAY_MS: i64 = 86_400_000;

/// Why a flag should go, or should not have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StaleRule {
    /// It should have been gone by now.
    Expired,
    /// It is archived, and services still ask for it.
    ArchivedButUsed,
    /// Nobody has asked for it.
    NeverEvaluated,
    /// Everybody is given the same by definition.
    Settled,
    /// Everybody who asked was given the same.
    OneVariant,
}

/// What is found about a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleFinding {
    /// What.
    pub rule: StaleRule,
    /// The same in words.
    pub detail: String,
    /// What to do about it.
    pub next: String,
}

/// Since when and until when services were given a variant of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The variant; empty where the caller's default held.
    pub variant: &'a str,
    /// The first time that is known.
    pub first_at: Timestamp,
    /// The last time.
    pub last_at: Timestamp,
    /// Whether the evaluation failed, as that of an archived flag does.
    pub is_error: bool,
}

/// What is asked of all flags of an environment.
#[derive(Debug)]
pub struct StaleInquiry<'s> {
    state: &'s State,
    environment: EnvironmentName,
    now: Timestamp,
    days: u32,
    since_revision: u64,
    /// Flags of which some units get something else: by a pin, a kill or a group. Few flags are asked for it.
    apart: OnceCell<BTreeSet<&'s str>>,
}

impl<'s> StaleInquiry<'s> {
    /// Asks of the last `days` days before `now`; `since_revision` is the revision that was the last before them.
    pub fn new(
        state: &'s State,
        environment: &EnvironmentName,
        now: Timestamp,
        days: u32,
        since_revision: u64,
    ) -> Self {
        Self {
            state,
            environment: environment.clone(),
            now,
            days,
            since_revision,
            apart: OnceCell::new(),
        }
    }

    /// Says whether some units get something else of a flag than its targeting says.
    ///
    /// Takes, the first time, time in proportion to the environment's pins and kills, and to the exclusion groups.
    fn is_apart(&self, flag: &str) -> bool {
        let apart = self.apart.get_or_init(|| {
            let mut apart = BTreeSet::new();
            let environment = self.environment.as_str();
            for kind in [Kind::Pin, Kind::Kill] {
                let bound = self.state.from(kind, environment, "");
                let bound = bound.map(|(key, _)| key);
                for key in bound.take_while(|key| key.scope().starts_with(environment)) {
                    let of = key.scope().split('/').next();
                    if of == Some(environment)
                        && let Some(("flag", name)) = key.subject()
                    {
                        apart.insert(name);
                    }
                }
            }
            for (_, entry) in self.state.of_kind(Kind::ExclusionGroup) {
                if let Some(Document::ExclusionGroup(group)) = entry.document().map(|it| &**it) {
                    apart.extend(group.flags().map(FlagKey::as_str));
                }
            }
            apart
        });
        apart.contains(flag)
    }

    /// The first moment that is asked about.
    pub fn since(&self) -> Timestamp {
        Timestamp(self.now.0.saturating_sub(i64::from(self.days) * DAY_MS))
    }

    /// What is found about a flag; `seen` is what services were given in the environment.
    pub fn of(&self, key: &FlagKey, seen: &[Seen<'_>]) -> Vec<StaleFinding> {
        let flag_key = DocumentKey::flag(key);
        let Some(entry) = self.state.entry(&flag_key) else {
            return Vec::new();
        };
        let Some(Document::Flag(flag)) = entry.document().map(|it| &**it) else {
            return Vec::new();
        };
        let last = seen.iter().map(|it| it.last_at).max();
        if flag.archived {
            let used = last.filter(|last| *last >= self.since());
            return used.map(|last| archived(key, last)).into_iter().collect();
        }
        let mut found = Vec::new();
        if let Some(expires) = flag.expires.filter(|it| *it <= self.now) {
            found.push(StaleFinding {
                rule: StaleRule::Expired,
                detail: format!("it should have been gone by {expires}"),
                next: "take it out of the code, then archive it; or set a later `expires`".into(),
            });
        }
        let targeting_key = DocumentKey::targeting(&self.environment, key);
        let Some(targeting) = self.state.entry(&targeting_key) else {
            return found;
        };
        let is_unchanged = entry.revision.max(targeting.revision) <= self.since_revision;
        if is_unchanged && seen.is_empty() {
            found.push(StaleFinding {
                rule: StaleRule::NeverEvaluated,
                detail: format!(
                    "no service has said that it evaluates it, and nobody has changed it for {} days",
                    self.days
                ),
                next: "look for it in the code: if it is not there, archive it".into(),
            });
        }
        if !should_go(flag) {
            return found;
        }
        if let Some(Document::Targeting(body)) = targeting.document().map(|it| &**it)
            && is_unchanged
            && let Some(given) = only_given(flag, body, self.now)
            && !self.is_apart(key.as_str())
        {
            let detail = format!(
                "its targeting has given {given} to everybody for more than {} days",
                self.days
            );
            found.push(replace(StaleRule::Settled, detail, &given));
        }
        if let Some(given) = self.only_seen(seen) {
            let given = words(Some(given).filter(|it| !it.is_empty()).as_ref());
            let detail = format!(
                "every evaluation of the last {} days gave {given}",
                self.days
            );
            found.push(replace(StaleRule::OneVariant, detail, &given));
        }
        found
    }

    /// The variant that all were given who asked, if somebody asked before and somebody since.
    fn only_seen<'a>(&self, seen: &[Seen<'a>]) -> Option<&'a str> {
        let since = self.since();
        let good = seen.iter().filter(|it| !it.is_error);
        let is_old = good.clone().any(|it| it.first_at <= since);
        let mut recent = good.filter(|it| it.last_at >= since);
        let first = recent.next()?.variant;
        (is_old && recent.all(|it| it.variant == first)).then_some(first)
    }
}

/// Says whether a flag is meant to be gone some day; one that does not say is.
fn should_go(flag: &Flag) -> bool {
    flag.lifecycle.is_none_or(Lifecycle::is_temporary)
}

fn archived(key: &FlagKey, last: Timestamp) -> StaleFinding {
    StaleFinding {
        rule: StaleRule::ArchivedButUsed,
        detail: format!("it is archived, and services asked for it last at {last}"),
        next: format!(
            "`control-plane flag usage {key}` says which: take it out of them, or set `archived` to false"
        ),
    }
}

fn replace(rule: StaleRule, detail: String, given: &str) -> StaleFinding {
    let next = format!(
        "write what {given} does into the code in its place, then archive the flag; or set `lifecycle` if it is to stay"
    );
    StaleFinding { rule, detail, next }
}

fn words(variant: Option<&impl std::fmt::Display>) -> String {
    variant.map_or_else(
        || "the caller's default".to_owned(),
        |variant| format!("`{variant}`"),
    )
}

/// What everybody is given from now on, whoever asks and whenever, in words; none if it differs.
fn only_given(flag: &Flag, targeting: &Targeting, now: Timestamp) -> Option<String> {
    let off = || {
        let given = targeting.off.clone();
        given.or_else(|| {
            let is_there = |name: &VariantName| flag.all_variants().contains_key(name);
            let is_boolean = flag.kind == plane_model::documents::FlagType::Boolean;
            let off = VariantName::new(Flag::OFF).ok();
            off.filter(|name| is_boolean && is_there(name))
        })
    };
    if targeting.state == FlagState::Disabled {
        return Some(words(off().as_ref()));
    }
    let mut given = BTreeSet::new();
    if !targeting.prerequisites.is_empty() || targeting.default.is_none() {
        given.insert(off());
    }
    given.extend(targeting.targets.iter().map(|it| Some(it.serve.clone())));
    let is_over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
    let rules = targeting.rules.iter();
    let rules = rules.filter(|rule| !rule.window.is_some_and(|window| is_over(window.until)));
    let serves = rules.map(|rule| &rule.serve).chain(&targeting.default);
    for serve in serves {
        match serve {
            Serve::Variant(variant) => {
                given.insert(Some(variant.clone()));
            }
            Serve::CallerDefault => {
                given.insert(None);
            }
            Serve::Split(split) => {
                let totals = split.totals();
                if totals.values().sum::<u32>() < SLOTS {
                    given.insert(off());
                }
                let shares = totals.into_iter().filter(|(_, share)| *share > 0);
                given.extend(shares.map(|(variant, _)| Some(variant)));
            }
            Serve::Ramp(ramp) => {
                let share = ramp.share_at(now);
                let is_done = ramp.course.end <= now;
                if share > 0 || !is_done {
                    given.insert(Some(ramp.course.variant.clone()));
                }
                if share < SLOTS || !is_done {
                    given.insert(off());
                }
            }
        }
    }
    let mut given = given.into_iter();
    let only = given.next()?;
    given.next().is_none().then(|| words(only.as_ref()))
}
