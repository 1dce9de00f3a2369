//! The crash-loop breaker: content that processes die of is held back, and what was good before serves.
//!
//! Before a process applies content that was not yet good for a minute, it names it in a marker of
//! its own, which it holds locked. A start that finds markers that nobody holds counts one unclean
//! start for what they name: the processes of a service that is stopped end together, and that is one
//! end. What has two is held back until it changes, or until one process has tried it again and lives.
//! Kills are never held back.
//!
//! A process that a signal ends by its default action runs nothing of ours, and leaves its marker like
//! one that died of what it applied. So what is held back is only suspected: of the processes that share
//! a directory one tries it again after a while, and after ever longer ones as long as that fails.
//!
//! INVARIANT: content is in the marker before it is compiled or served.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane_model::{Digest, DocumentKey, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use super::keep::{private_dir, private_file};
use super::process::Process;
use super::status::HeldBack;

/// How long content is served before it is good.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// After how many unclean starts content is held back.
const UNCLEAN_STARTS_MAX: u32 = 2;
/// How long content is held back before it is tried again, the first time and the longest, and by how
/// much it is longer after each time. Up to twice as long: the machines of a service do not try at once.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_mins(10), Duration::from_hours(24));
const RETRY_FACTOR: u32 = 4;
/// How often a process looks whether what it holds back is to be tried, or was found good by another.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How many digests are counted; the oldest are forgotten first.
const COUNTED_MAX: usize = 10_000;

/// How many breakers this process has opened: each has a marker of its own.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Content that processes died of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Suspect {
    digest: Digest,
    document: String,
    starts: u32,
    /// How often it was tried again.
    #[serde(default)]
    trials: u32,
    /// When it is tried again, once it is held back.
    #[serde(default)]
    retry_at: Timestamp,
}

/// What a document was while all was well.
#[derive(Debug, Clone)]
pub(crate) struct Before {
    pub(crate) revision: u64,
    pub(crate) body: Arc<[u8]>,
}

/// Everything that was served while all was well, as far as stand-ins may need it.
#[derive(Debug, Default)]
pub(crate) struct Good {
    pub(crate) documents: BTreeMap<DocumentKey, Before>,
    pub(crate) blobs: Vec<(Digest, Arc<[u8]>)>,
}

/// What is to be done with content that arrives.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is applied.
    Apply,
    /// It is held back, and this is served in its place, if there was anything.
    HoldBack(Option<Before>),
}

/// Watches what this process applies.
#[derive(Debug)]
pub(crate) struct Breaker {
    dir: PathBuf,
    /// The name of this process's marker.
    name: String,
    /// Differs from machine to machine.
    chance: u64,
    suspects: Vec<Suspect>,
    /// What this process has taken upon itself to try again.
    released: HashSet<u64>,
    /// When it is next looked for what is to be released.
    looks_at: Duration,
    /// The content that was good for a minute, in this process or before.
    healthy: HashSet<u64>,
    /// Whether there is anything to go back to.
    has_good: bool,
    /// What stands in for what is held back; read only where something is.
    good: Good,
    /// Applied, and not yet for a minute.
    pending: Vec<(Digest, Duration)>,
    /// Seen, and not yet in the marker.
    seen: Vec<(Digest, String)>,
    marker: Option<File>,
    /// When something was first applied without anything to go back to.
    first: Option<Duration>,
    held_back: BTreeMap<DocumentKey, Held>,
}

/// What is held back of a document.
#[derive(Debug)]
struct Held {
    digest: Digest,
    told: HeldBack,
    /// It need not be any more, and everything is to be admitted anew.
    is_free: bool,
}

impl Breaker {
    /// Counts the processes that died, and makes ready to mark what this one applies.
    ///
    /// `good` reads what was served while all was well; none if that never was for long enough.
    pub(crate) fn open(
        dir: &Path,
        chance: u64,
        at: Timestamp,
        good: impl FnOnce() -> Option<Good>,
    ) -> io::Result<Self> {
        let dir = dir.join("markers");
        private_dir(&dir)?;
        let suspects = count(&dir, at, chance)?;
        let mut breaker = Self {
            dir,
            name: format!(
                "{}-{chance:016x}-{}",
                std::process::id(),
                OPENED.fetch_add(1, Ordering::Relaxed)
            ),
            chance,
            suspects,
            released: HashSet::new(),
            looks_at: Duration::ZERO,
            healthy: HashSet::new(),
            has_good: false,
            good: Good::default(),
            pending: Vec::new(),
            seen: Vec::new(),
            marker: None,
            first: None,
            held_back: BTreeMap::new(),
        };
        if let Some(good) = good() {
            breaker.learn(&good);
            if breaker.suspects.iter().any(Suspect::is_held_back) {
                breaker.good = good;
            }
        }
        Ok(breaker)
    }

