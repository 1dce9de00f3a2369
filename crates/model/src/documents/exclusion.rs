//! Flags that exclude each other, and units that are held out of all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::check_prose;
use crate::serve::{Lot, allocate, excess, percent, slots_fault};
use crate::{AttributePath, Code, FlagKey, Share, Violation, Violations};

/// Flags of which a unit gets one at most, and a share of the units that gets none of them.
///
/// A unit that is outside of a flag's share gets the flag's off variant, before targets and rules
/// are asked; pins come before that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExclusionGroup {
    /// What the flags compete for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is divided: the attribute whose value is hashed; the targeting key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AttributePath>,
    /// What is hashed before the unit; `group:` and the group's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The percentage of the units that each flag may reach.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub percent: BTreeMap<FlagKey, Share>,
    /// The percentage of the units that gets none of the flags, nor any that are `held`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<Share>,
    /// Flags that the holdout does not get, but that exclude no other.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<FlagKey>,
    /// Which slots the percentages are. A commit fills them in, and moves no more units than it must.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<GroupRange>,
}

/// The slots from `start` to before `end`, and what they may get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GroupRange {
    /// The flag that the slots may get; the slots are the holdout's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<FlagKey>,
    /// The first slot.
    pub start: u32,
    /// The slot after the last.
    pub end: u32,
}

