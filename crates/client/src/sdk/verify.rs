//! Which keys are trusted, and what is believed of what servers sign.
//!
//! A holder is told the key of its servers, or trusts the one that it meets first. From there it follows
//! the endorsements of each key for the next. `docs/adr/0012` says why.
//!
//! INVARIANT: a key is trusted only if it was told, was met when none was trusted, or is endorsed by one
//! that is trusted.

use plane_api::{KeysReply, Signed};
use plane_model::{Digest, EnvironmentName, Timestamp};
use plane_registry::keys::KeyError;
use plane_registry::{PublicKey, Signature};
use plane_state::delivery::{Endorsement, HeadError, HeadStatement, follow_keys, is_audience_of};
use serde::{Deserialize, Serialize};

use super::error::Error;

/// How long, in milliseconds, a key counts after another has taken its place: not all servers change at
/// one moment, and what was signed just before is still under way.
const OVERLAP_MS: i64 = 60 * 60 * 1_000;

/// What is wrong with a view whose documents are not those of its head.
pub(crate) const MISFIT: &str = "documents are altered, missing or added: it does not fit its head";

/// The keys that are trusted: the oldest first, each after the first endorsed by the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trust {
    keys: Vec<Trusted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Trusted {
    key: PublicKey,
    /// Since when it signs in place of the one before; none of a first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
}

/// Why a head is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A key that is not known has signed it: the server may say how it came to be.
    KeyUnknown(String),
    /// A key has signed it that another took the place of long ago.
    KeyReplaced(String),
    /// It is not what the key has signed, or it is no head.
    Forged(String),
}

impl Doubt {
    /// The error of what came from somewhere.
    pub(crate) fn into_error(self, origin: String) -> Error {
        match self {
            Self::Forged(detail) => Error::Unverified { origin, detail },
            Self::KeyReplaced(detail) => Error::KeyUntrusted { origin, detail },
            Self::KeyUnknown(key) => {
                let detail = format!("nothing vouches for the key with the id {key}");
                Error::KeyUntrusted { origin, detail }
            }
        }
    }
}

impl Trust {
    /// Trusts one key.
    pub(crate) fn of(key: PublicKey) -> Self {
        Self {
            keys: vec![Trusted { key, since: None }],
        }
    }

    /// Says whether this goes on from what else is trusted, or is all there is.
    pub(crate) fn goes_on_from(&self, other: &Self) -> bool {
        let is_here = |key: &PublicKey| self.keys.iter().any(|it| it.key == *key);
        other.current().is_none_or(is_here)
    }

    /// The key that signs, as far as that is known.
    pub(crate) fn current(&self) -> Option<&PublicKey> {
        self.keys.last().map(|it| &it.key)
    }

    /// Goes on to the keys that a server lists; trusts all of them if none is trusted yet.
    ///
    /// # Errors
    /// Why they cannot be trusted, in words.
    pub(crate) fn follow(&self, listed: &KeysReply) -> Result<Self, String> {
        let listed = read(listed)?;
        let mut keys = self.keys.clone();
        let at =
            if let Some(current) = self.current() {
                listed.iter().position(|it| it.0 == *current).ok_or_else(|| {
                format!("the server lists keys that do not follow from {current}, which is trusted")
            })?
            } else {
                let (first, _) = listed.first().ok_or("the server lists no key")?;
                keys.push(Trusted {
                    key: *first,
                    since: None,
                });
                0
            };
        let mut rest = listed.iter().skip(at);
        let Some((from, _)) = rest.next() else {
            return Ok(self.clone());
        };
        let led = follow_keys(*from, rest.map(|(key, by)| (*key, by.as_ref())));
        let led = led.map_err(|error| error.to_string())?;
        keys.extend(led.into_iter().map(|it| Trusted {
            key: it.key,
            since: Some(it.since),
        }));
        Ok(Self { keys })
    }

    /// Reads a head that a server sends now.
    pub(crate) fn verify(&self, signed: &Signed, now: Timestamp) -> Result<HeadStatement, Doubt> {
        self.verify_by(signed, Some(now))
    }