    /// Says what is to be done with a document that arrives; call [`mark`](Self::mark) before applying it.
    pub(crate) fn admit(
        &mut self,
        key: &DocumentKey,
        body: Option<&[u8]>,
        at: Timestamp,
    ) -> Verdict {
        // A stop is never held back, and without anything to go back to nothing is.
        let Some(body) = body.filter(|_| self.has_good && key.kind() != Kind::Kill) else {
            self.held_back.remove(key);
            return Verdict::Apply;
        };
        let digest = digest(key, body);
        if self.suspect(&digest).is_some_and(|it| it.is_due(at)) {
            self.release_due(at);
        }
        if let Some(suspect) = self.suspect(&digest) {
            let told = HeldBack {
                document: suspect.document.clone(),
                unclean_starts: suspect.starts,
                retry_at: suspect.retry_at,
            };
            let held = Held {
                digest,
                told,
                is_free: false,
            };
            self.held_back.insert(key.clone(), held);
            return Verdict::HoldBack(self.good.documents.get(key).cloned());
        }
        self.held_back.remove(key);
        if !self.healthy.contains(&short(&digest)) {
            self.seen.push((digest, key.to_string()));
        }
        Verdict::Apply
    }

    /// What holds this content back in this process.
    fn suspect(&self, digest: &Digest) -> Option<&Suspect> {
        let mut suspects = self.suspects.iter();
        let suspect = suspects.find(|it| it.is_held_back() && it.digest == *digest)?;
        let digest = short(digest);
        (!self.released.contains(&digest) && !self.healthy.contains(&digest)).then_some(suspect)
    }

    /// Looks whether something that is held back is to be applied after all: it is time to try it, or
    /// another process found it good. If so, everything is to be admitted anew.
    pub(crate) fn look(&mut self, at: Timestamp, now: Duration) -> bool {
        if self.held_back.is_empty() || now < self.looks_at {
            return false;
        }
        self.looks_at = now + LOOK_EVERY;
        self.suspects = read_suspects(&self.dir);
        if self.suspects.iter().any(|it| it.is_due(at)) {
            self.release_due(at);
        }
        let mut held_back = std::mem::take(&mut self.held_back);
        let mut is_news = false;
        for held in held_back.values_mut() {
            let is_free = self.suspect(&held.digest).is_none();
            is_news |= is_free && !std::mem::replace(&mut held.is_free, is_free);
        }
        self.held_back = held_back;
        is_news
    }

    /// Takes it upon this process to try what is due.
    fn release_due(&mut self, at: Timestamp) {
        let taken = lock(&self.dir).and_then(|_counting| {
            let mut suspects = read_suspects(&self.dir);
            let mut released = Vec::new();
            for suspect in suspects.iter_mut().filter(|it| it.is_due(at)) {
                // First: who dies of it leaves it to be tried by the next one later, not at once.
                suspect.trials = suspect.trials.saturating_add(1);
                suspect.hold_back(at, self.chance);
                released.push(short(&suspect.digest));
            }
            write_suspects(&self.dir, &suspects)?;
            Ok((suspects, released))
        });
        match taken {
            Ok((suspects, released)) => {
                self.suspects = suspects;
                self.released.extend(released);
            }
            Err(error) => tracing::warn!(%error, "what is held back cannot be tried again"),
        }
    }

