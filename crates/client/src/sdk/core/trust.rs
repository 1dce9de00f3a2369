//! Which keys are trusted, and until when servers vouch for what is served.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plane_model::Timestamp;

use super::Core;
use crate::sdk::error::Error;
use crate::sdk::event::Level;
use crate::sdk::process::Process;
use crate::sdk::verify::Trust;

impl Core {
    /// Notes that a server vouches for what is served: until when nobody need worry about news.
    pub(crate) fn vouched(&self, process: &Process, until: Timestamp) {
        self.confirm();
        self.vouched_until.store(until.0, Ordering::Relaxed);
        if self.refusal.swap(None).is_some() {
            process.tell_servers();
        }
        let was_lost = !self.is_connected.swap(true, Ordering::Relaxed);
        if was_lost {
            process.has_news();
        }
        if was_lost && process.progress().recover() {
            self.tell(Level::Info, None, "a server is followed again".to_owned());
        }
    }

    /// Notes whether a server answers and vouches for nothing recent; serving goes on.
    pub(crate) fn expired(&self, process: &Process, origin: &str, is_expired: bool) {
        if self.is_expired.swap(is_expired, Ordering::Relaxed) == is_expired {
            return;
        }
        process.tell_servers();
        if is_expired {
            let origin = origin.to_owned();
            let until = self.vouched_until();
            self.failed(process, Error::Expired { origin, until });
        } else if process.progress().end_alarm() {
            let message = "a server vouches for what is served again".to_owned();
            self.tell(Level::Info, None, message);
        }
    }

    /// Until when what is served was vouched for, if that is past though a server answers.
    pub(crate) fn expired_at(&self) -> Option<Timestamp> {
        let is_expired = self.is_expired.load(Ordering::Relaxed);
        is_expired.then(|| self.vouched_until())
    }

    /// Notes that what is served was confirmed at a time before this process.
    pub(crate) fn confirmed_at(&self, ms: i64, until: Timestamp) {
        self.confirmed_at.store(ms, Ordering::Relaxed);
        self.vouched_until.store(until.0, Ordering::Relaxed);
    }

    /// Until when a server has vouched for what is served.
    pub(crate) fn vouched_until(&self) -> Timestamp {
        Timestamp(self.vouched_until.load(Ordering::Relaxed))
    }

    /// The keys that servers are trusted to sign with.
    pub(crate) fn trust(&self) -> Arc<Trust> {
        self.trust.load_full()
    }

    /// Trusts other keys from now on; says so if they are the first ones, or others than before.
    pub(crate) fn trust_from_now_on(&self, trust: &Trust) {
        let before = self.trust.swap(Arc::new(trust.clone()));
        let (Some(key), before) = (trust.current(), before.current()) else {
            return;
        };
        match before {
            Some(before) if before == key => {}
            Some(before) => {
                let message = format!("the server signs with {key}, which {before} vouches for");
                self.tell(Level::Info, None, message);
            }
            None => {
                let message = format!(
                    "{key} is the server's key from now on, as it is the first one that was met; \
                     CONTROL_PLANE_SERVER_KEY tells it beforehand"
                );
                self.tell(Level::Info, None, message);
            }
        }
    }

    /// Takes up the keys that an earlier process trusted, unless others were told or met since.
    pub(crate) fn remember_trust(&self, trust: Trust) {
        if trust.goes_on_from(&self.trust.load()) {
            self.trust.store(Arc::new(trust));
        }
    }

    /// Notes that it cannot be read which keys were trusted before.
    pub(crate) fn trust_lost(&self, dir: &Path, error: &io::Error) {
        let message = format!(
            "the keys that an earlier process trusted cannot be read in `{}`: {error}; unless \
             CONTROL_PLANE_SERVER_KEY tells the key, the first one that is met is trusted",
            dir.display()
        );
        self.tell(Level::Warning, None, message);
    }
}