    /// Reads a head that was verified when it came: the key that signed it may have been replaced since.
    pub(crate) fn verify_kept(&self, signed: &Signed) -> Result<HeadStatement, Doubt> {
        self.verify_by(signed, None)
    }

    fn verify_by(&self, signed: &Signed, now: Option<Timestamp>) -> Result<HeadStatement, Doubt> {
        let signature: Signature = (signed.signature.parse())
            .map_err(|_| Doubt::Forged("its head has no signature that can be read".to_owned()))?;
        let place = (self.keys.iter()).position(|it| it.key.keyid() == signature.keyid);
        let Some((at, trusted)) = place.and_then(|at| Some((at, self.keys.get(at)?))) else {
            return Err(Doubt::KeyUnknown(signature.keyid.to_string()));
        };
        let replaced = self.keys.get(at + 1).and_then(|it| it.since);
        if let (Some(replaced), Some(now)) = (replaced, now)
            && replaced.0.saturating_add(OVERLAP_MS) < now.0
        {
            let key = trusted.key;
            return Err(Doubt::KeyReplaced(format!(
                "another took the place of {key} at {replaced}"
            )));
        }
        HeadStatement::verify(&signed.payload, &signature, &[trusted.key]).map_err(|error| {
            Doubt::Forged(match error {
                HeadError::Untrusted(_) => "its head is not what its key has signed".to_owned(),
                HeadError::Form(_) => error.to_string(),
            })
        })
    }
}

fn read(listed: &KeysReply) -> Result<Vec<(PublicKey, Option<Endorsement>)>, String> {
    let unreadable = |error: KeyError| format!("its list of keys cannot be read: {error}");
    let endorsement = |signed: &Signed| {
        let signature = signed.signature.parse().map_err(unreadable)?;
        let payload = signed.payload.clone();
        Ok::<_, String>(Endorsement { payload, signature })
    };
    (listed.keys.iter())
        .map(|it| {
            let key = it.key.parse().map_err(unreadable)?;
            let by = it.endorsement.as_ref().map(endorsement).transpose()?;
            Ok((key, by))
        })
        .collect()
}

/// Whom a head has to be meant for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom<'w> {
    /// Who shows the token with this digest.
    Holder(Option<&'w Digest>),
    /// Who held it before, whatever token that was.
    Anybody,
}

