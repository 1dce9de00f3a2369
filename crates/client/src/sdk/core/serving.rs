//! What is put in the place of what is served.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use plane_state::Breach;

use super::Core;
use crate::sdk::event::Level;
use crate::sdk::held::{Held, Origin};
use crate::sdk::local::{Local, Revisions};
use crate::sdk::process::Process;
use crate::sdk::status::Counts;
use crate::sdk::tree::TreeFollower;

impl Core {
    /// Serves what a test says now.
    pub(crate) fn serve_memory(&self, local: &Local, revisions: &Revisions) {
        let is_newer = |held: &Held| held.place.revision < revisions.newest();
        if !self.held.load().as_deref().is_none_or(is_newer) {
            return;
        }
        let Some(view) = local.view(&self.name, revisions) else {
            return;
        };
        let process = self.own_process();
        self.serve(
            &process,
            Held {
                view,
                origin: Origin::Memory,
                place: local.place(revisions.newest()),
                cause: "the test changed it".into(),
                on_demand: None,
            },
        );
    }

    /// Puts a view in the place of the one that is served.
    pub(crate) fn serve(&self, process: &Process, held: Held) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let (revision, cause) = (held.place.revision, held.cause.clone());
        let is_followed = held.origin == Origin::Server;
        let is_kept = held.origin == Origin::Kept;
        let is_fallback = is_kept || held.origin == Origin::Bundled;
        self.replace(held);
        if is_followed {
            self.refusal.store(None);
        }
        Counts::add(&self.counts.updates);
        if !is_fallback {
            self.confirm();
        }
        let mut progress = process.progress();
        progress.news += 1;
        progress.untold += 1;
        let is_first = !progress.is_settled;
        // What was kept is served, but a first use waits whether a server has something newer.
        progress.is_settled |= !is_kept;
        // What is served for want of something better is no sign that all is well again.
        let had_error = !is_fallback && progress.recover();
        process.moved.notify_all();
        drop(progress);
        // Commits are the daily business of a server; its log has them.
        if is_first || had_error || !is_followed {
            self.tell(
                Level::Info,
                None,
                format!("revision {revision} is served: {cause}"),
            );
        }
    }

    /// Puts a view in the place of one that differs from it only in what is held.
    pub(crate) fn replace(&self, held: Held) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        let held = self.fulfilled(held);
        self.held.store(Some(Arc::new(held)));
    }

    /// Puts what was served before in the place of what breaks what the service relies on.
    fn fulfilled(&self, held: Held) -> Held {
        let Some(contract) = &self.settings.checked else {
            return held;
        };
        let service = self.settings.service.name.as_deref();
        let (breaches, keep) = contract.check(&held.view, service);
        let news: Vec<_> = {
            let before = self.breaches.load();
            let news = breaches.iter().filter(|it| !before.contains(it));
            news.cloned().collect()
        };
        let is_broken = !breaches.is_empty();
        self.breaches.store(Arc::new(breaches));
        if !news.is_empty() {
            Counts::add(&self.counts.rejected);
        }
        for breach in news {
            let message = format!(
                "revision {} is not served for {}, whose last good content serves: {}{}",
                held.place.revision,
                breach.subject,
                if breach.pointer.is_empty() {
                    String::new()
                } else {
                    format!("{}: ", breach.pointer)
                },
                breach.detail
            );
            self.tell(Level::Error, None, message);
        }
        if !is_broken {
            return held;
        }
        let before = self.peek();
        let view = held.view.keeping(before.as_ref().map(|it| &it.view), &keep);
        Held { view, ..held }
    }

    /// What the service relies on and the newest revision breaks.
    pub(crate) fn breaches(&self) -> Arc<Vec<Breach>> {
        self.breaches.load_full()
    }

    /// Serves the bundled tree, for there is nothing better.
    pub(super) fn fall_back(&self, process: &Process) {
        let Some(root) = &self.settings.bundled else {
            return;
        };
        match TreeFollower::new(root.clone()).load(self) {
            Ok(Some(held)) => {
                let bundled = Held {
                    origin: Origin::Bundled,
                    cause: "no server answers, and the bundled tree was read".into(),
                    ..held
                };
                self.serve(process, bundled);
            }
            Ok(None) => {}
            Err(error) => self.failed(process, error),
        }
    }

    /// Notes that there is nothing newer than what is served.
    pub(crate) fn confirm(&self) {
        self.confirmed_at.store(self.now().0, Ordering::Relaxed);
    }
}
