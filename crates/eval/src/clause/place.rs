//! Where an attribute is found.

use plane_model::{AttributePath, Code, Label, Violation};

use super::Facts;
use crate::context::Seen;
use crate::hash::Ends;
use crate::tenant::TenantFacts;

/// What there is to know of a tenant.
const OF_TENANT: [&str; 5] = [
    "tenant.id",
    "tenant.plan",
    "tenant.region",
    "tenant.status",
    "tenant.labels.NAME",
];

/// Where an attribute is found, resolved once.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    TargetingKey,
    Tenant,
    TenantId,
    TenantPlan,
    TenantRegion,
    TenantStatus,
    TenantLabels,
    TenantLabel(Box<str>),
    User,
    UserId,
    Agent,
    Conversation,
    Named {
        ends: Ends,
        path: Box<str>,
    },
    /// A place that nothing can be at, such as `tenant.colour`; [`unplaced`] refuses to write one down.
    Nowhere,
}

/// Says that no attribute can be called so, if none can: no context has it, so that a rule about it is a slip.
pub fn unplaced(path: &AttributePath) -> Option<Violation> {
    if Place::new(path) != Place::Nowhere {
        return None;
    }
    let next = match path.steps().next() {
        Some("tenant") => format!(
            "use one of {}",
            OF_TENANT.map(|it| format!("`{it}`")).join(", ")
        ),
        root => format!(
            "use `{}`, which is a text, or another name for an attribute of your own",
            root.unwrap_or_default()
        ),
    };
    let detail = format!("no attribute can be called `{path}`");
    Some(Violation::new(Code::ExpressionInvalid, "", detail).next(next))
}

impl Place {
    pub(crate) fn new(path: &AttributePath) -> Self {
        let text = path.as_str();
        match text {
            "targetingKey" => Self::TargetingKey,
            "tenant" => Self::Tenant,
            "tenant.id" => Self::TenantId,
            "tenant.plan" => Self::TenantPlan,
            "tenant.region" => Self::TenantRegion,
            "tenant.status" => Self::TenantStatus,
            "tenant.labels" => Self::TenantLabels,
            "user" => Self::User,
            "user.id" => Self::UserId,
            "agent" => Self::Agent,
            "conversation" => Self::Conversation,
            _ => match text.split_once('.') {
                Some(("tenant", rest)) => match rest.split_once('.') {
                    Some(("labels", name)) => Self::TenantLabel(name.into()),
                    _ => Self::Nowhere,
                },
                Some(("targetingKey" | "agent" | "conversation", _)) => Self::Nowhere,
                _ => Self::Named {
                    ends: Ends::of(text.as_bytes()),
                    path: text.into(),
                },
            },
        }
    }

    /// Says whether reading it needs what is known of the tenant.
    pub(crate) fn reads_tenant(&self) -> bool {
        matches!(
            self,
            Self::TenantPlan
                | Self::TenantRegion
                | Self::TenantStatus
                | Self::TenantLabels
                | Self::TenantLabel(_)
        )
    }

    #[inline]
    pub(crate) fn read<'a>(&self, facts: Facts<'a>) -> Seen<'a> {
        let text = |text: Option<&'a str>| text.map_or(Seen::Missing, Seen::Text);
        let object = |there: bool| if there { Seen::Object } else { Seen::Missing };
        let tenant = || facts.tenant.and_then(TenantFacts::tenant);
        match self {
            Self::Named { ends, path } => facts.ctx.attribute(*ends, path),
            Self::TargetingKey => text(facts.ctx.targeting_key()),
            Self::Tenant => object(facts.ctx.tenant().is_some()),
            Self::TenantId => text(facts.ctx.tenant()),
            Self::TenantPlan => text(tenant().and_then(|it| it.plan.as_ref()).map(Label::as_str)),
            Self::TenantRegion => text(
                tenant()
                    .and_then(|it| it.region.as_ref())
                    .map(Label::as_str),
            ),
            Self::TenantStatus => text(tenant().map(|it| it.status.as_str())),
            Self::TenantLabels => object(tenant().is_some_and(|it| !it.labels.is_empty())),
            Self::TenantLabel(name) => text(tenant().and_then(|it| it.labels.get(name))),
            Self::User => object(facts.ctx.has_user()),
            Self::UserId => text(facts.ctx.user()),
            Self::Agent => text(facts.ctx.agent()),
            Self::Conversation => text(facts.ctx.conversation()),
            Self::Nowhere => Seen::Missing,
        }
    }

    /// Calls `take` with the text that identifies a unit; none if the attribute cannot identify one.
    ///
    /// A string identifies a unit unless it is empty, and so does a whole number within ±2^53, by
    /// its decimal digits.
    #[inline]
    pub(crate) fn unit<T>(&self, facts: Facts<'_>, take: impl FnOnce(&str) -> T) -> Option<T> {
        match self.read(facts) {
            Seen::Text("") => None,
            Seen::Text(text) => Some(take(text)),
            Seen::Number(number) => {
                let mut digits = [0; 20];
                decimal(number, &mut digits).map(take)
            }
            _ => None,
        }
    }
}

/// The whole number, if it is one that a double holds exactly.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a whole number within ±2^53 fits"
)]
pub(super) fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    (number.fract() == 0.0 && number.abs() <= EXACT_MAX).then_some(number as i64)
}

/// Writes a whole number as its decimal digits, without allocating.
fn decimal(number: f64, digits: &mut [u8; 20]) -> Option<&str> {
    let whole = whole(number)?;
    let mut left = whole.unsigned_abs();
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    if whole < 0 {
        used += 1;
        *digits.get_mut(20 - used)? = b'-';
    }
    std::str::from_utf8(digits.get(20 - used..)?).ok()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn whole_numbers_identify_units_by_their_digits() {
        for (number, expected) in [
            (0.0, Some("0")),
            (-0.0, Some("0")),
            (7.0, Some("7")),
            (255.0, Some("255")),
            (1_234_567_890.0, Some("1234567890")),
            (-42.0, Some("-42")),
            (9_007_199_254_740_991.0, Some("9007199254740991")),
            (9_007_199_254_740_992.0, None),
            (1.5, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(decimal(number, &mut [0; 20]), expected, "{number}");
        }
    }

    #[test]
    fn what_is_proposed_for_a_place_that_nothing_can_be_at_is_one_itself() {
        let fault = |path: &str| unplaced(&AttributePath::new(path).unwrap());
        for path in OF_TENANT {
            assert_eq!(fault(path), None);
        }
        for path in [
            "tenant",
            "user.colour",
            "targetingKey",
            "agent",
            "tenants.colour",
        ] {
            assert_eq!(fault(path), None);
        }
        expect![[r"
            no attribute can be called `tenant.plna` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
            no attribute can be called `tenant.label.tier` [EXPRESSION_INVALID]; use one of `tenant.id`, `tenant.plan`, `tenant.region`, `tenant.status`, `tenant.labels.NAME`
            no attribute can be called `targetingKey.a` [EXPRESSION_INVALID]; use `targetingKey`, which is a text, or another name for an attribute of your own
            no attribute can be called `agent.name` [EXPRESSION_INVALID]; use `agent`, which is a text, or another name for an attribute of your own
            no attribute can be called `conversation.id` [EXPRESSION_INVALID]; use `conversation`, which is a text, or another name for an attribute of your own"]].assert_eq(
            &[
                "tenant.plna",
                "tenant.label.tier",
                "targetingKey.a",
                "agent.name",
                "conversation.id",
            ]
            .map(|path| fault(path).unwrap().to_string())
            .join("\n"),
        );
    }
}
