//! A share of the units that grows, or shrinks, with time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SLOTS, percent_number, thousandth};
use crate::{AttributePath, Timestamp, VariantName};

/// A share of the units that goes evenly from one percentage to another between two times.
///
/// The units that have the variant are those of the first slots, so that who is in stays in while
/// the share grows. All others get the off variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Ramp {
    /// What is divided: the attribute whose value is hashed; the targeting key if absent.
    pub by: Option<AttributePath>,
    /// What is hashed before the unit; the flag's key if absent.
    pub salt: Option<String>,
    /// What the share gets, and how the share changes.
    pub course: Course,
}

/// What a ramp gives to how many, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Course {
    /// What the share gets.
    pub variant: VariantName,
    /// The percentage until the start; 0 if absent.
    #[serde(default, deserialize_with = "read", serialize_with = "write")]
    #[schemars(with = "f64", range(min = 0, max = 100))]
    pub from: u32,
    /// The percentage from the end on.
    #[serde(deserialize_with = "read", serialize_with = "write")]
    #[schemars(with = "f64", range(min = 0, max = 100))]
    pub to: u32,
    /// When the share begins to change.
    pub start: Timestamp,
    /// When it has changed.
    pub end: Timestamp,
}

impl Ramp {
    /// The slots that have the variant: all before this one.
    pub fn share_at(&self, now: Timestamp) -> u32 {
        self.course.share_at(now)
    }

    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        let Course {
            start,
            end,
            from,
            to,
            ..
        } = &self.course;
        if start >= end {
            Some(format!(
                "the ramp starts at {start} and ends at {end}, which is not later"
            ))
        } else if from == to {
            Some("the ramp ends with the percentage that it starts with".to_owned())
        } else {
            None
        }
    }
}

impl Course {
    /// The slots that have the variant: all before this one.
    pub fn share_at(&self, now: Timestamp) -> u32 {
        let length = i128::from(self.end.as_ms()) - i128::from(self.start.as_ms());
        let passed = i128::from(now.as_ms()) - i128::from(self.start.as_ms());
        if passed >= length || length <= 0 {
            return self.to;
        }
        let change = i128::from(self.to) - i128::from(self.from);
        let share = i128::from(self.from) + change * passed.max(0) / length;
        u32::try_from(share).unwrap_or(0).min(SLOTS)
    }
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    thousandth(f64::deserialize(deserializer)?, "the share")
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field so"
)]
fn write<S: Serializer>(share: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    percent_number(*share).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn course(from: u32, to: u32, start: i64, end: i64) -> Course {
        Course {
            variant: VariantName::new("on").unwrap(),
            from,
            to,
            start: Timestamp(start),
            end: Timestamp(end),
        }
    }

    #[test]
    fn a_ramp_goes_evenly_from_start_to_end() {
        let ramp = course(10_000, 60_000, 1_000, 2_000);
        for (now, share) in [
            (i64::MIN, 10_000),
            (1_000, 10_000),
            (1_500, 35_000),
            (1_999, 59_950),
            (2_000, 60_000),
            (i64::MAX, 60_000),
        ] {
            assert_eq!(ramp.share_at(Timestamp(now)), share, "{now}");
        }
        assert_eq!(course(100_000, 0, 0, 10).share_at(Timestamp(5)), 50_000);
        assert_eq!(
            course(0, SLOTS, i64::MIN, i64::MAX).share_at(Timestamp(0)),
            50_000
        );
    }

    proptest! {
        #[test]
        fn a_growing_ramp_never_moves_a_unit_out(from in 0..=SLOTS, more in 0..=SLOTS, start: i64, length in 1..1_000_000_i64, a: i64, b: i64) {
            let start = start / 2;
            let ramp = course(from, (from + more).min(SLOTS), start, start + length);
            let (sooner, later) = (a.min(b), a.max(b));
            prop_assert!(ramp.share_at(Timestamp(sooner)) <= ramp.share_at(Timestamp(later)));
        }
    }
}
