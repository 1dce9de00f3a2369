//! A state that is folded in this process, by the code that a server runs: for trees and unit tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use plane_eval::View;
use plane_model::{Digest, DocumentKey, EnvironmentName, PrincipalId, Timestamp, Violations};
use plane_state::delivery::At;
use plane_state::{
    Action, Bodies, BodyRef, Command, Op, Prepared, Sealed, SealedBody, State, prepare, seal,
};

/// The log's name: no server has such a log.
const LOG: &str = "local";

/// A state with commits of its own.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    state: State,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            state: State::genesis(LOG),
        }
    }

    /// Commits operations as a server would: all of them, or all that is wrong with them.
    ///
    /// The pointers of the findings begin with `/ops/INDEX`.
    pub(crate) fn commit(
        &mut self,
        action: Action,
        ops: Vec<Op>,
        now: Timestamp,
    ) -> Result<(), Violations> {
        let actor = PrincipalId::new("local").map_err(|error| vec![error.at("")])?;
        let command = Command {
            id: format!("local-{}", self.state.head().revision + 1),
            actor,
            action,
            reason: String::new(),
            source: "sdk".to_owned(),
            ops,
        };
        let prepared =
            prepare(&self.state, &command.into(), now).map_err(|rejection| rejection.violations)?;
        if !prepared.ops.is_empty() {
            self.fold(&prepared, now);
        }
        Ok(())
    }

    fn fold(&mut self, prepared: &Prepared, now: Timestamp) {
        // Salts keep bodies that were erased from being guessed; nothing here is ever stored.
        let sealed = seal(&self.state, prepared, now, &mut || [0; 16]);
        let revision = self.state.head().revision + 1;
        let bodies = Brought::of(&sealed);
        (self.state, _) = self
            .state
            .apply(revision, sealed.hash, &sealed.bytes, &bodies);
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The view of an environment, if there is such an environment.
    ///
    /// `revision` tells how revisions of documents are to be shown; see [`Revisions`].
    pub(crate) fn view(&self, name: &EnvironmentName, revisions: &Revisions) -> Option<View> {
        self.state.document(&DocumentKey::environment(name))?;
        let documents = self
            .state
            .entries()
            .filter_map(|(key, entry)| Some((key, revisions.of(key), entry.document()?)));
        Some(View::build(
            name.clone(),
            revisions.newest,
            documents,
            &self.state,
        ))
    }

    /// Where the state is, counting from `revision`.
    pub(crate) fn place(&self, revision: u64) -> At {
        let head = self.state.head();
        At {
            log: LOG.into(),
            epoch: self.state.epoch(),
            revision,
            head: head.hash,
        }
    }

    /// The environments, as text.
    pub(crate) fn environments(&self) -> Vec<String> {
        let names = self.state.environments();
        names.iter().map(ToString::to_string).collect()
    }
}

/// The revisions of documents over several states, each of which was folded from nothing.
///
/// A document keeps its revision for as long as its content is the same, so that what is shown as
/// changed has changed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Revisions {
    newest: u64,
    known: BTreeMap<DocumentKey, (Digest, u64)>,
}

impl Revisions {
    /// Counts a state as the next revision; says whether anything is another than before.
    pub(crate) fn advance(&mut self, state: &State) -> bool {
        let next = self.newest + 1;
        let known: BTreeMap<_, _> = state
            .entries()
            .map(|(key, entry)| {
                let digest = entry.content_digest();
                let revision = match self.known.get(key) {
                    Some((old, revision)) if *old == digest => *revision,
                    _ => next,
                };
                (key.clone(), (digest, revision))
            })
            .collect();
        let has_changed = self.newest == 0 || known != self.known;
        if has_changed {
            self.newest = next;
            self.known = known;
        }
        has_changed
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    fn of(&self, key: &DocumentKey) -> u64 {
        self.known
            .get(key)
            .map_or(self.newest, |(_, revision)| *revision)
    }
}

/// The bytes that a sealed commit brings.
struct Brought {
    bodies: BTreeMap<Digest, Arc<[u8]>>,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
}

impl Brought {
    fn of(sealed: &Sealed) -> Self {
        let body = |body: &SealedBody| (body.digest, body.bytes.clone());
        Self {
            bodies: sealed.bodies.iter().map(body).collect(),
            blobs: sealed.blobs.iter().cloned().collect(),
        }
    }
}

impl Bodies for Brought {
    fn body(&self, body: &BodyRef) -> Option<Arc<[u8]>> {
        match body {
            BodyRef::Salted(digest) => self.bodies.get(digest).cloned(),
            BodyRef::Blob(digest) => self.blobs.get(digest).cloned(),
        }
    }

    fn blob(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(digest).cloned()
    }
}
