//! Who refers to a document.

use plane_api::{Use, UsesReply};
use plane_model::{Code, Kind};
use plane_state::{Subject, uses as uses_of};

use crate::call::{Answer, Call, json, no_environment};
use crate::failure::Failure;

/// How many places are listed.
const LISTED_MAX: usize = 1_000;

/// Says who refers to a document, of those that the caller may know of and that hold in the environment.
pub(super) async fn uses(call: Call) -> Answer {
    let environment = call.environment()?;
    let snapshot = call.snapshot().await?;
    if snapshot.view(&environment).is_none() {
        return Err(no_environment(environment.as_str()));
    }
    let kind: Kind = call.param("kind")?.parse()?;
    let name = call.param("name")?;
    let subject = Subject::new(kind, name)?;
    let is_seen = subject.key().is_none_or(|key| call.scope().sees(&key));
    if !is_seen || !subject.is_in(snapshot.state()) {
        return Err(
            Failure::new(Code::NotFound, format!("there is no {subject}"))
                .next("check the name, and that the token covers it"),
        );
    }
    let revision = snapshot.revision();
    let (scope, asked) = (call.scope().clone(), environment.clone());
    let work = move || {
        uses_of(snapshot.state(), &subject, |key| {
            scope.sees(key) && key.environment_name().is_none_or(|it| it == asked)
        })
    };
    let found = call.node().apart(work).await?;
    let reply = UsesReply {
        kind,
        name: name.to_owned(),
        environment,
        revision,
        count: u64::try_from(found.len()).unwrap_or(u64::MAX),
        uses: found
            .into_iter()
            .take(LISTED_MAX)
            .map(|it| Use {
                kind: it.key.kind(),
                scope: it.key.scope().to_owned(),
                name: it.key.name().to_owned(),
                pointer: it.pointer,
            })
            .collect(),
    };
    json(revision, &reply)
}
