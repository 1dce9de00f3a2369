//! What does not go well, and who is told of it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plane_model::{Code, Timestamp};

use super::Core;
use crate::sdk::ack::Refusal;
use crate::sdk::error::Error;
use crate::sdk::event::{Event, Level};
use crate::sdk::process::Process;
use crate::sdk::status::{Counts, HeldBack};
use crate::sdk::watch::Update;

impl Core {
    /// Notes that no server answers, or none that can be used.
    pub(crate) fn disconnected(&self, process: &Process, error: Error) {
        if self.is_connected.swap(false, Ordering::Relaxed) {
            process.has_news();
        }
        match error {
            Error::Forked { .. } => Counts::add(&self.counts.forks),
            Error::Unverified { .. } | Error::KeyUntrusted { .. } => {
                Counts::add(&self.counts.unverified);
            }
            _ => {}
        }
        self.failed(process, error);
        if self.held.load().is_none() {
            self.fall_back(process);
        }
    }

    /// Notes that something came that could not be served, of a revision if that is known.
    pub(crate) fn refused(&self, process: &Process, revision: Option<u64>, error: &Error) {
        Counts::add(&self.counts.rejected);
        let served = || self.held.load().as_ref().map(|it| it.place.revision);
        let revision = revision.or_else(served).unwrap_or_default();
        let detail = format!("{}: {error}", error.code_text());
        self.refusal
            .store(Some(Arc::new(Refusal { revision, detail })));
        process.tell_servers();
    }

    /// What could not be served at all, since something else was.
    pub(crate) fn refusal(&self) -> Option<Arc<Refusal>> {
        self.refusal.load_full()
    }

    /// The documents whose newest content is not served.
    pub(crate) fn held_back_now(&self) -> Arc<Vec<HeldBack>> {
        self.held_back.load_full()
    }

    /// Notes what is held back now, and says what is new of it.
    pub(crate) fn held_back(&self, process: &Process, held_back: Vec<HeldBack>) {
        let held_back = Arc::new(held_back);
        let before = self.held_back.swap(held_back.clone());
        if *before != *held_back {
            process.progress().untold += 1;
            process.moved.notify_all();
        }
        for document in held_back.iter().filter(|it| !before.contains(it)) {
            let message = format!(
                "the newest {} is held back and the one before is served: {} processes died after \
                 they had applied it; change it, or find out why they died; one process tries it again \
                 at {}",
                document.document, document.unclean_starts, document.retry_at
            );
            self.tell(Level::Error, None, message);
        }
    }

    /// Notes that what is served cannot be kept for the next start.
    pub(crate) fn not_kept(&self, dir: &Path, error: &io::Error) {
        let message = format!(
            "what is served is not kept in `{}`: {error}; a start without a server will not have it",
            dir.display()
        );
        self.tell(Level::Warning, None, message);
    }

    /// Notes that what was kept cannot be served; a server may have something that can.
    pub(crate) fn kept_refused(&self, process: &Process, error: Error) {
        self.refused(process, None, &error);
        self.note(process, error, false);
    }

    /// Notes that nothing can be had now; a first use stops waiting if that will not change by itself.
    pub(crate) fn failed(&self, process: &Process, error: Error) {
        let is_final = !error.is_passing();
        self.note(process, error, is_final);
    }

    fn note(&self, process: &Process, error: Error, is_final: bool) {
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        Counts::add(&self.counts.failures);
        let is_alarm = error.is_alarm();
        let is_grave = is_alarm || self.held.load().is_none();
        let level = if is_grave {
            Level::Error
        } else {
            Level::Warning
        };
        let (code, message) = (error.code(), format!("{error}; {}", error.next()));
        let mut progress = process.progress();
        let is_new_kind = progress.said.insert(error.code_text().to_owned());
        let is_other = |(_, before): &(Timestamp, Error)| *before != error;
        // Each kind of trouble is said once, however often it is tried and whatever comes between.
        let is_news =
            is_new_kind || (is_final && progress.last_error.as_ref().is_some_and(is_other));
        progress.last_error = Some((self.now(), error));
        progress.is_settled |= is_final || self.held.load().is_some();
        process.moved.notify_all();
        drop(progress);
        if is_news {
            self.tell(level, code, message);
        }
    }

    /// Notes that a callback panicked.
    pub(crate) fn callback_panicked(&self, update: &Update) {
        let message = format!("the callback that watches `{}` panicked", update.subject);
        self.tell(Level::Error, None, message);
    }

    pub(super) fn tell(&self, level: Level, code: Option<Code>, message: String) {
        let revision = self.held.load().as_ref().map(|it| it.place.revision);
        let environment = self.name.clone();
        self.settings.listener.tell(&Event {
            level,
            code,
            environment,
            revision,
            message,
        });
    }
}