impl ExclusionGroup {
    pub(super) fn check(&self, found: &mut Violations) {
        check_prose("/description", self.description.as_deref(), found);
        if let Some(fault) = excess(self.shares().into_values()) {
            found.push(
                Violation::new(Code::SplitInvalid, "/percent", fault)
                    .next("lower the percentages, or `holdout`, to 100 in all"),
            );
        }
        if self.percent.is_empty() && self.held.is_empty() {
            found.push(
                Violation::new(Code::FieldInvalid, "", "the group has no flag")
                    .next("give each flag its share in `percent`, or name those that are `held`"),
            );
        }
        if !self.held.is_empty() && self.holdout.is_none() {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/held",
                    "there is no holdout that these flags could be held from",
                )
                .next("set `holdout` to the percentage of units that should get none of them"),
            );
        }
        if let Some(both) = self.held.iter().find(|it| self.percent.contains_key(*it)) {
            found.push(
                Violation::new(
                    Code::FieldInvalid,
                    "/held",
                    format!("`{both}` has a share, and the holdout never gets it anyway"),
                )
                .next("leave it out of `held`"),
            );
        }
        self.check_ranges(found);
    }

    fn check_ranges(&self, found: &mut Violations) {
        if self.ranges.is_empty() {
            return;
        }
        let fault = slots_fault(self.ranges.iter().map(|it| (it.start, it.end)));
        let differs = || {
            let mut totals = self.shares();
            totals.retain(|_, share| *share > 0);
            let mut laid = BTreeMap::new();
            for range in &self.ranges {
                *laid.entry(range.flag.clone()).or_insert(0_u32) += range.end - range.start;
            }
            let holders = totals.keys().chain(laid.keys());
            let differing = holders
                .clone()
                .find(|holder| totals.get(*holder) != laid.get(*holder));
            differing.map(|holder| {
                let of = |shares: &BTreeMap<_, u32>| {
                    percent(u64::from(shares.get(holder).copied().unwrap_or(0)))
                };
                let whose = holder
                    .as_ref()
                    .map_or("the holdout".to_owned(), |flag| format!("`{flag}`"));
                format!(
                    "the ranges of {whose} make {} %, and its share is {} %",
                    of(&laid),
                    of(&totals)
                )
            })
        };
        if let Some(fault) = fault.or_else(differs) {
            found.push(
                Violation::new(Code::SplitInvalid, "/ranges", fault).next(
                    "leave `ranges` out: the commit lays them out, and moves no more units than it must",
                ),
            );
        }
    }

    /// The slots of each flag, and those of the holdout.
    fn shares(&self) -> BTreeMap<Option<FlagKey>, u32> {
        let flags = self.percent.iter();
        let flags = flags.map(|(flag, share)| (Some(flag.clone()), share.slots()));
        let holdout = self.holdout.map(|share| (None, share.slots()));
        flags.chain(holdout).collect()
    }

    /// The group with its shares laid out so that they move no more units than they must.
    ///
    /// `previous` is the group that this one replaces; its ranges count only if unit and salt stay
    /// the same, because other slots would be other units.
    #[must_use]
    pub fn settled(self, previous: Option<&Self>) -> Self {
        if !self.ranges.is_empty() {
            return self;
        }
        let kept = previous.filter(|it| it.by == self.by && it.salt == self.salt);
        let ranges = self.laid_out(kept.map_or(&[], |it| &it.ranges));
        Self { ranges, ..self }
    }

    /// Says whether the ranges are what the same percentages give where there was no group before.
    pub fn is_fresh(&self) -> bool {
        self.ranges == self.laid_out(&[])
    }

    fn laid_out(&self, kept: &[GroupRange]) -> Vec<GroupRange> {
        let kept: Vec<_> = kept
            .iter()
            .map(|range| Lot {
                holder: range.flag.clone(),
                start: range.start,
                end: range.end,
            })
            .collect();
        let lots = allocate(&kept, &self.shares()).into_iter();
        lots.map(|lot| GroupRange {
            flag: lot.holder,
            start: lot.start,
            end: lot.end,
        })
        .collect()
    }

    /// The flags that the group holds something from: those with a share, and those that are held.
    pub fn flags(&self) -> impl Iterator<Item = &FlagKey> {
        self.percent.keys().chain(&self.held)
    }

    /// The slots that may get the flag, in order; none if the group does not name the flag.
    pub fn open_slots(&self, flag: &FlagKey) -> Option<Vec<(u32, u32)>> {
        if self.percent.contains_key(flag) {
            let own = self
                .ranges
                .iter()
                .filter(|it| it.flag.as_ref() == Some(flag));
            return Some(own.map(|it| (it.start, it.end)).collect());
        }
        if !self.held.contains(flag) {
            return None;
        }
        let mut open = Vec::new();
        let mut free = 0;
        for range in self.ranges.iter().filter(|it| it.flag.is_none()) {
            if range.start > free {
                open.push((free, range.start));
            }
            free = range.end;
        }
        if free < crate::SLOTS {
            open.push((free, crate::SLOTS));
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Document, DocumentKey, Kind, SLOTS};

    fn group(value: &Value) -> ExclusionGroup {
        crate::parse_strict(value).unwrap()
    }

    fn faults(value: &Value) -> Vec<(String, Code)> {
        let key = DocumentKey::new(Kind::ExclusionGroup, "", "g").unwrap();
        let found = Document::parse(&key, value).unwrap_err();
        found.into_iter().map(|it| (it.pointer, it.code)).collect()
    }

    #[test]
    fn shares_get_slots_that_stay_where_they_are_while_they_grow() {
        let before = group(&json!({"percent": {"a": 10, "b": 20}, "holdout": 5})).settled(None);
        assert_eq!(
            serde_json::to_value(&before.ranges).unwrap(),
            json!([
                {"start": 0, "end": 5_000},
                {"flag": "a", "start": 5_000, "end": 15_000},
                {"flag": "b", "start": 15_000, "end": 35_000},
            ])
        );
        assert!(before.is_fresh());
        let after = group(&json!({"percent": {"a": 30, "b": 10}, "holdout": 5}));
        let after = after.settled(Some(&before));
        assert_eq!(
            serde_json::to_value(&after.ranges).unwrap(),
            json!([
                {"start": 0, "end": 5_000},
                {"flag": "a", "start": 5_000, "end": 15_000},
                {"flag": "b", "start": 15_000, "end": 25_000},
                {"flag": "a", "start": 25_000, "end": 45_000},
            ])
        );
        assert!(!after.is_fresh());
    }

    #[test]
    fn a_flag_without_a_share_reaches_nobody_and_one_that_is_held_all_but_the_holdout() {
        let group =
            group(&json!({"percent": {"a": 0, "b": 1}, "holdout": 2, "held": ["c"]})).settled(None);
        let open = |flag: &str| group.open_slots(&FlagKey::new(flag).unwrap());
        assert_eq!(open("a"), Some(vec![]));
        assert_eq!(open("b"), Some(vec![(2_000, 3_000)]));
        assert_eq!(open("c"), Some(vec![(2_000, SLOTS)]));
        assert_eq!(open("d"), None);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (value, pointer, code) in [
            (json!({}), "", Code::FieldInvalid),
            (json!({"holdout": 5}), "", Code::FieldInvalid),
            (
                json!({"percent": {"a": 60, "b": 41}}),
                "/percent",
                Code::SplitInvalid,
            ),
            (
                json!({"percent": {"a": 60}, "holdout": 41}),
                "/percent",
                Code::SplitInvalid,
            ),
            (json!({"held": ["a"]}), "/held", Code::FieldInvalid),
            (
                json!({"percent": {"a": 1}, "holdout": 1, "held": ["a"]}),
                "/held",
                Code::FieldInvalid,
            ),
            (
                json!({"percent": {"a": 1}, "ranges": [{"flag": "a", "start": 0, "end": 999}]}),
                "/ranges",
                Code::SplitInvalid,
            ),
            (
                json!({"percent": {"a": 1}, "ranges": [{"flag": "a", "start": 0, "end": 1_000}, {"start": 999, "end": 2_000}]}),
                "/ranges",
                Code::SplitInvalid,
            ),
            (
                json!({"percent": {"a": 1}, "ranges": [{"flag": "b", "start": 0, "end": 1_000}]}),
                "/ranges",
                Code::SplitInvalid,
            ),
        ] {
            assert_eq!(faults(&value), [(pointer.to_owned(), code)], "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_slot_may_get_two_of_the_flags_nor_one_of_the_holdout(
            shares in prop::collection::btree_map("[a-d]", 0..25_000_u32, 1..5),
            later in prop::collection::btree_map("[a-e]", 0..20_000_u32, 1..6),
            holdout in 0..=100_u32,
            slot in 0..SLOTS,
        ) {
            let of = |shares: &BTreeMap<String, u32>| ExclusionGroup {
                percent: shares.iter().map(|(flag, share)| (FlagKey::new(flag).unwrap(), Share::of_slots(*share).unwrap())).collect(),
                holdout: Share::of_slots(holdout),
                held: [FlagKey::new("z").unwrap()].into(),
                ..ExclusionGroup::default()
            };
            let before = of(&shares).settled(None);
            let after = of(&later).settled(Some(&before));
            let mut found = Violations::new();
            after.check(&mut found);
            prop_assert!(found.is_empty(), "{:?}", found);
            let opens = |flag: &FlagKey| {
                let open = after.open_slots(flag).unwrap();
                open.iter().any(|(start, end)| (*start..*end).contains(&slot))
            };
            let reached = after.percent.keys().filter(|flag| opens(flag)).count();
            prop_assert!(reached <= 1);
            prop_assert!(reached == 0 || opens(&FlagKey::new("z").unwrap()));
        }
    }
}
