//! The last known good: what was served last, kept in the state directory for the next start.
//!
//! A file holds a view as it was received and its signed head, and after them the events that were
//! applied to it, each in a frame with its length and its digest. A view is written beside and put in
//! place whole; of a tail that was torn, what is whole counts. Beside it are the keys that are trusted.
//! Of the processes that share a directory one writes, by a lock; the others read.
//!
//! INVARIANT: what is read back was served before.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use plane_model::{Digest, EnvironmentName};
use serde::{Deserialize, Serialize};

use super::verify::Trust;
use crate::sse::ServerEvent;

/// The start of every such file: what it is, and its format.
const MAGIC: &[u8] = b"control-plane view 1\n";
/// The kind, the length and the digest of a frame.
const HEAD_BYTES: usize = 1 + 4 + 32;
/// A tail up to this length is never worth a view of its own.
const TAIL_BYTES_MIN: u64 = 256 * 1024;

/// A view.
const BASE: u8 = b'B';
/// The signed head of the view.
const HEAD: u8 = b'H';
/// An event that was applied.
const EVENT: u8 = b'E';

/// What was kept.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The view, as it was received.
    pub(crate) base: Vec<u8>,
    /// Its signed head, as it was received.
    pub(crate) head: Option<String>,
    /// What was applied to it.
    pub(crate) events: Vec<ServerEvent>,
    /// How many bytes of the file are whole.
    whole_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredEvent {
    name: String,
    data: String,
    id: String,
}

/// For whom something is kept, as far as that is known before any server has answered.
#[derive(Debug)]
pub(crate) struct Holder<'a> {
    /// The addresses of the servers; their order does not matter.
    pub(crate) servers: &'a [String],
    /// The service, so that two that share a directory need not share what they see.
    pub(crate) service: Option<&'a str>,
    /// The token: it may be another at the next start, which still finds what was kept.
    pub(crate) token: Option<&'a str>,
}

impl Holder<'_> {
    fn place(&self) -> String {
        let mut servers: Vec<_> = self
            .servers
            .iter()
            .map(|url| url.trim_end_matches('/'))
            .collect();
        servers.sort_unstable();
        servers.insert(0, self.service.unwrap_or_default());
        short(&servers)
    }
}

/// Tells texts from others without saying what they are.
fn short(texts: &[&str]) -> String {
    let mut hex = Digest::of(texts.join("\n").as_bytes()).hex();
    hex.truncate(16);
    hex
}

/// Keeps what is served of one environment.
#[derive(Debug)]
pub(crate) struct Keeper {
    dir: PathBuf,
    /// Tells the token that is shown now from others.
    token: String,
    /// Held by the process that writes.
    lock: Option<File>,
    /// Where events are appended; none before this process has written a view or read one as its writer.
    file: Option<File>,
    base_bytes: u64,
    tail_bytes: u64,
    /// Whether something was written since it was last found good.
    is_news: bool,
}

impl Keeper {
    /// Keeps below a state directory: what one service gets of one environment of the same servers has a
    /// place of its own, whatever token it shows.
    pub(crate) fn new(
        state_dir: &Path,
        environment: &EnvironmentName,
        holder: &Holder<'_>,
    ) -> io::Result<Self> {
        let dir = state_dir.join(format!("{environment}-{}", holder.place()));
        private_dir(&dir)?;
        let mut keeper = Self {
            dir,
            token: short(&[holder.token.unwrap_or_default()]),
            lock: None,
            file: None,
            base_bytes: 0,
            tail_bytes: 0,
            is_news: true,
        };
        keeper.try_lock()?;
        Ok(keeper)
    }

