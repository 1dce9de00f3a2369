//! The keys of a server: the one that signs, and how those before it vouch for it.

use plane_model::{Timestamp, canonical};
use plane_registry::{KeyId, PublicKey, Signature, SigningKey};
use serde::{Deserialize, Serialize};

/// What a signed endorsement is: no other statement passes for one.
pub const ENDORSEMENT_PAYLOAD_TYPE: &str = "application/vnd.control-plane.server-key.v1+json";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";

/// A signed statement: the text, and the signature over exactly this text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// The statement in canonical JSON.
    pub payload: String,
    /// The signature of the key that endorses.
    pub signature: Signature,
}

/// What one key of a server says of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    /// The key that signs this.
    by: PublicKey,
    /// From when on the next one signs in its place.
    issued: Timestamp,
    /// The next key.
    key: PublicKey,
}

/// A key that another one vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endorsed {
    /// The key.
    pub key: PublicKey,
    /// Since when it signs in place of the one before.
    pub since: Timestamp,
}

/// Why keys are not those of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// The private key cannot be read.
    #[error("it has no private key that can be read: {0}")]
    PrivateKey(#[from] plane_registry::keys::KeyError),
    /// A statement about the next key cannot be read.
    #[error("an endorsement in it cannot be read: {0}")]
    Form(String),
    /// A key is not vouched for by the one before it.
    #[error("the key {key} is not endorsed by the one before it, {by}")]
    NotEndorsed {
        /// The key.
        key: KeyId,
        /// The one before.
        by: KeyId,
    },
}

impl Endorsement {
    /// Has a key vouch for the one after it.
    fn of(by: &SigningKey, key: PublicKey, issued: Timestamp) -> Result<Self, KeyRingError> {
        let form = |detail: &dyn std::fmt::Display| KeyRingError::Form(detail.to_string());
        let by_key = by.public();
        let statement = Statement {
            by: by_key,
            issued,
            key,
        };
        let bytes = canonical::canonical_bytes(&statement).map_err(|error| form(&error))?;
        let signature = by.sign(ENDORSEMENT_PAYLOAD_TYPE, &bytes);
        let payload = String::from_utf8(bytes).map_err(|error| form(&error))?;
        Ok(Self { payload, signature })
    }

    /// Reads whom `by` vouches for.
    ///
    /// # Errors
    /// [`KeyRingError::Form`] if it is not a statement that `by` has signed.
    pub fn verify(&self, by: &PublicKey) -> Result<Endorsed, KeyRingError> {
        let bytes = self.payload.as_bytes();
        if !by.verify(ENDORSEMENT_PAYLOAD_TYPE, bytes, &self.signature.bytes) {
            return Err(KeyRingError::Form(format!("{by} has not signed it")));
        }
        let statement = self.statement()?;
        if statement.by != *by {
            return Err(KeyRingError::Form(format!("it is not by {by}")));
        }
        Ok(Endorsed {
            key: statement.key,
            since: statement.issued,
        })
    }

    fn statement(&self) -> Result<Statement, KeyRingError> {
        serde_json::from_str(&self.payload).map_err(|error| KeyRingError::Form(error.to_string()))
    }
}

/// The key that a server signs with, and the endorsements that lead to it from the first one.
///
/// INVARIANT: each key is endorsed by the one before it, and the last one is the one that signs.
#[derive(Debug)]
pub struct KeyRing {
    current: SigningKey,
    /// The keys before, each with what it says of the next; the oldest first.
    earlier: Vec<(PublicKey, Endorsement)>,
}

impl KeyRing {
    /// Begins with a first key.
    pub fn new(current: SigningKey) -> Self {
        Self {
            current,
            earlier: Vec::new(),
        }
    }

    /// Reads a key file: one endorsement a line, the oldest first, and after them a private key in PEM.
    ///
    /// The private key is last, so that of a file that was cut nothing is read.
    ///
    /// # Errors
    /// [`KeyRingError`], which says what is wrong with the file.
    pub fn read(text: &str) -> Result<Self, KeyRingError> {
        let (before, pem) = text.split_at(text.find(PEM_BEGIN).unwrap_or(text.len()));
        let current = SigningKey::from_pem(pem)?;
        let mut earlier = Vec::new();
        let lines = (before.lines().map(str::trim)).filter(|line| !line.is_empty());
        for line in lines {
            let endorsement: Endorsement = serde_json::from_str(line)
                .map_err(|error| KeyRingError::Form(error.to_string()))?;
            let by = endorsement.statement()?.by;
            endorsement.verify(&by)?;
            earlier.push((by, endorsement));
        }
        let ring = Self { current, earlier };
        follow(ring.first(), ring.keys().skip(1))?;
        Ok(ring)
    }