    /// Names what was admitted since in the marker of this process.
    pub(crate) fn mark(&mut self, process: &Process, now: Duration) -> io::Result<()> {
        if !self.has_good {
            self.first.get_or_insert(now);
        }
        let seen = std::mem::take(&mut self.seen);
        let mut lines = String::new();
        for (digest, document) in seen {
            let known = self.pending.iter().any(|(known, _)| *known == digest);
            if !known {
                lines.extend([&digest.to_string(), " ", &document, "\n"]);
                self.pending.push((digest, now));
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if self.marker.is_none() {
            // Under the lock, or a start could find it before it is held.
            let _counting = lock(&self.dir)?;
            let file = private_file(&self.dir.join(&self.name))?;
            file.lock()?;
            process.marked(self.dir.join(&self.name));
            self.marker = Some(file);
        }
        // What a process wrote outlives it without being synced; only a loss of power forgets it.
        if let Some(marker) = &mut self.marker {
            marker.write_all(lines.as_bytes())?;
        }
        Ok(())
    }

    /// Notes what has been served for a minute; true if all that is applied has.
    pub(crate) fn settle(&mut self, process: &Process, now: Duration) -> io::Result<bool> {
        let is_old = |applied: &Duration| *applied + HEALTHY_AFTER <= now;
        if !self.has_good {
            return Ok(self.first.as_ref().is_some_and(is_old));
        }
        if self.pending.is_empty() {
            return Ok(true);
        }
        if !self.pending.iter().all(|(_, applied)| is_old(applied)) {
            return Ok(false);
        }
        let digests: Vec<_> = self.pending.drain(..).map(|(digest, _)| digest).collect();
        self.healthy.extend(digests.iter().map(short));
        self.marker = None;
        process.unmark();
        if self.suspects.iter().any(|it| digests.contains(&it.digest)) {
            let _counting = lock(&self.dir)?;
            let mut suspects = read_suspects(&self.dir);
            suspects.retain(|it| !digests.contains(&it.digest));
            write_suspects(&self.dir, &suspects)?;
            self.suspects = suspects;
        }
        Ok(true)
    }

    /// Takes what was served while all was well as what there is to go back to.
    pub(crate) fn learn(&mut self, good: &Good) {
        let documents = good.documents.iter();
        let digests = documents.map(|(key, before)| short(&digest(key, &before.body)));
        self.healthy.extend(digests);
        self.has_good = true;
    }

    /// Whether there is anything to go back to.
    pub(crate) fn has_good(&self) -> bool {
        self.has_good
    }

    /// What is held back now.
    pub(crate) fn held_back(&self) -> Vec<HeldBack> {
        let held_back = self.held_back.values();
        held_back.map(|it| it.told.clone()).collect()
    }

    /// What stands beside stand-ins: the versions and the bytes that they name.
    pub(crate) fn good(&self) -> &Good {
        &self.good
    }
}

impl Suspect {
    fn is_held_back(&self) -> bool {
        self.starts >= UNCLEAN_STARTS_MAX
    }

    /// Whether it is time to try it again; also where the clock was set back by far.
    fn is_due(&self, at: Timestamp) -> bool {
        let wait_ms = self.retry_at.0.saturating_sub(at.0);
        self.is_held_back() && (wait_ms <= 0 || wait_ms > 2 * ms(RETRY_AFTER.1))
    }

    /// Has it tried again only after a while.
    fn hold_back(&mut self, at: Timestamp, chance: u64) {
        let (first, longest) = RETRY_AFTER;
        let factor = RETRY_FACTOR.saturating_pow(self.trials);
        let wait_ms = ms(first.saturating_mul(factor).min(longest));
        let more_ms = i64::try_from(chance % wait_ms.unsigned_abs()).unwrap_or_default();
        self.retry_at = Timestamp(at.0 + wait_ms + more_ms);
    }
}

fn ms(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

fn digest(key: &DocumentKey, body: &[u8]) -> Digest {
    let (kind, scope, name) = (key.kind().as_str(), key.scope(), key.name());
    let named = format!("{kind}\0{scope}\0{name}\0");
    Digest::of_parts(&[named.as_bytes(), body])
}

/// Enough of a digest to know it again among those of one view.
fn short(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// Keeps other processes from counting and marking.
fn lock(dir: &Path) -> io::Result<File> {
    let file = private_file(&dir.with_file_name("markers.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Counts one unclean start for what the markers name that nobody holds, and removes them.
fn count(dir: &Path, at: Timestamp, chance: u64) -> io::Result<Vec<Suspect>> {
    let _counting = lock(dir)?;
    let mut suspects = read_suspects(dir);
    let mut counted = HashSet::new();
    let mut has_changed = false;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let file = File::open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        for line in fs::read_to_string(&path)?.split_inclusive('\n') {
            // A line that the process did not finish names nothing that it applied.
            let named = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '));
            let Some((digest, document)) = named else {
                continue;
            };
            let Ok(digest) = digest.parse::<Digest>() else {
                continue;
            };
            if !counted.insert(digest) {
                continue;
            }
            match suspects.iter_mut().find(|it| it.digest == digest) {
                Some(suspect) => {
                    suspect.starts += 1;
                    suspect.hold_back(at, chance);
                }
                None => suspects.push(Suspect {
                    digest,
                    document: document.to_owned(),
                    starts: 1,
                    trials: 0,
                    retry_at: at,
                }),
            }
        }
        fs::remove_file(&path)?;
        has_changed = true;
    }
    let excess = suspects.len().saturating_sub(COUNTED_MAX);
    suspects.drain(..excess);
    if has_changed {
        write_suspects(dir, &suspects)?;
    }
    Ok(suspects)
}

fn read_suspects(dir: &Path) -> Vec<Suspect> {
    let read = fs::read(dir.with_file_name("unclean.json"));
    // One that cannot be read counts from nothing: better than never to start again.
    read.ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn write_suspects(dir: &Path, suspects: &[Suspect]) -> io::Result<()> {
    let beside = dir.with_file_name("unclean.json.new");
    let mut file = private_file(&beside)?;
    serde_json::to_writer(&mut file, suspects)?;
    file.sync_all()?;
    fs::rename(&beside, dir.with_file_name("unclean.json"))
}

#[cfg(test)]
mod tests {
    use plane_model::FlagKey;

    use super::*;

    const NOON: Timestamp = Timestamp(1_772_366_400_000);
    const SETTLED: Duration = HEALTHY_AFTER;

    fn open(dir: &Path, at: Timestamp) -> Breaker {
        Breaker::open(dir, 0, at, || Some(Good::default())).unwrap()
    }

    fn after(minutes: i64) -> Timestamp {
        Timestamp(NOON.0 + minutes * 60_000)
    }

    fn flag() -> DocumentKey {
        DocumentKey::flag(&FlagKey::new("f").unwrap())
    }

    /// Whether a flag's content is applied, and marked.
    fn applies(breaker: &mut Breaker, at: Timestamp) -> bool {
        let verdict = breaker.admit(&flag(), Some(b"{}"), at);
        breaker.mark(&Process::new(1), Duration::ZERO).unwrap();
        matches!(verdict, Verdict::Apply)
    }

    /// Several processes die of a flag's content together, twice.
    fn die_twice(dir: &Path) {
        for _ in 0..UNCLEAN_STARTS_MAX {
            // None of them removes its marker, as if a signal had ended all.
            let mut together = [open(dir, NOON), open(dir, NOON), open(dir, NOON)];
            assert!(together.iter_mut().all(|it| applies(it, NOON)));
        }
    }

    #[test]
    fn processes_that_end_together_are_one_unclean_start() {
        let dir = tempfile::tempdir().unwrap();
        die_twice(dir.path());
        let mut next = open(dir.path(), NOON);
        let verdict = next.admit(&flag(), Some(b"{}"), NOON);
        assert!(matches!(verdict, Verdict::HoldBack(None)), "{verdict:?}");
        let verdict = next.admit(&flag(), Some(b"{\"type\":\"boolean\"}"), NOON);
        assert!(matches!(verdict, Verdict::Apply), "{verdict:?}");
    }

    #[test]
    fn one_process_tries_what_is_held_back_and_the_others_follow_once_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        die_twice(dir.path());
        let mut first = open(dir.path(), NOON);
        let mut second = open(dir.path(), NOON);
        assert!(!applies(&mut first, NOON) && !applies(&mut second, NOON));
        let retry_at = first.held_back()[0].retry_at;
        assert_eq!(retry_at, after(10));
        assert!(!first.look(after(9), Duration::ZERO));

        assert!(first.look(after(10), LOOK_EVERY));
        assert!(!second.look(after(10), LOOK_EVERY));
        assert!(applies(&mut first, after(10)) && !applies(&mut second, after(10)));
        assert!(!applies(&mut open(dir.path(), after(10)), after(10)));

        let process = Process::new(1);
        assert!(!first.settle(&process, SETTLED / 2).unwrap());
        assert!(!second.look(after(11), 2 * LOOK_EVERY));
        assert!(first.settle(&process, SETTLED).unwrap());
        assert!(second.look(after(12), 3 * LOOK_EVERY));
        assert!(!second.look(after(13), 4 * LOOK_EVERY), "it was said once");
        assert!(applies(&mut second, after(13)));
        assert_eq!(second.held_back(), []);
    }

    #[test]
    fn what_processes_go_on_dying_of_is_tried_ever_more_seldom() {
        let dir = tempfile::tempdir().unwrap();
        die_twice(dir.path());
        let mut at = NOON;
        let waits = [10, 40, 160, 640, 1_440, 1_440].map(|minutes| {
            let mut next = open(dir.path(), at);
            assert!(!applies(&mut next, at));
            let retry_at = next.held_back()[0].retry_at;
            assert_eq!(retry_at.0 - at.0, minutes * 60_000);
            // It lives until then, tries, and dies.
            at = retry_at;
            assert!(next.look(at, LOOK_EVERY) && applies(&mut next, at));
            next.held_back().len()
        });
        assert_eq!(waits, [0; 6]);
    }

    #[test]
    fn a_clock_that_was_set_back_by_a_year_holds_nothing_back_for_a_year() {
        let dir = tempfile::tempdir().unwrap();
        die_twice(dir.path());
        assert!(!applies(&mut open(dir.path(), NOON), NOON));
        let last_year = after(-365 * 24 * 60);
        assert!(applies(&mut open(dir.path(), last_year), last_year));
    }
}
