//! Having units hashed in another way in an environment.

use plane_api::{BucketingRequest, CommitReply};
use plane_model::{Code, Document};
use plane_state::{Action, Change, Expect, Op};

use super::documents::{
    Written, answer, answered, command, commit_reply, environment, foreseen, give, visible,
};
use crate::body::typed;
use crate::call::{Answer, Call};
use crate::failure::Failure;

/// Changes an environment's bucketing; what is answered says whom it moves, also when it is done.
pub(super) async fn migrate(call: Call) -> Answer {
    let key = environment(&call)?;
    let snapshot = call.node().snapshot();
    let entry = visible(&call, &snapshot, &key)?;
    let wish: BucketingRequest = typed(&call.json()?)?;
    let Some(Document::Environment(body)) = entry.document().map(|it| &**it) else {
        let failure = Failure::new(Code::NotFound, format!("{key} cannot be read"));
        return Err(failure.next("write it anew"));
    };
    let migrated = plane_model::documents::Environment {
        bucketing: wish.bucketing,
        ..body.clone()
    };
    let op = Op {
        key,
        change: Change::Put(Document::Environment(migrated).to_value()),
        expect: Expect::Any,
    };
    let command = command(&call, Action::Migrate, vec![op], Some(wish.reason))?;
    let preview = call.node().preview(call.scope(), command.clone()).await?;
    let foreseen = foreseen(&call, preview).await?;
    if call.query().flag("dry_run")? {
        return answer(Written::Planned(foreseen));
    }
    let written = give(&call, command).await.map_err(Failure::rebased)?;
    let (revision, mut reply) = commit_reply(written);
    if let CommitReply::Committed(done) = &mut reply {
        done.plan.impact = foreseen.impact;
    }
    answered(revision, &reply)
}
