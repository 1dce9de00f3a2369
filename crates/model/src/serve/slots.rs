//! Slots and who has them: laid out so that an edit moves no more units than it must.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Code;
use crate::parse::coded;

/// The slots that units are divided over.
pub const SLOTS: u32 = 100_000;

/// A share of all units, in thousandths of a percent: a number of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// The share that so many slots are; none if there are not as many.
    pub const fn of_slots(slots: u32) -> Option<Self> {
        if slots <= SLOTS {
            Some(Self(slots))
        } else {
            None
        }
    }

    /// How many slots it is.
    pub const fn slots(self) -> u32 {
        self.0
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        percent_number(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        thousandth(f64::deserialize(deserializer)?, "the share").map(Self)
    }
}

impl schemars::JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A percentage, to a thousandth.",
            "type": "number", "minimum": 0, "maximum": 100
        })
    }
}

/// The slots from `start` to before `end`, and who has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lot<L> {
    pub(crate) holder: L,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Gives each holder its share of the slots, changing what `kept` gives as little as possible.
pub(crate) fn allocate<L: Ord + Clone>(kept: &[Lot<L>], shares: &BTreeMap<L, u32>) -> Vec<Lot<L>> {
    let mut missing = shares.clone();
    let mut lots: Vec<Lot<L>> = Vec::new();
    for lot in kept {
        let Some(left) = missing.get_mut(&lot.holder) else {
            continue;
        };
        let take = (*left).min(lot.end.saturating_sub(lot.start));
        *left -= take;
        if take > 0 {
            lots.push(Lot {
                end: lot.start + take,
                ..lot.clone()
            });
        }
    }
    let mut missing = missing.into_iter().filter(|(_, left)| *left > 0);
    let mut wanted = missing.next();
    let mut free = 0;
    let mut added = Vec::new();
    let ends = lots
        .iter()
        .map(|lot| (lot.start, lot.end))
        .chain([(SLOTS, SLOTS)]);
    for (start, end) in ends {
        while let Some((holder, left)) = &mut wanted {
            let take = (*left).min(start.saturating_sub(free));
            if take == 0 {
                break;
            }
            added.push(Lot {
                holder: holder.clone(),
                start: free,
                end: free + take,
            });
            free += take;
            *left -= take;
            if *left == 0 {
                wanted = missing.next();
            }
        }
        free = end;
    }
    lots.extend(added);
    lots.sort_by_key(|lot| lot.start);
    lots.dedup_by(|next, lot| {
        let joined = lot.holder == next.holder && lot.end == next.start;
        if joined {
            lot.end = next.end;
        }
        joined
    });
    lots
}

/// What is wrong with ranges of slots, which are sorted and do not overlap.
pub(crate) fn fault(ranges: impl IntoIterator<Item = (u32, u32)>) -> Option<String> {
    let mut free = 0;
    for (start, end) in ranges {
        if start >= end || end > SLOTS {
            return Some(format!(
                "the range {start}..{end} is empty or leaves 0..{SLOTS}"
            ));
        }
        if start < free {
            return Some(format!(
                "the range {start}..{end} overlaps the one before it, or is out of order"
            ));
        }
        free = end;
    }
    None
}

/// What is wrong with shares that are more than all.
pub(crate) fn excess(shares: impl IntoIterator<Item = u32>) -> Option<String> {
    let total: u64 = shares.into_iter().map(u64::from).sum();
    (total > u64::from(SLOTS)).then(|| {
        format!(
            "the percentages add up to {}, more than 100",
            percent(total)
        )
    })
}

/// Writes thousandths of a percent as a percentage.
pub(crate) fn percent(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a percentage of slots.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is checked to lie within 0 and 100,000"
)]
pub(super) fn thousandth<E: serde::de::Error>(percent: f64, whose: &str) -> Result<u32, E> {
    let share = percent * 1_000.0;
    if !(0.0..=f64::from(SLOTS)).contains(&share) {
        return Err(coded(
            Code::SplitInvalid,
            format_args!("{whose} has {percent} %: a percentage is between 0 and 100"),
            "write a number from 0 to 100",
        ));
    }
    if (share - share.round()).abs() > 1e-6 {
        return Err(coded(
            Code::SplitInvalid,
            format_args!("{whose} has {percent} %: the smallest step is 0.001 %"),
            "round it to three decimals",
        ));
    }
    Ok(share.round() as u32)
}

/// The percentage as people write it.
pub(super) fn percent_number(share: u32) -> serde_json::Number {
    if share.is_multiple_of(1_000) {
        (share / 1_000).into()
    } else {
        serde_json::Number::from_f64(f64::from(share) / 1_000.0).unwrap_or_else(|| 0.into())
    }
}
