//! What a rule or a default serves: a variant, the caller's default, a split or a ramp.

mod ramp;
mod slots;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::parse::coded;
use crate::{AttributePath, Code, VariantName};

pub use self::ramp::{Course, Ramp};
pub(crate) use self::slots::{Lot, allocate, excess, fault as slots_fault, percent};
pub use self::slots::{SLOTS, Share};
use self::slots::{percent_number, thousandth};

/// The slots from `start` to before `end`, and what they get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Range {
    /// What the slots get.
    pub variant: VariantName,
    /// The first slot.
    pub start: u32,
    /// The slot after the last.
    pub end: u32,
}

/// A division of units over variants.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What is divided: the attribute whose value is hashed; the targeting key if absent.
    pub by: Option<AttributePath>,
    /// What is hashed before the unit; the flag's key if absent.
    pub salt: Option<String>,
    /// How.
    pub shares: Shares,
}

/// How a split is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Shares {
    /// As people write it; a commit turns it into ranges. Thousandths of a percent.
    Percent(BTreeMap<VariantName, u32>),
    /// As it is stored: sorted ranges that do not overlap. What is left over gets the off variant.
    Ranges(Vec<Range>),
}

/// What is served.
#[derive(Debug, Clone, PartialEq)]
pub enum Serve {
    /// One variant for all.
    Variant(VariantName),
    /// The default that the caller names.
    CallerDefault,
    /// A share of the units for each variant.
    Split(Split),
    /// A share of the units that changes with time.
    Ramp(Ramp),
}

impl Serve {
    /// What is divided, if something is and it is not the targeting key.
    pub fn by(&self) -> Option<&AttributePath> {
        match self {
            Self::Variant(_) | Self::CallerDefault => None,
            Self::Split(split) => split.by.as_ref(),
            Self::Ramp(ramp) => ramp.by.as_ref(),
        }
    }

    /// Calls `visit` on every variant that may be served.
    pub fn for_each_variant<'a>(&'a self, mut visit: impl FnMut(&'a VariantName)) {
        match self {
            Self::Variant(variant) => visit(variant),
            Self::CallerDefault => {}
            Self::Ramp(ramp) => visit(&ramp.course.variant),
            Self::Split(split) => match &split.shares {
                Shares::Percent(shares) => shares.keys().for_each(visit),
                Shares::Ranges(ranges) => ranges.iter().map(|it| &it.variant).for_each(visit),
            },
        }
    }
}

impl Split {
    /// The split with its shares as ranges that move no more units than they must.
    ///
    /// `previous` are the ranges of the split that this one replaces; they count only if unit and
    /// salt stay the same, because other slots would be other units.
    #[must_use]
    pub fn settled(self, previous: Option<&Split>) -> Self {
        let Shares::Percent(shares) = &self.shares else {
            return self;
        };
        let kept = match previous {
            Some(Split {
                by,
                salt,
                shares: Shares::Ranges(ranges),
            }) if *by == self.by && *salt == self.salt => ranges.as_slice(),
            _ => &[],
        };
        Self {
            shares: Shares::Ranges(ranges(kept, shares)),
            ..self
        }
    }

    /// The percentages that the ranges add up to, in thousandths, for people to read.
    pub fn totals(&self) -> BTreeMap<VariantName, u32> {
        match &self.shares {
            Shares::Percent(shares) => shares.clone(),
            Shares::Ranges(ranges) => {
                let mut totals = BTreeMap::new();
                for range in ranges {
                    let total = totals.entry(range.variant.clone()).or_insert(0_u32);
                    *total = total.saturating_add(range.end.saturating_sub(range.start));
                }
                totals
            }
        }
    }

    /// Says whether the ranges are what the same percentages give where there was no split before.
    pub fn is_fresh(&self) -> bool {
        match &self.shares {
            Shares::Percent(_) => true,
            Shares::Ranges(laid) => *laid == ranges(&[], &self.totals()),
        }
    }

    /// What is wrong with the shares, if anything.
    pub fn fault(&self) -> Option<String> {
        match &self.shares {
            Shares::Percent(shares) if shares.is_empty() => {
                Some("the split gives nobody anything".to_owned())
            }
            Shares::Percent(shares) => excess(shares.values().copied()),
            Shares::Ranges(ranges) => slots_fault(ranges.iter().map(|it| (it.start, it.end))),
        }
    }
}

/// The ranges that give each variant its share and change what `kept` gives as little as possible.
fn ranges(kept: &[Range], shares: &BTreeMap<VariantName, u32>) -> Vec<Range> {
    let kept: Vec<_> = kept
        .iter()
        .map(|range| Lot {
            holder: range.variant.clone(),
            start: range.start,
            end: range.end,
        })
        .collect();
    let lots = allocate(&kept, shares).into_iter();
    lots.map(|lot| Range {
        variant: lot.holder,
        start: lot.start,
        end: lot.end,
    })
    .collect()
}

