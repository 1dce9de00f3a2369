//! The exclusion groups of a flag, compiled: which units they let it reach.

use plane_model::FlagKey;
use plane_model::GroupName;
use plane_model::documents::{Bucketing, ExclusionGroup};

use super::serve::Unit;
use crate::clause::Facts;

/// One group that a flag is in.
#[derive(Debug)]
pub(crate) struct Exclusion {
    unit: Unit,
    /// The slots that may get the flag, in order.
    open: Box<[(u32, u32)]>,
}

impl Exclusion {
    /// Compiles what a group says of a flag; none if it does not name the flag.
    pub(crate) fn new(name: &GroupName, group: &ExclusionGroup, flag: &FlagKey) -> Option<Self> {
        Some(Self {
            open: group.open_slots(flag)?.into(),
            unit: Unit::new(group.by.as_ref(), &salt(name, group)),
        })
    }

    pub(super) fn reads_tenant(&self) -> bool {
        self.unit.reads_tenant()
    }

    /// Says whether the flag may reach the unit; none if the context has no such unit.
    #[inline]
    pub(super) fn lets_in(&self, facts: Facts<'_>, bucketing: Bucketing) -> Option<bool> {
        let slot = self.unit.slot(facts, bucketing)?;
        let at = self.open.partition_point(|(_, end)| *end <= slot);
        Some(self.open.get(at).is_some_and(|(start, _)| *start <= slot))
    }
}

/// What a group hashes before a unit.
///
/// No flag has such a key, so that who is let in does not decide which share of a flag's split it is in.
pub(crate) fn salt(name: &GroupName, group: &ExclusionGroup) -> String {
    group
        .salt
        .clone()
        .unwrap_or_else(|| format!("group:{name}"))
}