    /// The file that holds the view.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("view")
    }

    fn token_path(&self) -> PathBuf {
        self.dir.join("token")
    }

    fn trust_path(&self) -> PathBuf {
        self.dir.join("keys.json")
    }

    /// Reads the keys that are trusted; none if none were kept.
    pub(crate) fn read_trust(&self) -> io::Result<Trust> {
        match fs::read(self.trust_path()) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Trust::default()),
            Err(error) => Err(error),
        }
    }

    /// Keeps the keys that are trusted in place of those before; durable when it returns.
    pub(crate) fn keep_trust(&mut self, trust: &Trust) -> io::Result<()> {
        if !self.try_lock()? {
            return Ok(());
        }
        let beside = self.dir.join("keys.json.new");
        let mut file = private_file(&beside)?;
        file.write_all(&serde_json::to_vec(trust)?)?;
        file.sync_all()?;
        fs::rename(&beside, self.trust_path())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Says whether what is kept was given for the token that is shown now: another may see something else.
    pub(crate) fn is_of_this_token(&self) -> bool {
        fs::read_to_string(self.token_path()).is_ok_and(|token| token == self.token)
    }

    /// When what is kept was last written.
    pub(crate) fn written_ms(&self) -> Option<i64> {
        let modified = fs::metadata(self.path()).ok()?.modified().ok()?;
        let since = modified
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Reads what was kept; none if there is nothing that is whole.
    pub(crate) fn read(&mut self) -> io::Result<Option<Stored>> {
        let bytes = match fs::read(self.path()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(stored) = decode(&bytes) else {
            return Ok(None);
        };
        if self.lock.is_some() {
            let file = OpenOptions::new().append(true).open(self.path())?;
            // A frame after one that was torn would never be read.
            file.set_len(stored.whole_bytes)?;
            self.base_bytes = stored.base.len() as u64;
            self.tail_bytes = stored.whole_bytes.saturating_sub(self.base_bytes);
            self.file = Some(file);
        }
        Ok(Some(stored))
    }

    /// Keeps a view and its head in place of all before.
    ///
    /// Durable when it returns; a crash leaves the one before or this one.
    pub(crate) fn replace(&mut self, view: &[u8], head: &str) -> io::Result<()> {
        if !self.try_lock()? {
            return Ok(());
        }
        let beside = self.dir.join("view.new");
        let mut file = private_file(&beside)?;
        file.write_all(MAGIC)?;
        write_frame(&mut file, BASE, view)?;
        write_frame(&mut file, HEAD, head.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, self.path())?;
        // After the view: a crash between the two makes the next start fetch the view once more.
        private_file(&self.token_path())?.write_all(self.token.as_bytes())?;
        File::open(&self.dir)?.sync_all()?;
        self.file = Some(file);
        self.base_bytes = view.len() as u64;
        self.tail_bytes = 0;
        self.is_news = true;
        Ok(())
    }

    /// Keeps a copy of what is kept now: it was served while all was well. False if there is nothing
    /// new in it, or another process writes.
    pub(crate) fn keep_good(&mut self) -> io::Result<bool> {
        if self.file.is_none() || !std::mem::take(&mut self.is_news) {
            return Ok(false);
        }
        let beside = self.dir.join("view.good.new");
        fs::copy(self.path(), &beside)?;
        File::open(&beside)?.sync_all()?;
        fs::rename(&beside, self.dir.join("view.good"))?;
        Ok(true)
    }

    /// Reads what was served while all was well.
    pub(crate) fn read_good(&self) -> Option<Stored> {
        decode(&fs::read(self.dir.join("view.good")).ok()?)
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps an event that was applied. Not durable against a loss of power, which costs the event only.
    pub(crate) fn append(&mut self, event: &ServerEvent) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let payload = serde_json::to_vec(&StoredEvent {
            name: event.name.clone(),
            data: event.data.clone(),
            id: event.id.clone(),
        })?;
        write_frame(file, EVENT, &payload)?;
        self.tail_bytes += payload.len() as u64;
        self.is_news = true;
        Ok(())
    }

    /// Keeps a tenant's part that is held, as an event of its own; with the view, if it was held before that.
    pub(crate) fn append_part(&mut self, part: &ServerEvent, is_of_base: bool) -> io::Result<()> {
        let before = self.tail_bytes;
        self.append(part)?;
        if is_of_base {
            self.base_bytes += self.tail_bytes - before;
            self.tail_bytes = before;
        }
        Ok(())
    }

    /// Says whether a view in place of all that is kept is wanted: the tail has outgrown the view, or
    /// the process that wrote before has ended.
    ///
    /// `chance` differs from process to process, so that not all of them ask for it at once.
    pub(crate) fn wants_view(&mut self, chance: u64) -> bool {
        if self.file.is_none() {
            return self.try_lock().unwrap_or(false);
        }
        let bound = self.base_bytes.max(TAIL_BYTES_MIN);
        self.tail_bytes > bound + chance % bound
    }

    fn try_lock(&mut self) -> io::Result<bool> {
        if self.lock.is_none() {
            let file = private_file(&self.dir.join("lock"))?;
            match file.try_lock() {
                Ok(()) => self.lock = Some(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(self.lock.is_some())
    }
}

fn write_frame(file: &mut File, kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(HEAD_BYTES + payload.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(digest(kind, payload).as_bytes());
    frame.extend_from_slice(payload);
    // One write, so that a process that dies leaves a whole frame or a torn one at the end.
    file.write_all(&frame)
}

fn digest(kind: u8, payload: &[u8]) -> Digest {
    Digest::of_parts(&[&[kind], payload])
}

/// Reads frames up to the first one that is not whole; none if there is no whole view.
fn decode(bytes: &[u8]) -> Option<Stored> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut stored: Option<Stored> = None;
    while let Some((kind, payload, after)) = frame(rest) {
        match (kind, &mut stored) {
            (BASE, None) => {
                stored = Some(Stored {
                    base: payload.to_vec(),
                    ..Stored::default()
                });
            }
            (HEAD, Some(stored)) if stored.head.is_none() && stored.events.is_empty() => {
                stored.head = Some(String::from_utf8(payload.to_vec()).ok()?);
            }
            (EVENT, Some(stored)) => {
                let StoredEvent { name, data, id } = serde_json::from_slice(payload).ok()?;
                stored.events.push(ServerEvent { name, data, id });
            }
            _ => break,
        }
        rest = after;
        if let Some(stored) = &mut stored {
            stored.whole_bytes = (bytes.len() - rest.len()) as u64;
        }
    }
    stored
}

/// The first frame, if it is whole: its kind, its payload, and what follows.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (kind, head) = head.split_first()?;
    let (length, hash) = head.split_at_checked(4)?;
    let length = u32::from_le_bytes(length.try_into().ok()?);
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (digest(*kind, payload).as_bytes() == hash).then_some((*kind, payload, rest))
}

/// Makes a directory that only its owner enters.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Opens a file that only its owner reads.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use plane_registry::SigningKey;

    use super::*;

    fn keeper(dir: &Path) -> Keeper {
        keeper_with(dir, "t")
    }

    fn keeper_with(dir: &Path, token: &str) -> Keeper {
        let holder = Holder {
            servers: &["http://one".to_owned()],
            service: Some("orders"),
            token: Some(token),
        };
        Keeper::new(dir, &EnvironmentName::new("production").unwrap(), &holder).unwrap()
    }

    fn event(id: &str) -> ServerEvent {
        ServerEvent {
            name: "change".to_owned(),
            data: format!("data of {id}\nin two lines"),
            id: id.to_owned(),
        }
    }

    fn read(dir: &Path) -> Option<(Vec<u8>, Vec<ServerEvent>)> {
        let stored = keeper(dir).read().unwrap()?;
        Some((stored.base, stored.events))
    }

    #[test]
    fn what_was_kept_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let mut one = keeper(dir.path());
        one.replace(b"view", "head").unwrap();
        one.append(&event("1")).unwrap();
        drop(one);
        let expected = (b"view".to_vec(), vec![event("1")]);
        assert_eq!(read(dir.path()), Some(expected));
        let mut two = keeper(dir.path());
        two.read().unwrap();
        two.append(&event("2")).unwrap();
        drop(two);
        let expected = (b"view".to_vec(), vec![event("1"), event("2")]);
        assert_eq!(read(dir.path()), Some(expected));
        keeper(dir.path()).replace(b"another", "head").unwrap();
        assert_eq!(read(dir.path()), Some((b"another".to_vec(), Vec::new())));
    }

    #[test]
    fn another_token_finds_what_was_kept_and_knows_that_it_was_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = keeper_with(dir.path(), "one");
        one.replace(b"view", "head").unwrap();
        assert!(one.is_of_this_token());
        drop(one);
        let mut two = keeper_with(dir.path(), "two");
        assert_eq!(two.read().unwrap().unwrap().base, b"view");
        assert!(!two.is_of_this_token());
        two.replace(b"view", "head").unwrap();
        assert!(two.is_of_this_token());
    }

    #[test]
    fn services_and_servers_have_places_of_their_own_and_the_order_of_addresses_means_nothing() {
        let place = |servers: &[&str], service: Option<&str>| {
            let servers: Vec<_> = servers.iter().map(|it| (*it).to_owned()).collect();
            let token = None;
            Holder {
                servers: &servers,
                service,
                token,
            }
            .place()
        };
        let one = place(&["http://a", "http://b/"], Some("orders"));
        assert_eq!(one, place(&["http://b", "http://a"], Some("orders")));
        assert_ne!(one, place(&["http://a"], Some("orders")));
        assert_ne!(one, place(&["http://a", "http://b"], None));
    }

    #[test]
    fn of_a_file_that_was_cut_anywhere_what_is_whole_counts_and_is_gone_on_from() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = keeper(dir.path());
        whole.replace(b"view", "head").unwrap();
        whole.append(&event("1")).unwrap();
        whole.append(&event("2")).unwrap();
        let path = whole.path();
        drop(whole);
        let bytes = fs::read(&path).unwrap();
        let base = MAGIC.len() + HEAD_BYTES + 4;
        let head = base + HEAD_BYTES + 4;
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let mut keeper = keeper(dir.path());
            let Some(stored) = keeper.read().unwrap() else {
                assert!(length < base, "{length}");
                continue;
            };
            assert!(length >= base && stored.events.len() < 2, "{length}");
            assert_eq!(stored.head.is_some(), length >= head, "{length}");
            let mut expected = stored.events;
            keeper.append(&event("3")).unwrap();
            expected.push(event("3"));
            drop(keeper);
            assert_eq!(
                read(dir.path()),
                Some((b"view".to_vec(), expected)),
                "{length}"
            );
        }
    }

    #[test]
    fn a_byte_that_was_altered_ends_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut whole = keeper(dir.path());
        whole.replace(b"view", "head").unwrap();
        whole.append(&event("1")).unwrap();
        let path = whole.path();
        drop(whole);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            fs::write(&path, &altered).unwrap();
            match read(dir.path()) {
                None => {}
                Some((base, events)) => {
                    assert_eq!((base.as_slice(), events), (&b"view"[..], vec![]), "{at}");
                }
            }
        }
    }

    #[test]
    fn one_of_several_processes_writes_and_another_takes_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = keeper(dir.path());
        let mut two = keeper(dir.path());
        one.replace(b"of one", "head").unwrap();
        two.replace(b"of two", "head").unwrap();
        assert!(!two.wants_view(0));
        assert_eq!(two.read().unwrap().unwrap().base, b"of one");
        drop(one);
        assert!(two.wants_view(0));
        two.replace(b"of two", "head").unwrap();
        drop(two);
        assert_eq!(read(dir.path()).unwrap().0, b"of two");
    }

    #[test]
    fn a_tail_that_outgrows_the_view_asks_for_another_view() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        keeper.replace(b"view", "head").unwrap();
        let mut large = event("1");
        large.data = "x".repeat(usize::try_from(TAIL_BYTES_MIN).unwrap());
        keeper.append(&large).unwrap();
        assert!(keeper.wants_view(0));
        assert!(!keeper.wants_view(TAIL_BYTES_MIN - 1));
        keeper.replace(b"view", "head").unwrap();
        assert!(!keeper.wants_view(0));
    }

    #[test]
    fn the_head_and_the_trusted_keys_are_read_back_and_one_process_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let trust = |seed: u8| Trust::of(SigningKey::from_seed(&[seed; 32]).public());
        let mut one = keeper(dir.path());
        assert_eq!(one.read_trust().unwrap(), Trust::default());
        one.keep_trust(&trust(1)).unwrap();
        one.replace(b"view", "the head").unwrap();
        let mut two = keeper(dir.path());
        two.keep_trust(&trust(2)).unwrap();
        assert_eq!(two.read_trust().unwrap(), trust(1));
        assert_eq!(
            two.read().unwrap().unwrap().head.as_deref(),
            Some("the head")
        );
        drop(one);
        two.keep_trust(&trust(2)).unwrap();
        assert_eq!(two.read_trust().unwrap(), trust(2));
        fs::write(two.trust_path(), "{").unwrap();
        assert!(two.read_trust().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_what_is_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        keeper.replace(b"view", "head").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keeper.path()), mode(&keeper.dir)), (0o600, 0o700));
    }
}
