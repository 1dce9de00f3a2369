//! Signed heads: what the server vouches for, with the keys that it was given.
//!
//! A head is signed once for all who get the same, and again when it gets old or another key signs.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::http::HeaderValue;
use plane_api::{KeysReply, ServerKey, Signed};
use plane_model::{Digest, Timestamp};
use plane_node::Node;
use plane_registry::SigningKey;
use plane_state::State;
use plane_state::delivery::{Endorsement, HeadError, HeadStatement, KeyRing};

use crate::view::Audience;

/// How long a head is to be believed, in milliseconds: who gets none that is younger is cut off from news.
const VALID_MS: i64 = 5 * 60 * 1_000;
/// How old a head may get before it is signed anew, in milliseconds.
const REUSED_MS: i64 = 10 * 1_000;

/// The keys that a server signs heads of views with; clones are one.
#[derive(Debug, Clone)]
pub struct ServerKeys(Arc<RwLock<Arc<KeyRing>>>);

impl ServerKeys {
    /// Signs with the current key of a ring.
    pub fn new(ring: KeyRing) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(ring))))
    }

    /// Signs with a key that lives as long as this process.
    ///
    /// # Panics
    /// If the system has no random bytes: nothing could be signed.
    pub fn of_this_process() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system gives random bytes");
        Self::new(KeyRing::new(SigningKey::from_seed(&seed)))
    }

    /// Signs with other keys from now on, if who trusts the key until now can follow to them; says whether it does.
    pub fn succeed(&self, ring: KeyRing) -> bool {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_led_to = ring.leads_from(&held.current().public());
        if is_led_to {
            *held = Arc::new(ring);
        }
        is_led_to
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The public keys.
    pub(crate) fn listed(&self) -> KeysReply {
        let keys = (self.ring().keys())
            .map(|(key, endorsement)| ServerKey {
                key: key.to_string(),
                key_id: key.keyid().to_string(),
                endorsement: endorsement.map(|it: &Endorsement| Signed {
                    payload: it.payload.clone(),
                    signature: it.signature.to_string(),
                }),
            })
            .collect();
        KeysReply { keys }
    }
}

/// What a view is: all that a head says but when and by which key.
#[derive(Debug)]
pub(crate) struct Head {
    statement: HeadStatement,
    signed: Mutex<Option<Made>>,
}

/// A head as it was signed.
#[derive(Debug, Clone)]
struct Made {
    at: Timestamp,
    by: Arc<KeyRing>,
    signed: Arc<Signed>,
    header: Option<HeaderValue>,
}

impl Head {
    /// The head of an audience's view at a point of the log.
    pub(crate) fn new(
        audience: &Audience,
        state: &State,
        (revision, head): (u64, Digest),
        view_root: Digest,
    ) -> Self {
        let statement = HeadStatement {
            audience: audience.name(),
            environment: audience.environment().clone(),
            epoch: state.epoch(),
            expires: Timestamp(0),
            head,
            issued: Timestamp(0),
            key_id: String::new(),
            log: state.log().to_owned(),
            revision,
            view_root,
        };
        Self {
            statement,
            signed: Mutex::default(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.statement.revision
    }

    /// The head, signed not long ago; none if it cannot be, which the log says.
    pub(crate) fn signed(&self, keys: &ServerKeys, now: Timestamp) -> Option<Arc<Signed>> {
        Some(self.made(keys, now)?.signed)
    }

    /// The same as the value of a header.
    pub(crate) fn header(&self, keys: &ServerKeys, now: Timestamp) -> Option<HeaderValue> {
        self.made(keys, now)?.header
    }

    fn made(&self, keys: &ServerKeys, now: Timestamp) -> Option<Made> {
        let ring = keys.ring();
        let mut kept = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |made: &&Made| {
            Arc::ptr_eq(&made.by, &ring) && (0..REUSED_MS).contains(&(now.0 - made.at.0))
        };
        if let Some(made) = kept.as_ref().filter(is_fresh) {
            return Some(made.clone());
        }
        let signed = self.sign(ring.current(), now);
        let signed = signed.inspect_err(|error| tracing::error!(%error, "a head is not signed"));
        let signed = Arc::new(signed.ok()?);
        let header = serde_json::to_string(&*signed).ok();
        let made = Made {
            at: now,
            by: ring,
            header: header.and_then(|text| HeaderValue::from_str(&text).ok()),
            signed,
        };
        *kept = Some(made.clone());
        Some(made)
    }

    fn sign(&self, key: &SigningKey, now: Timestamp) -> Result<Signed, HeadError> {
        let statement = HeadStatement {
            issued: now,
            expires: Timestamp(now.0.saturating_add(VALID_MS)),
            ..self.statement.clone()
        };
        let (payload, signature) = statement.sign(key)?;
        Ok(Signed {
            payload,
            signature: signature.to_string(),
        })
    }
}

/// Signs for the streams: at any time, and at any point of the log.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) keys: ServerKeys,
    pub(crate) node: Node,
}

impl Signer {
    pub(crate) fn head(&self, audience: &Audience, place: (u64, Digest), root: Digest) -> Head {
        Head::new(audience, self.node.snapshot().state(), place, root)
    }

    pub(crate) fn sign(&self, head: &Head) -> Option<Arc<Signed>> {
        head.signed(&self.keys, self.node.now())
    }
}
