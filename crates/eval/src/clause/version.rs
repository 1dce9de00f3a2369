//! Comparing the version that a service reports with that of a rule.

use std::cmp::Ordering;

use plane_model::{Operator, ReportedVersion};

use super::Verdict;

/// A version that others are compared with.
#[derive(Debug, Clone)]
pub(super) struct VersionTest {
    how: How,
    than: ReportedVersion<'static>,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Equals,
    Lt,
    Le,
    Gt,
    Ge,
    SameMajor,
    SameMinor,
}

impl VersionTest {
    pub(super) fn new(operator: Operator, than: &str) -> Option<Self> {
        let how = match operator {
            Operator::SemverEquals => How::Equals,
            Operator::SemverLt => How::Lt,
            Operator::SemverLe => How::Le,
            Operator::SemverGt => How::Gt,
            Operator::SemverGe => How::Ge,
            Operator::SemverSameMajor => How::SameMajor,
            Operator::SemverSameMinor => How::SameMinor,
            _ => return None,
        };
        let than = ReportedVersion::new(than)?.into_owned();
        Some(Self { how, than })
    }

    /// Compares a reported version; unknown if the text is not one.
    pub(super) fn of(&self, text: &str) -> Verdict {
        let Some(version) = ReportedVersion::new(text) else {
            return Verdict::Unknown;
        };
        let than = &self.than;
        let order = version.cmp(than);
        match self.how {
            How::Equals => order == Ordering::Equal,
            How::Lt => order == Ordering::Less,
            How::Le => order != Ordering::Greater,
            How::Gt => order == Ordering::Greater,
            How::Ge => order != Ordering::Less,
            How::SameMajor => version.major() == than.major(),
            How::SameMinor => version.major() == than.major() && version.minor() == than.minor(),
        }
        .into()
    }
}
