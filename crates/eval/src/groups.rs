//! The exclusion groups of a view, and which flags are in which.

use std::sync::Arc;

use plane_model::documents::ExclusionGroup;
use plane_model::{Document, FlagKey, GroupName};

use crate::flag::Exclusion;

/// The exclusion groups of a view.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups {
    documents: imbl::OrdMap<GroupName, Arc<Document>>,
    /// The groups that name a flag.
    of_flags: imbl::OrdMap<FlagKey, imbl::OrdSet<GroupName>>,
}

impl Groups {
    /// Puts a group in place, or takes it away; returns the flags that it named or names now.
    pub(crate) fn set(
        &mut self,
        name: &GroupName,
        document: Option<&Arc<Document>>,
    ) -> Vec<FlagKey> {
        let before = match document {
            Some(document) => self.documents.insert(name.clone(), Arc::clone(document)),
            None => self.documents.remove(name),
        };
        let mut touched = Vec::new();
        for flag in before
            .iter()
            .filter_map(group)
            .flat_map(ExclusionGroup::flags)
        {
            if let Some(groups) = self.of_flags.get_mut(flag) {
                groups.remove(name);
                if groups.is_empty() {
                    self.of_flags.remove(flag);
                }
            }
            touched.push(flag.clone());
        }
        for flag in document
            .into_iter()
            .filter_map(group)
            .flat_map(ExclusionGroup::flags)
        {
            let groups = self.of_flags.entry(flag.clone()).or_default();
            groups.insert(name.clone());
            touched.push(flag.clone());
        }
        touched
    }

    /// The groups that a flag is in, by name.
    pub(crate) fn of(&self, flag: &FlagKey) -> impl Iterator<Item = (&GroupName, &ExclusionGroup)> {
        let names = self.of_flags.get(flag).into_iter().flatten();
        names.filter_map(|name| Some((name, group(self.documents.get(name)?)?)))
    }

    /// The groups that a flag is in, compiled.
    pub(crate) fn exclusions(&self, flag: &FlagKey) -> Box<[Exclusion]> {
        let groups = self.of(flag);
        groups
            .filter_map(|(name, group)| Exclusion::new(name, group, flag))
            .collect()
    }
}

fn group(document: &Arc<Document>) -> Option<&ExclusionGroup> {
    match &**document {
        Document::ExclusionGroup(group) => Some(group),
        _ => None,
    }
}
