//! The crash-loop breaker: content that processes die of is held back, and what was good before serves.
//!
//! Before a process applies content that was not yet good for a minute, it names it in a marker of
//! its own, which it holds locked. A start that finds markers that nobody holds counts one unclean
//! start for what they name: the processes of a service that is stopped end together, and that is one
//! end. What has two is held back until it changes. Kills are never held back.
//!
//! A process that a signal ends by its default action runs nothing of ours, and leaves its marker like
//! one that died of what it applied: whoever stops a service closes the client.
//!
//! INVARIANT: content is in the marker before it is compiled or served.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plane_model::{Digest, DocumentKey, Kind};
use serde::{Deserialize, Serialize};

use super::keep::{private_dir, private_file};
use super::process::Process;
use super::status::HeldBack;

/// How long content is served before it is good.
const HEALTHY_AFTER: Duration = Duration::from_mins(1);
/// After how many unclean starts content is held back.
const UNCLEAN_STARTS_MAX: u32 = 2;
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
    suspects: Vec<Suspect>,
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
    held_back: BTreeMap<DocumentKey, HeldBack>,
}

impl Breaker {
    /// Counts the processes that died, and makes ready to mark what this one applies.
    ///
    /// `good` reads what was served while all was well; none if that never was for long enough.
    pub(crate) fn open(
        dir: &Path,
        chance: u64,
        good: impl FnOnce() -> Option<Good>,
    ) -> io::Result<Self> {
        let dir = dir.join("markers");
        private_dir(&dir)?;
        let suspects = count(&dir)?;
        let mut breaker = Self {
            dir,
            name: format!(
                "{}-{chance:016x}-{}",
                std::process::id(),
                OPENED.fetch_add(1, Ordering::Relaxed)
            ),
            suspects,
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
    pub(crate) fn admit(&mut self, key: &DocumentKey, body: Option<&[u8]>) -> Verdict {
        // A stop is never held back, and without anything to go back to nothing is.
        let Some(body) = body.filter(|_| self.has_good && key.kind() != Kind::Kill) else {
            self.held_back.remove(key);
            return Verdict::Apply;
        };
        let digest = digest(key, body);
        let suspect = self.suspects.iter().find(|it| it.digest == digest);
        if let Some(suspect) = suspect.filter(|it| it.is_held_back()) {
            let held_back = HeldBack {
                document: suspect.document.clone(),
                unclean_starts: suspect.starts,
            };
            self.held_back.insert(key.clone(), held_back);
            return Verdict::HoldBack(self.good.documents.get(key).cloned());
        }
        self.held_back.remove(key);
        if !self.healthy.contains(&short(&digest)) {
            self.seen.push((digest, key.to_string()));
        }
        Verdict::Apply
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
        self.held_back.values().cloned().collect()
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
fn count(dir: &Path) -> io::Result<Vec<Suspect>> {
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
                Some(suspect) => suspect.starts += 1,
                None => suspects.push(Suspect {
                    digest,
                    document: document.to_owned(),
                    starts: 1,
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

    fn open(dir: &Path) -> Breaker {
        Breaker::open(dir, 0, || Some(Good::default())).unwrap()
    }

    #[test]
    fn processes_that_end_together_are_one_unclean_start() {
        let dir = tempfile::tempdir().unwrap();
        let key = DocumentKey::flag(&FlagKey::new("f").unwrap());
        let applying = || {
            let mut breaker = open(dir.path());
            let verdict = breaker.admit(&key, Some(b"{}"));
            assert!(matches!(verdict, Verdict::Apply), "{verdict:?}");
            breaker.mark(&Process::new(1), Duration::ZERO).unwrap();
            breaker
        };
        for _ in 0..UNCLEAN_STARTS_MAX {
            // None of them removes its marker, as if a signal had ended all.
            let together = [applying(), applying(), applying()];
            drop(together);
        }
        let verdict = open(dir.path()).admit(&key, Some(b"{}"));
        assert!(matches!(verdict, Verdict::HoldBack(None)), "{verdict:?}");
        let verdict = open(dir.path()).admit(&key, Some(b"{\"type\":\"boolean\"}"));
        assert!(matches!(verdict, Verdict::Apply), "{verdict:?}");
    }
}
