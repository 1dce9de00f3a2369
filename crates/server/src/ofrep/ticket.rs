//! Tickets: what opens one stream of events in place of a token, for a browser cannot send headers there.
//!
//! A ticket says that somebody with a token asked not long ago. It holds neither the token nor its digest,
//! needs nothing to be kept, and so is good at every node and after a restart.

use axum::http::Uri;
use plane_api::Operation;
use plane_model::{Digest, Document, DocumentKey, EnvironmentName, Timestamp, TokenId};
use plane_state::State;

use crate::percent;

/// A ticket ends with the window after the one in which it is given: all that are given in one window
/// are the same, so that asking again does not make another stream.
const WINDOW_MS: i64 = 15 * 60 * 1_000;

/// The right to follow one stream for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) environment: EnvironmentName,
    pub(crate) token: TokenId,
    /// When it is over, and the stream with it.
    pub(crate) ends_at: Timestamp,
}

impl Ticket {
    /// Gives a ticket to whoever has this token.
    pub(crate) fn new(environment: EnvironmentName, token: TokenId, now: Timestamp) -> Self {
        let window = now.0.div_euclid(WINDOW_MS);
        Self {
            environment,
            token,
            ends_at: Timestamp((window + 2) * WINDOW_MS),
        }
    }

    /// From when on another ticket is given.
    pub(crate) fn renewable_at(&self) -> Timestamp {
        Timestamp(self.ends_at.0 - WINDOW_MS)
    }

    /// Writes it; `hash` is that of the token.
    pub(crate) fn text(&self, hash: &Digest) -> String {
        let claim = self.claim();
        format!("{claim}~{}", seal(&claim, hash).hex())
    }

    fn claim(&self) -> String {
        format!("{}~{}~{}", self.ends_at.0, self.environment, self.token)
    }

    /// The text of the ticket in a request to an operation that takes one.
    pub(crate) fn of(operation: &Operation, uri: &Uri) -> Option<String> {
        operation.query.iter().find(|it| it.name == "ticket")?;
        let text = uri
            .query()?
            .split('&')
            .find_map(|it| it.strip_prefix("ticket="))?;
        percent::decode(text, true)
    }

    /// Reads a ticket, and finds the digest of the token that it was given to; none if it is not valid,
    /// or no longer, or the token is gone.
    pub(crate) fn read(text: &str, state: &State, now: Timestamp) -> Option<(Self, Digest)> {
        let (claim, told) = text.rsplit_once('~')?;
        let [ends_at, environment, token] =
            <[&str; 3]>::try_from(claim.splitn(3, '~').collect::<Vec<_>>()).ok()?;
        let ticket = Self {
            environment: EnvironmentName::new(environment).ok()?,
            token: TokenId::new(token).ok()?,
            ends_at: Timestamp(ends_at.parse().ok()?),
        };
        let Document::Token(document) = &**state.document(&DocumentKey::token(&ticket.token))?
        else {
            return None;
        };
        let is_valid = ticket.claim() == claim
            && seal(claim, &document.hash).hex() == told
            && now < ticket.ends_at;
        is_valid.then_some((ticket, document.hash))
    }
}

/// What nobody can write who does not know the token's digest.
fn seal(claim: &str, hash: &Digest) -> Digest {
    // Both parts have one length, so that nothing can be added to a claim.
    Digest::of_parts(&[
        b"control-plane events ticket 1\n",
        hash.as_bytes(),
        Digest::of(claim.as_bytes()).as_bytes(),
    ])
}
