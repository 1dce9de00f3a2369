//! Callbacks for what changes: in order, coalesced to the latest, on a thread of their own.
//!
//! INVARIANT: nothing that a callback does holds up what is served.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use plane_eval::Context;
use serde_json::Value;

use super::answer;
use super::core::Core;
use super::error::Error;
use super::held::Held;
use super::status::Counts;

/// What changed, for a callback.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// What was asked to be watched: a path of the configuration, a flag, or empty for revisions and sources.
    pub subject: String,
    /// The value before; none if there was none.
    pub old: Option<Value>,
    /// The value now; none if there is none any more.
    pub new: Option<Value>,
    /// The revision that has it.
    pub revision: u64,
    /// How it came about, for a person.
    pub cause: String,
}

/// Something that is being watched; dropping it ends that.
///
/// A callback that runs while it ends is not waited for.
#[derive(Debug)]
#[must_use = "dropping it ends the watch; `keep` lets it go on for as long as the client"]
pub struct Watch {
    core: Arc<Core>,
    watcher: Option<Arc<Watcher>>,
}

impl Watch {
    /// Lets it go on for as long as the client is open.
    pub fn keep(mut self) {
        self.watcher = None;
    }

    /// Ends it.
    pub fn end(self) {}
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.has_ended.store(true, Ordering::Release);
            self.core.forget(&watcher);
        }
    }
}

/// What is watched.
#[derive(Debug, Clone)]
pub(crate) enum Watched {
    /// The configuration at a path, for a context.
    Config(String, Context),
    /// The value of a flag, for a context.
    Flag(String, Context),
    /// The revision that is served.
    Revision,
    /// Where what is served comes from.
    Source,
}

impl Watched {
    fn subject(&self) -> &str {
        match self {
            Self::Config(path, _) => path,
            Self::Flag(key, _) => key,
            Self::Revision | Self::Source => "",
        }
    }

    /// What is served with the part of the tenant that is watched; none if that is not to be had.
    fn with_tenant(&self, core: &Arc<Core>, held: Arc<Held>) -> Option<Arc<Held>> {
        let now = core.now();
        match self {
            Self::Config(_, ctx) | Self::Flag(_, ctx) if held.lacks(ctx, now) => {
                core.ready_for(ctx, now).ok()
            }
            _ => Some(held),
        }
    }

    /// The value by a view.
    fn read(&self, core: &Core, held: &Held) -> Option<Value> {
        let now = core.now();
        match self {
            Self::Config(path, ctx) => {
                let service = core.settings.service.name.as_deref();
                answer::config(&held.view, path, service, ctx).ok()
            }
            Self::Flag(key, ctx) => held.view.evaluate_key(key, ctx, now).value().cloned(),
            Self::Revision => Some(held.place.revision.into()),
            Self::Source => Some(core.source(Some(held)).as_str().into()),
        }
    }
}

type Callback = dyn Fn(&Update) + Send + Sync;

/// One callback and what it was told last.
pub(crate) struct Watcher {
    watched: Watched,
    callback: Box<Callback>,
    /// Read and written without a lock, so that a forked process goes on from it.
    last: ArcSwap<Option<Value>>,
    has_ended: AtomicBool,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("subject", &self.watched.subject())
            .finish_non_exhaustive()
    }
}

impl Watcher {
    /// Watches from what is served now.
    pub(crate) fn new(
        core: &Core,
        held: Option<&Held>,
        watched: Watched,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let last = held.and_then(|held| watched.read(core, held));
        Arc::new(Self {
            watched,
            callback: Box::new(callback),
            last: ArcSwap::from_pointee(last),
            has_ended: AtomicBool::new(false),
        })
    }

    /// Tells the callback if the value is another than before; only one thread of a process calls this.
    pub(crate) fn look(&self, core: &Arc<Core>, held: Arc<Held>) {
        if self.has_ended.load(Ordering::Acquire) {
            return;
        }
        // A tenant that cannot be had now is looked at again with the next news.
        let Some(held) = self.watched.with_tenant(core, held) else {
            return;
        };
        let new = self.watched.read(core, &held);
        let old = self.last.load();
        if **old == new {
            return;
        }
        self.last.store(Arc::new(new.clone()));
        let update = Update {
            subject: self.watched.subject().to_owned(),
            old: Option::clone(&old),
            new,
            revision: held.place.revision,
            cause: held.cause.to_string(),
        };
        // The callback is the caller's; whatever state it leaves behind is the caller's too.
        let done = catch_unwind(AssertUnwindSafe(|| (self.callback)(&update)));
        if done.is_err() {
            Counts::add(&core.counts.callback_panics);
            core.callback_panicked(&update);
        }
    }
}

impl Core {
    /// Calls back whenever what is watched has another value.
    pub(crate) fn watch(
        self: &Arc<Self>,
        watched: Watched,
        callback: impl Fn(&Update) + Send + Sync + 'static,
    ) -> Result<Watch, Error> {
        self.check_open()?;
        let held = self.held(self.now()).clone();
        let held = held.and_then(|held| watched.with_tenant(self, held));
        let watcher = Watcher::new(self, held.as_deref(), watched, callback);
        self.remember(&watcher);
        Ok(Watch {
            core: self.clone(),
            watcher: Some(watcher),
        })
    }
}