/// Says why a head is not for a holder, if so.
pub(crate) fn check_meant(
    head: &HeadStatement,
    environment: &EnvironmentName,
    whom: Whom<'_>,
) -> Result<(), String> {
    if head.environment != *environment {
        return Err(format!("it is of the environment `{}`", head.environment));
    }
    if let Whom::Holder(token) = whom
        && !is_audience_of(&head.audience, token)
    {
        return Err(format!(
            "it is meant for another audience, `{}`",
            head.audience
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use plane_api::ServerKey;
    use plane_registry::SigningKey;
    use plane_state::delivery::KeyRing;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    /// A ring of the keys with these seeds, each taking the place of the one before an hour later.
    fn ring(seeds: &[u8]) -> KeyRing {
        let (first, rest) = seeds.split_first().unwrap();
        (1..)
            .zip(rest)
            .fold(KeyRing::new(key(*first)), |ring, (hour, seed)| {
                ring.rotate(key(*seed), Timestamp(hour * OVERLAP_MS))
                    .unwrap()
            })
    }

    fn listed(ring: &KeyRing) -> KeysReply {
        let keys = ring.keys().map(|(key, by)| ServerKey {
            key: key.to_string(),
            key_id: key.keyid().to_string(),
            endorsement: by.map(|it| Signed {
                payload: it.payload.clone(),
                signature: it.signature.to_string(),
            }),
        });
        KeysReply {
            keys: keys.collect(),
        }
    }

    fn head(by: u8) -> Signed {
        let statement = HeadStatement {
            audience: "all".to_owned(),
            environment: EnvironmentName::new("production").unwrap(),
            epoch: 0,
            expires: Timestamp(0),
            head: Digest::of(b"head"),
            issued: Timestamp(0),
            key_id: String::new(),
            log: "log".to_owned(),
            revision: 7,
            view_root: Digest::of(b"root"),
        };
        let (payload, signature) = statement.sign(&key(by)).unwrap();
        let signature = signature.to_string();
        Signed { payload, signature }
    }

    #[test]
    fn the_keys_that_are_met_first_are_trusted_and_those_that_they_lead_to() {
        let met = Trust::default().follow(&listed(&ring(&[1, 2]))).unwrap();
        assert_eq!(met.current(), Some(&key(2).public()));
        let led = met.follow(&listed(&ring(&[1, 2, 3, 4]))).unwrap();
        assert_eq!(led.current(), Some(&key(4).public()));
        assert_eq!(led.keys.len(), 4);
        // A list that only repeats what is known changes nothing.
        assert_eq!(led.follow(&listed(&ring(&[1, 2, 3, 4]))), Ok(led.clone()));
    }

    #[test]
    fn keys_that_the_trusted_one_does_not_lead_to_are_not_followed() {
        let trust = Trust::of(key(2).public());
        let mut unsigned = listed(&ring(&[2, 3]));
        unsigned.keys[1].endorsement = None;
        let mut swapped = listed(&ring(&[2, 3]));
        swapped.keys[1].key = key(9).public().to_string();
        for bad in [
            listed(&ring(&[3])),
            listed(&ring(&[1, 3])),
            // One that goes back to a key before.
            listed(&ring(&[1])),
            KeysReply { keys: Vec::new() },
            unsigned,
            swapped,
        ] {
            assert!(trust.follow(&bad).is_err(), "{bad:?}");
        }
        assert!(
            Trust::default()
                .follow(&KeysReply { keys: Vec::new() })
                .is_err()
        );
    }

    #[test]
    fn a_key_counts_for_an_hour_after_another_took_its_place_and_for_what_was_kept_for_ever() {
        let trust = Trust::default().follow(&listed(&ring(&[1, 2]))).unwrap();
        let replaced = OVERLAP_MS;
        let at = |ms: i64| trust.verify(&head(1), Timestamp(ms)).is_ok();
        assert!(at(replaced - 1) && at(replaced + OVERLAP_MS));
        assert!(!at(replaced + OVERLAP_MS + 1));
        assert!(trust.verify(&head(2), Timestamp(i64::MAX)).is_ok());
        assert!(trust.verify_kept(&head(1)).is_ok());
        let stranger = trust.verify(&head(3), Timestamp(0)).unwrap_err();
        assert_eq!(
            stranger,
            Doubt::KeyUnknown(key(3).public().keyid().to_string())
        );
    }

    #[test]
    fn a_signature_of_another_text_is_forged_whatever_key_it_names() {
        let trust = Trust::of(key(1).public());
        let good = head(1);
        let altered = Signed {
            payload: good.payload.replace("production", "staging"),
            ..good.clone()
        };
        let named = Signed {
            signature: head(2).signature.replace(
                &key(2).public().keyid().to_string(),
                &key(1).public().keyid().to_string(),
            ),
            ..good.clone()
        };
        let unreadable = Signed {
            signature: "none".to_owned(),
            ..good
        };
        for signed in [altered, named, unreadable] {
            let found = trust.verify(&signed, Timestamp(0));
            assert!(matches!(found, Err(Doubt::Forged(_))), "{found:?}");
        }
    }

    #[test]
    fn a_key_that_is_told_goes_before_what_was_met_unless_they_belong_together() {
        let met = Trust::default().follow(&listed(&ring(&[1, 2]))).unwrap();
        assert!(met.goes_on_from(&Trust::default()));
        for told in [1, 2] {
            assert!(met.goes_on_from(&Trust::of(key(told).public())));
        }
        assert!(!met.goes_on_from(&Trust::of(key(3).public())));
    }

    #[test]
    fn what_is_trusted_is_read_back() {
        let met = Trust::default().follow(&listed(&ring(&[1, 2]))).unwrap();
        let text = serde_json::to_string(&met).unwrap();
        assert_eq!(serde_json::from_str::<Trust>(&text).unwrap(), met);
    }
}
