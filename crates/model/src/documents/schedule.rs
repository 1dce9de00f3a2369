//! Changes that are filed today and made later, by the authority of who filed them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{check_prose, check_reason};
use crate::{
    Code, DocumentKey, Kind, PrincipalId, Timestamp, TokenId, Violation, Violations, limits,
};

/// Changes to be made at a time that is to come, all in one commit.
///
/// It goes away with the commit that makes them. If they cannot be made it stays, and says why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Schedule {
    /// When.
    pub at: Timestamp,
    /// Why, for those who read the log later.
    pub reason: String,
    /// What is done to which document; each document occurs once.
    pub ops: Vec<ScheduledOp>,
    /// Who filed it: the changes are made in their name, if their token still allows them then. The server fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("readOnly" = true))]
    pub author: Option<Author>,
    /// Why the changes were not made when they were due. The server fills it in; file the schedule anew to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("readOnly" = true))]
    pub failed: Option<ScheduleFailure>,
}

/// What is done to one document when a schedule is due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ScheduledOp {
    /// Put, patch or delete.
    pub op: ScheduledChange,
    /// The kind.
    pub kind: Kind,
    /// The scope; left out where the kind has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The name.
    pub name: String,
    /// With `put` the whole document; with `patch` a JSON merge patch (RFC 7396) of what is there then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Only if the document was last changed at this revision. With `put` and `delete` the server fills it in, so
    /// that nobody's later work is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Only if the document is not there. With `put` the server fills it in where there is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_absent: bool,
}

/// Put, patch or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ScheduledChange {
    /// The document is there afterwards, with the body of the operation.
    Put,
    /// The document is there and changes as the body of the operation says.
    Patch,
    /// The document is not there afterwards.
    Delete,
}

/// Who filed a schedule, and with which token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Author {
    /// Who.
    pub principal: PrincipalId,
    /// With which token.
    pub token: TokenId,
}

/// Why a schedule's changes were not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ScheduleFailure {
    /// The error's code.
    pub code: Code,
    /// What is wrong, in the user's terms.
    pub detail: String,
    /// When it was found out.
    pub at: Timestamp,
}

impl ScheduledOp {
    /// The document, if it has a name of its kind.
    ///
    /// # Errors
    /// The name or the scope is none of the kind.
    pub fn key(&self) -> Result<DocumentKey, Violation> {
        DocumentKey::new(self.kind, &self.scope, &self.name).map_err(|it| it.below("/name"))
    }

    fn check(&self, environment: &str, pointer: &str, found: &mut Violations) {
        match self.key() {
            Err(violation) => found.push(violation.below(pointer)),
            Ok(key) => {
                let other = key.environment_name();
                if let Some(other) = other.filter(|it| it.as_str() != environment) {
                    let detail = format!("a schedule in {environment} changes nothing in {other}");
                    found.push(
                        Violation::new(Code::FieldInvalid, format!("{pointer}/scope"), detail)
                            .next(format!("file another schedule in {other}")),
                    );
                }
                if key.kind() == Kind::Schedule {
                    let pointer = format!("{pointer}/kind");
                    let detail = "a schedule does not change schedules";
                    found.push(
                        Violation::new(Code::CommandRequired, pointer, detail)
                            .next("file or cancel the other schedule by itself"),
                    );
                }
            }
        }
        let place = format!("{pointer}/body");
        match (self.op, &self.body) {
            (ScheduledChange::Put, None) => found.push(
                Violation::new(Code::FieldMissing, place, "a put has no body")
                    .next("add `body`: what the document says"),
            ),
            (ScheduledChange::Patch, Some(Value::Object(_)))
            | (ScheduledChange::Put, Some(_))
            | (ScheduledChange::Delete, None) => {}
            (ScheduledChange::Patch, _) => found.push(
                Violation::new(
                    Code::FieldInvalid,
                    place,
                    "a patch has no object as its body",
                )
                .next("name the fields that change in `body`; null takes one away"),
            ),
            (ScheduledChange::Delete, Some(_)) => found.push(
                Violation::new(Code::FieldInvalid, place, "a delete has a body")
                    .next("remove `body`"),
            ),
        }
        if self.if_absent && (self.op != ScheduledChange::Put || self.if_revision.is_some()) {
            let place = format!("{pointer}/if_absent");
            let detail = "only a put can be of a document that is not there";
            found.push(
                Violation::new(Code::FieldInvalid, place, detail)
                    .next("leave out `if_absent`, or `if_revision`"),
            );
        }
    }
}

impl Schedule {
    pub(super) fn check(&self, key: &DocumentKey, found: &mut Violations) {
        check_reason("/reason", &self.reason, found);
        if self.ops.is_empty() {
            found.push(
                Violation::new(Code::CommitEmpty, "/ops", "the schedule changes nothing")
                    .next("name at least one document to put, patch or delete"),
            );
        }
        for (index, op) in self.ops.iter().enumerate() {
            op.check(key.scope(), &format!("/ops/{index}"), found);
        }
        let failed = self.failed.as_ref();
        check_prose("/failed/detail", failed.map(|it| it.detail.as_str()), found);
    }

    /// Refuses a time that is past or too far away.
    ///
    /// # Errors
    /// [`Code::FieldInvalid`] or [`Code::LimitExceeded`], at `/at`.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Violation> {
        let at = self.at;
        if at <= now {
            let detail = format!("{at} has passed already: it is {now}");
            return Err(Violation::new(Code::FieldInvalid, "/at", detail)
                .next("choose a time that is to come, or make the change now"));
        }
        let days = limits::SCHEDULE_DAYS_MAX;
        if at.as_ms().saturating_sub(now.as_ms()) > days.saturating_mul(86_400_000) {
            let detail = format!("{at} is more than {days} days away");
            return Err(Violation::new(Code::LimitExceeded, "/at", detail)
                .next(format!("choose a time within {days} days")));
        }
        Ok(())
    }
}