impl Serialize for Serve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Variant(variant) => variant.serialize(serializer),
            Self::CallerDefault => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("caller_default", &true)?;
                map.end()
            }
            Self::Split(split) => split.serialize(serializer),
            Self::Ramp(ramp) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("ramp", &ramp.course)?;
                serialize_unit(&mut map, ramp.by.as_ref(), ramp.salt.as_deref())?;
                map.end()
            }
        }
    }
}

fn serialize_unit<M: SerializeMap>(
    map: &mut M,
    by: Option<&AttributePath>,
    salt: Option<&str>,
) -> Result<(), M::Error> {
    if let Some(by) = by {
        map.serialize_entry("by", by)?;
    }
    if let Some(salt) = salt {
        map.serialize_entry("salt", salt)?;
    }
    Ok(())
}

impl Serialize for Split {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.shares {
            Shares::Percent(shares) => {
                let shares: BTreeMap<_, _> = shares
                    .iter()
                    .map(|(variant, share)| (variant, percent_number(*share)))
                    .collect();
                map.serialize_entry("percent", &shares)?;
            }
            Shares::Ranges(ranges) => map.serialize_entry("ranges", ranges)?,
        }
        serialize_unit(&mut map, self.by.as_ref(), self.salt.as_deref())?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Serve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServeVisitor)
    }
}

impl<'de> Deserialize<'de> for Split {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Serve::deserialize(deserializer)? {
            Serve::Split(split) => Ok(split),
            _ => Err(coded(
                Code::SplitInvalid,
                "a split has `percent` or `ranges`",
                "write one of the two",
            )),
        }
    }
}

struct ServeVisitor;

impl<'de> Visitor<'de> for ServeVisitor {
    type Value = Serve;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a variant's name, or an object with `percent`, `ranges`, `ramp` or `caller_default`",
        )
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Serve, E> {
        VariantName::new(text)
            .map(Serve::Variant)
            .map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Serve, A::Error> {
        let mut shares = None;
        let mut caller = None;
        let mut course = None;
        let mut by = None;
        let mut salt = None;
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "percent" | "ranges" if shares.is_some() => {
                    return Err(coded(
                        Code::SplitInvalid,
                        "a split has `percent` or `ranges`, not both",
                        "leave one of the two out",
                    ));
                }
                "percent" => {
                    let percent = map.next_value::<BTreeMap<VariantName, f64>>()?;
                    shares = Some(Shares::Percent(thousandths(percent)?));
                }
                "ranges" => shares = Some(Shares::Ranges(map.next_value()?)),
                "ramp" => course = Some(map.next_value()?),
                "caller_default" => caller = Some(map.next_value::<bool>()?),
                "by" => by = Some(map.next_value()?),
                "salt" => salt = Some(map.next_value()?),
                other => {
                    let other: String = other.chars().take(80).collect();
                    return Err(coded(
                        Code::FieldUnknown,
                        format_args!(
                            "unknown field `{other}`: a split has `percent`, `ranges` or `ramp`, `by` and `salt`"
                        ),
                        "remove it or correct its spelling",
                    ));
                }
            }
        }
        match (shares, course, caller) {
            (Some(shares), None, None) => Ok(Serve::Split(Split { by, salt, shares })),
            (None, Some(course), None) => Ok(Serve::Ramp(Ramp { by, salt, course })),
            (None, None, Some(true)) if by.is_none() && salt.is_none() => Ok(Serve::CallerDefault),
            _ => Err(coded(
                Code::SplitInvalid,
                "it must say one thing that is served",
                "write a variant's name, one of `percent`, `ranges` and `ramp`, or `caller_default: true`",
            )),
        }
    }
}

fn thousandths<E: serde::de::Error>(
    percent: BTreeMap<VariantName, f64>,
) -> Result<BTreeMap<VariantName, u32>, E> {
    percent
        .into_iter()
        .map(|(variant, percent)| {
            let share = thousandth(percent, &format!("`{variant}`"))?;
            Ok((variant, share))
        })
        .collect()
}

/// What the field `by` of a split and of a ramp says.
const BY: &str =
    "What is divided: the attribute whose value is hashed; the targeting key if absent.";

fn salt() -> serde_json::Value {
    serde_json::json!({
        "description": "What is hashed before the unit; the flag's key if absent.",
        "type": "string"
    })
}

/// The schema with what it means here.
fn described(schema: &schemars::Schema, description: &str) -> schemars::Schema {
    let mut schema = schema.clone();
    schema.insert("description".to_owned(), description.into());
    schema
}

impl schemars::JsonSchema for Serve {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Serve".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let variant = generator.subschema_for::<VariantName>();
        let split = generator.subschema_for::<Split>();
        let ramp = generator.subschema_for::<Ramp>();
        schemars::json_schema!({
            "description": "What is served: a variant, by its name, to all; a split or a ramp; or the default that the caller names.",
            "anyOf": [
                variant,
                split,
                ramp,
                {
                    "description": "The default that the caller names, for all.",
                    "type": "object", "properties": { "caller_default": { "const": true } },
                    "required": ["caller_default"], "additionalProperties": false
                }
            ]
        })
    }
}

