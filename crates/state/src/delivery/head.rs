//! What a server says of a view, and signs.

use plane_model::{Digest, EnvironmentName, Timestamp, TokenId, canonical};
use plane_registry::{KeyId, PublicKey, Signature, SigningKey};
use serde::{Deserialize, Serialize};

/// What a signed head is: no other statement passes for one.
pub const HEAD_PAYLOAD_TYPE: &str = "application/vnd.control-plane.head.v1+json";

/// The audience of all who see all tenants.
pub const AUDIENCE_ALL: &str = "all";

/// How the audience of a single token is called; `digest` is that of the token's text.
///
/// It tells nobody the token, and whoever has the token knows the digest: it cannot be given the view
/// of another one.
pub fn audience_of_token(id: &TokenId, digest: &Digest) -> String {
    format!("token:{id}:{}", short_digest(digest))
}

/// Says whether a view for `audience` is meant for who has the token with this digest.
pub fn is_audience_of(audience: &str, token: Option<&Digest>) -> bool {
    let of_token = audience.strip_prefix("token:");
    match (of_token.and_then(|it| it.rsplit_once(':')), token) {
        (Some((_, short)), Some(token)) => short == short_digest(token),
        (Some(_), None) => false,
        (None, _) => audience == AUDIENCE_ALL,
    }
}

fn short_digest(digest: &Digest) -> String {
    digest.hex().chars().take(16).collect()
}

/// Says which view an audience has, as of when, and until when that is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadStatement {
    /// For whom the view was narrowed.
    pub audience: String,
    /// The environment.
    pub environment: EnvironmentName,
    /// How often the log was recovered from a backup.
    pub epoch: u64,
    /// When a holder should ask whether it is cut off from news.
    pub expires: Timestamp,
    /// The hash of the log's record at the revision.
    pub head: Digest,
    /// When this was said.
    pub issued: Timestamp,
    /// The key that signs.
    pub key_id: String,
    /// The log.
    pub log: String,
    /// The revision.
    pub revision: u64,
    /// The digest over all documents of the view.
    pub view_root: Digest,
}

/// Why a head is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not a head, or not in its canonical form.
    #[error("it is not a signed head: {0}")]
    Form(String),
    /// No key that is trusted has signed it.
    #[error("no trusted key has signed it: it names the key `{0}`")]
    Untrusted(String),
}

impl HeadStatement {
    /// Writes the statement and signs what it wrote; the key's id is filled in.
    ///
    /// # Errors
    /// [`HeadError::Form`] if a number in it has no canonical form.
    pub fn sign(mut self, key: &SigningKey) -> Result<(String, Signature), HeadError> {
        self.key_id = key.public().keyid().to_string();
        let bytes = canonical::canonical_bytes(&self)
            .map_err(|error| HeadError::Form(error.to_string()))?;
        let signature = key.sign(HEAD_PAYLOAD_TYPE, &bytes);
        let payload =
            String::from_utf8(bytes).map_err(|error| HeadError::Form(error.to_string()))?;
        Ok((payload, signature))
    }

    /// Reads a statement that one of `keys` has signed.
    ///
    /// # Errors
    /// [`HeadError::Untrusted`] if none has, [`HeadError::Form`] if what was signed is no head.
    pub fn verify(
        payload: &str,
        signature: &Signature,
        keys: &[PublicKey],
    ) -> Result<Self, HeadError> {
        let is_signed = keys
            .iter()
            .any(|key| key.verify(HEAD_PAYLOAD_TYPE, payload.as_bytes(), &signature.bytes));
        if !is_signed {
            return Err(HeadError::Untrusted(signature.keyid.to_string()));
        }
        let form = |detail: String| HeadError::Form(detail);
        let head: Self = serde_json::from_str(payload).map_err(|error| form(error.to_string()))?;
        if head.key_id.parse::<KeyId>().is_err() {
            return Err(form(format!("`{}` is no key id", head.key_id)));
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> HeadStatement {
        HeadStatement {
            audience: "all".to_owned(),
            environment: EnvironmentName::new("production").unwrap(),
            epoch: 0,
            expires: Timestamp(2_000),
            head: Digest::of(b"head"),
            issued: Timestamp(1_000),
            key_id: String::new(),
            log: "log".to_owned(),
            revision: 7,
            view_root: Digest::of(b"root"),
        }
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    #[test]
    fn what_was_signed_is_read_back() {
        let (payload, signature) = statement().sign(&key(1)).unwrap();
        let keys = [key(2).public(), key(1).public()];
        let read = HeadStatement::verify(&payload, &signature, &keys).unwrap();
        let key_id = key(1).public().keyid().to_string();
        assert_eq!(
            read,
            HeadStatement {
                key_id,
                ..statement()
            }
        );
        assert!(canonical::is_canonical(payload.as_bytes()));
    }

    #[test]
    fn a_view_is_meant_for_all_or_for_one_token() {
        let (mine, other) = (Digest::of(b"cp_mine"), Digest::of(b"cp_other"));
        let audience = audience_of_token(&TokenId::new("svc").unwrap(), &mine);
        assert!(is_audience_of(&audience, Some(&mine)));
        for token in [None, Some(&other)] {
            assert!(!is_audience_of(&audience, token));
            assert!(is_audience_of(AUDIENCE_ALL, token));
            assert!(!is_audience_of("everybody", token));
            assert!(!is_audience_of("token:svc", token));
        }
    }

    #[test]
    fn another_key_another_text_or_another_kind_of_statement_is_not_believed() {
        let (payload, signature) = statement().sign(&key(1)).unwrap();
        let keys = [key(1).public()];
        let untrusted = |found| matches!(found, Err(HeadError::Untrusted(_)));
        assert!(untrusted(HeadStatement::verify(&payload, &signature, &[])));
        let others = [key(2).public()];
        assert!(untrusted(HeadStatement::verify(
            &payload, &signature, &others
        )));
        let later = payload.replace(r#""revision":7"#, r#""revision":8"#);
        assert_ne!(later, payload);
        assert!(untrusted(HeadStatement::verify(&later, &signature, &keys)));
        let as_manifest = key(1).sign(
            "application/vnd.control-plane.tool-manifest.v1+json",
            payload.as_bytes(),
        );
        assert!(untrusted(HeadStatement::verify(
            &payload,
            &as_manifest,
            &keys
        )));
    }

    #[test]
    fn a_statement_that_is_signed_and_is_no_head_is_refused() {
        for text in ["", "{}", "[]", r#"{"audience":"all"}"#] {
            let signature = key(1).sign(HEAD_PAYLOAD_TYPE, text.as_bytes());
            let found = HeadStatement::verify(text, &signature, &[key(1).public()]);
            assert!(
                matches!(found, Err(HeadError::Form(_))),
                "{text}: {found:?}"
            );
        }
    }
}