    /// Writes the key file; whoever reads it can sign.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (_, endorsement) in &self.earlier {
            text.push_str(&serde_json::to_string(endorsement).unwrap_or_default());
            text.push('\n');
        }
        text + &self.current.to_pem()
    }

    /// Signs with `next` from `now` on; the key until now vouches for it, and is forgotten but for that.
    ///
    /// # Errors
    /// [`KeyRingError::Form`] if `now` has no canonical form.
    pub fn rotate(mut self, next: SigningKey, now: Timestamp) -> Result<Self, KeyRingError> {
        let endorsement = Endorsement::of(&self.current, next.public(), now)?;
        self.earlier.push((self.current.public(), endorsement));
        self.current = next;
        Ok(self)
    }

    /// The key that signs.
    pub fn current(&self) -> &SigningKey {
        &self.current
    }

    /// Since when that key signs; none of a first key.
    pub fn since(&self) -> Option<Timestamp> {
        let (by, endorsement) = self.earlier.last()?;
        Some(endorsement.verify(by).ok()?.since)
    }

    /// Says whether a key is one of these: who trusts it can follow to the one that signs.
    pub fn leads_from(&self, key: &PublicKey) -> bool {
        self.keys().any(|(it, _)| it == *key)
    }

    /// All public keys, the oldest first; each but the first with what the one before says of it.
    pub fn keys(&self) -> impl Iterator<Item = (PublicKey, Option<&Endorsement>)> {
        let keys = (self.earlier.iter().map(|it| it.0)).chain([self.current.public()]);
        let endorsements = [None].into_iter();
        keys.zip(endorsements.chain(self.earlier.iter().map(|it| Some(&it.1))))
    }

    fn first(&self) -> PublicKey {
        let first = self.earlier.first();
        first.map_or_else(|| self.current.public(), |it| it.0)
    }
}

/// Follows endorsements from a key; gives where they lead, one after the other.
///
/// # Errors
/// [`KeyRingError`] at the first key that the one before does not vouch for.
pub fn follow<'e>(
    from: PublicKey,
    next: impl IntoIterator<Item = (PublicKey, Option<&'e Endorsement>)>,
) -> Result<Vec<Endorsed>, KeyRingError> {
    let mut by = from;
    let mut led = Vec::new();
    for (key, endorsement) in next {
        let endorsed = endorsement.map(|it| it.verify(&by)).transpose()?;
        let Some(endorsed) = endorsed.filter(|it| it.key == key) else {
            let (key, by) = (key.keyid(), by.keyid());
            return Err(KeyRingError::NotEndorsed { key, by });
        };
        led.push(endorsed);
        by = key;
    }
    Ok(led)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn rotated() -> KeyRing {
        let ring = KeyRing::new(key(1)).rotate(key(2), Timestamp(10)).unwrap();
        ring.rotate(key(3), Timestamp(20)).unwrap()
    }

    #[test]
    fn endorsements_lead_from_any_earlier_key_to_the_one_that_signs() {
        let ring = rotated();
        let keys: Vec<_> = ring.keys().collect();
        for (at, (from, _)) in keys.iter().enumerate() {
            let led = follow(*from, keys[at + 1..].iter().copied()).unwrap();
            let last = led.last().map_or(*from, |it| it.key);
            assert_eq!(last, ring.current().public());
        }
        let led = follow(keys[0].0, keys[1..].iter().copied()).unwrap();
        let since: Vec<_> = led.iter().map(|it| it.since.0).collect();
        assert_eq!(since, [10, 20]);
    }

    #[test]
    fn a_key_file_is_read_back_with_all_that_led_to_its_key() {
        let text = rotated().to_text();
        let read = KeyRing::read(&text).unwrap();
        assert_eq!(read.to_text(), text);
        assert_eq!(read.keys().count(), 3);
        let first = KeyRing::read(&KeyRing::new(key(1)).to_text()).unwrap();
        assert_eq!(first.keys().count(), 1);
    }

    #[test]
    fn a_key_file_that_is_cut_anywhere_or_altered_is_refused() {
        let text = rotated().to_text();
        for length in 0..text.len() - 1 {
            assert!(KeyRing::read(&text[..length]).is_err(), "{length}");
        }
        let lines: Vec<_> = text.lines().collect();
        let cases = [
            "no key".to_owned(),
            // One is missing in between; their order is another one.
            [&lines[..1], &lines[2..]].concat().join("\n"),
            [&lines[1..2], &lines[..1], &lines[2..]].concat().join("\n"),
            text.replace(r#"\"issued\":\""#, r#"\"issued\":\"2"#),
            format!("{{}}\n{text}"),
            format!("{text}{{}}\n"),
        ];
        for case in &cases {
            assert!(KeyRing::read(case).is_err(), "{case}");
        }
    }

    #[test]
    fn a_key_that_was_made_elsewhere_is_a_first_key() {
        let ring = KeyRing::read(&key(5).to_pem()).unwrap();
        assert_eq!((ring.keys().count(), ring.since()), (1, None));
        assert!(ring.leads_from(&key(5).public()) && !ring.leads_from(&key(6).public()));
        let ring = rotated();
        assert_eq!(ring.since(), Some(Timestamp(20)));
        assert!(
            [1, 2, 3]
                .iter()
                .all(|seed| ring.leads_from(&key(*seed).public()))
        );
    }

    #[test]
    fn another_key_cannot_put_itself_into_the_line() {
        let (ring, foreign) = (rotated(), KeyRing::new(key(8)));
        let foreign = foreign.rotate(key(9), Timestamp(30)).unwrap();
        let (stranger, endorsement) = foreign.keys().nth(1).unwrap();
        let trusted = ring.current().public();
        assert!(follow(trusted, [(stranger, endorsement)]).is_err());
        assert!(follow(trusted, [(stranger, None)]).is_err());
        // One who says that it vouches in the name of another.
        let (_, mut forged) = ring.earlier.first().cloned().unwrap();
        forged.signature = key(8).sign(ENDORSEMENT_PAYLOAD_TYPE, forged.payload.as_bytes());
        assert!(forged.verify(&key(1).public()).is_err());
        assert!(forged.verify(&key(8).public()).is_err());
    }
}