impl schemars::JsonSchema for Ramp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ramp".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let course = generator.subschema_for::<Course>();
        let by = generator.subschema_for::<AttributePath>();
        schemars::json_schema!({
            "description": "A share of the units that goes evenly from one percentage to another between two times. Who is in stays in while it grows; all others get the off variant.",
            "type": "object",
            "properties": { "ramp": course, "by": described(&by, BY), "salt": salt() },
            "required": ["ramp"],
            "additionalProperties": false
        })
    }
}

impl schemars::JsonSchema for Split {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Split".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let range = generator.subschema_for::<Range>();
        let by = generator.subschema_for::<AttributePath>();
        schemars::json_schema!({
            "description": "A division of units over variants: `percent` as people write it, or `ranges` as a commit stores it, never both. What is left over gets the off variant.",
            "type": "object",
            "properties": {
                "percent": {
                    "description": "The percentage of each variant, to a thousandth, 100 in all at most. A commit turns them into ranges that move no more units than they must.",
                    "type": "object",
                    "additionalProperties": { "type": "number", "minimum": 0, "maximum": 100 }
                },
                "ranges": {
                    "description": "Who gets which of 100,000 slots: sorted ranges that do not overlap.",
                    "type": "array", "items": range
                },
                "by": described(&by, BY),
                "salt": salt()
            },
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn split(shares: &[(&str, u32)]) -> Split {
        let shares = shares
            .iter()
            .map(|(name, share)| (VariantName::new(name).unwrap(), *share))
            .collect();
        Split {
            by: None,
            salt: None,
            shares: Shares::Percent(shares),
        }
    }

    fn serving(split: &Split, slot: u32) -> Option<&str> {
        let Shares::Ranges(ranges) = &split.shares else {
            panic!("settled splits have ranges")
        };
        let mut serving = ranges
            .iter()
            .filter(|it| (it.start..it.end).contains(&slot));
        let first = serving.next().map(|it| it.variant.as_str());
        assert!(serving.next().is_none(), "ranges overlap");
        first
    }

    #[test]
    fn serves_are_read_and_written_in_one_form() {
        for value in [
            json!("on"),
            json!({"caller_default": true}),
            json!({"percent": {"on": 25, "off": 0.125}, "by": "tenant.id"}),
            json!({"ranges": [{"variant": "on", "start": 0, "end": 5}], "salt": "s"}),
            json!({"ramp": {"variant": "on", "from": 0, "to": 12.5, "start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}, "by": "tenant.id"}),
        ] {
            let serve: Serve = crate::parse_strict(&value).unwrap();
            assert_eq!(serde_json::to_value(&serve).unwrap(), value);
        }
    }

    #[test]
    fn percentages_out_of_range_or_too_fine_are_refused() {
        for value in [
            json!({"percent": {"on": 101}}),
            json!({"percent": {"on": -1}}),
            json!({"percent": {"on": 0.0001}}),
            json!({"percent": {"on": 1}, "ranges": []}),
            json!({"percent": {"on": 1}, "buy": "x"}),
            json!({"by": "tenant.id"}),
            json!({"ramp": {"variant": "on", "to": 101, "start": "2026-01-01", "end": "2026-02-01"}}),
            json!({"ramp": {"variant": "on", "to": 1, "start": "2026-01-01"}}),
            json!({"ramp": {"variant": "on", "to": 1, "start": "2026-01-01", "end": "2026-02-01"}, "percent": {"on": 1}}),
        ] {
            assert!(crate::parse_strict::<Serve>(&value).is_err(), "{value}");
        }
        assert!(split(&[("a", 60_000), ("b", 50_000)]).fault().is_some());
    }

    proptest! {
        #[test]
        fn a_unit_stays_in_when_a_percentage_grows(from in 0..=SLOTS, more in 0..=SLOTS, slot in 0..SLOTS) {
            let to = (from + more).min(SLOTS);
            let before = split(&[("on", from)]).settled(None);
            let after = split(&[("on", to)]).settled(Some(&before));
            if serving(&before, slot) == Some("on") {
                prop_assert_eq!(serving(&after, slot), Some("on"));
            }
        }

        #[test]
        fn an_edit_moves_only_the_slots_that_it_must(
            a in 0..=50_000_u32, b in 0..=50_000_u32, c in 0..=50_000_u32, d in 0..=50_000_u32,
        ) {
            let before = split(&[("a", a), ("b", b)]).settled(None);
            let after = split(&[("a", c), ("b", d)]).settled(Some(&before));
            prop_assert_eq!(after.fault(), None);
            prop_assert_eq!(after.totals().values().sum::<u32>(), c + d);
            let grown = c.saturating_sub(a) + d.saturating_sub(b);
            let shrunk = a.saturating_sub(c) + b.saturating_sub(d);
            let moved = (0..SLOTS).filter(|slot| serving(&before, *slot) != serving(&after, *slot)).count();
            prop_assert!(moved <= (grown + shrunk) as usize, "moved {}, needed {}", moved, grown + shrunk);
        }
    }
}
