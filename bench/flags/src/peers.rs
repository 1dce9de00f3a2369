//! The evaluators of others, each fed the same rules in its own words.

pub mod eppo;
pub mod flagd;
pub mod growthbook;
pub mod launchdarkly;
pub mod unleash;

use anyhow::Result;

use crate::workload::Field;

/// The peers, in the order of the table.
pub const ALL: [(&str, fn(&mut Field) -> Result<()>); 5] = [
    (unleash::NAME, unleash::enter),
    (eppo::NAME, eppo::enter),
    (launchdarkly::NAME, launchdarkly::enter),
    (growthbook::NAME, growthbook::enter),
    (flagd::NAME, flagd::enter),
];
