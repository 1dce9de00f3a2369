//! Trust: whether enough of a namespace's keys signed a payload.

use plane_model::documents::{Signing, Trust, TrustedKey};
use plane_model::{Code, Timestamp, Violation, Violations};

use crate::dsse::PayloadType;
use crate::keys::{KeyId, PublicKey, Signature};

/// Which trusted keys signed a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureReport {
    /// The signatures that count, one per key.
    pub verified: Vec<VerifiedSignature>,
    /// How many were needed.
    pub threshold: u32,
    /// Why other signatures do not count, though enough do.
    pub ignored: Violations,
}

impl SignatureReport {
    /// Returns whether anybody signed; an unsigned payload passes only where signing is optional.
    pub fn is_signed(&self) -> bool {
        !self.verified.is_empty()
    }
}

/// A signature that a trusted key made over the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The key.
    pub public_key: PublicKey,
    /// Its id.
    pub keyid: KeyId,
    /// Whose it is, as the trust document says.
    pub description: Option<String>,
    /// The signature itself.
    pub signature: Signature,
}

/// Checks `signatures` over `payload` against a namespace's trust at the time `now`.
///
/// Counts keys, not signatures: one key counts once, however often it signed and under whatever
/// ids. The key id in a signature only says which key to try first. Expired and revoked keys do not
/// count. Where signing is optional, no signature at all is accepted, but a signature that is there
/// must hold and reach the threshold. O(signatures × keys).
///
/// # Errors
/// [`Code::SignatureMissing`] if fewer than the threshold signed, together with the reason why each
/// signature that is there does not count; pointers are below `/signature`.
pub fn verify_signatures(
    payload_type: PayloadType,
    payload: &[u8],
    signatures: &[Signature],
    trust: &Trust,
    now: Timestamp,
) -> Result<SignatureReport, Violations> {
    let keys = read_keys(trust)?;
    let threshold = trust.threshold.max(1);
    let mut report = SignatureReport {
        verified: Vec::new(),
        threshold,
        ignored: Violations::new(),
    };
    if signatures.is_empty() && trust.signing == Signing::Optional {
        return Ok(report);
    }
    for (index, signature) in signatures.iter().enumerate() {
        let pointer = match signatures.len() {
            1 => "/signature".to_owned(),
            _ => format!("/signature/{index}"),
        };
        match verify_one(payload_type, payload, signature, &keys, now) {
            Ok(verified) => {
                if !report
                    .verified
                    .iter()
                    .any(|it| it.public_key == verified.public_key)
                {
                    report.verified.push(verified);
                }
            }
            Err(violation) => report.ignored.push(violation.below(&pointer)),
        }
    }
    let reached = u32::try_from(report.verified.len()).is_ok_and(|count| count >= threshold);
    if reached {
        return Ok(report);
    }
    let detail = if signatures.is_empty() {
        format!("not signed; the namespace requires signatures by {threshold} of its keys")
    } else {
        let count = report.verified.len();
        format!("signed by {count} trusted keys; the namespace requires {threshold} different ones")
    };
    let mut violations = vec![
        Violation::new(Code::SignatureMissing, "/signature", detail).next(
            "run `control-plane sign FILE --key KEYFILE --write` with a key that the namespace's \
             trust document lists",
        ),
    ];
    violations.append(&mut report.ignored);
    Err(violations)
}

/// Reads the keys of a trust document, also to validate it.
///
/// # Errors
/// [`Code::KeyInvalid`] for every key that is malformed or weak or occurs twice, with pointers into
/// the trust document.
pub fn check_keys(trust: &Trust) -> Result<Vec<PublicKey>, Violations> {
    read_keys(trust).map(|keys| keys.into_iter().map(|(key, _)| key).collect())
}

fn read_keys(trust: &Trust) -> Result<Vec<(PublicKey, &TrustedKey)>, Violations> {
    let mut keys: Vec<(PublicKey, &TrustedKey)> = Vec::new();
    let mut found = Violations::new();
    for (index, trusted) in trust.keys.iter().enumerate() {
        let pointer = format!("/keys/{index}/public_key");
        match trusted.public_key.parse::<PublicKey>() {
            Ok(key) if keys.iter().any(|(other, _)| *other == key) => found.push(
                Violation::new(Code::KeyInvalid, pointer, "the same key is listed twice")
                    .next("keep one of the two"),
            ),
            Ok(key) => keys.push((key, trusted)),
            Err(error) => found.push(
                Violation::new(Code::KeyInvalid, pointer, error.to_string())
                    .next("write the line that `control-plane keygen` printed"),
            ),
        }
    }
    if found.is_empty() {
        Ok(keys)
    } else {
        Err(found)
    }
}

fn verify_one(
    payload_type: PayloadType,
    payload: &[u8],
    signature: &Signature,
    keys: &[(PublicKey, &TrustedKey)],
    now: Timestamp,
) -> Result<VerifiedSignature, Violation> {
    let is_named = |key: &PublicKey| key.keyid() == signature.keyid;
    let named = keys.iter().filter(|(key, _)| is_named(key));
    let others = keys.iter().filter(|(key, _)| !is_named(key));
    let holds = |key: &PublicKey| key.verify(payload_type.as_str(), payload, &signature.bytes);
    let signer = named.chain(others).find(|(key, _)| holds(key));
    let Some((public_key, trusted)) = signer else {
        return Err(explain(signature, keys));
    };
    let keyid = public_key.keyid();
    if let Some(revoked_at) = trusted.revoked_at.filter(|at| *at <= now) {
        let detail = format!("the key {keyid} is revoked since {revoked_at}");
        return Err(Violation::new(Code::KeyRevoked, "", detail).next("sign with another key"));
    }
    if let Some(not_after) = trusted.not_after.filter(|at| *at < now) {
        let detail = format!("the key {keyid} expired at {not_after}");
        return Err(Violation::new(Code::KeyExpired, "", detail)
            .next("sign with another key, or extend `not_after` in the trust document"));
    }
    let description = trusted.description.clone();
    Ok(VerifiedSignature {
        public_key: *public_key,
        keyid,
        description,
        signature: *signature,
    })
}

/// Says why no key verifies a signature.
fn explain(signature: &Signature, keys: &[(PublicKey, &TrustedKey)]) -> Violation {
    if keys.is_empty() {
        return Violation::new(Code::TrustMissing, "", "the namespace trusts no keys")
            .next("add the signer's public key to the namespace's trust document");
    }
    let is_known = keys.iter().any(|(key, _)| key.keyid() == signature.keyid);
    let detail = if is_known {
        format!(
            "the signature by {} does not hold for this content: it was changed after signing",
            signature.keyid
        )
    } else {
        format!(
            "the signature is by the key {}, which the namespace does not trust",
            signature.keyid
        )
    };
    Violation::new(Code::SignatureInvalid, "", detail).next(if is_known {
        "sign the manifest as it is now: `control-plane sign FILE --key KEYFILE --write`"
    } else {
        "sign with a key that the trust document lists, or add this one to it"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = b"{}";
    const TYPE: PayloadType = PayloadType::AgentManifest;
    const NOW: Timestamp = Timestamp(1_000);

    fn key(seed: u8) -> crate::SigningKey {
        crate::SigningKey::from_seed(&[seed; 32])
    }

    fn sign(seed: u8) -> Signature {
        key(seed).sign(TYPE.as_str(), PAYLOAD)
    }

    fn trusted(seed: u8) -> TrustedKey {
        TrustedKey {
            public_key: key(seed).public().to_string(),
            description: None,
            not_after: None,
            revoked_at: None,
        }
    }

    fn trust(threshold: u32, seeds: &[u8]) -> Trust {
        let keys = seeds.iter().map(|seed| trusted(*seed)).collect();
        Trust {
            signing: Signing::Required,
            threshold,
            keys,
        }
    }

    fn verify(signatures: &[Signature], trust: &Trust) -> Result<SignatureReport, Violations> {
        verify_signatures(TYPE, PAYLOAD, signatures, trust, NOW)
    }

    fn codes(signatures: &[Signature], trust: &Trust) -> Vec<(Code, String)> {
        let violations = verify(signatures, trust).unwrap_err();
        violations
            .into_iter()
            .map(|it| (it.code, it.pointer))
            .collect()
    }

    #[test]
    fn enough_different_keys_pass() {
        let report = verify(&[sign(1), sign(2)], &trust(2, &[1, 2, 3])).unwrap();
        assert_eq!(report.verified.len(), 2);
        assert!(report.is_signed() && report.ignored.is_empty());
    }

    #[test]
    fn one_key_counts_once_under_whatever_ids() {
        let renamed = Signature {
            keyid: key(2).public().keyid(),
            ..sign(1)
        };
        let violations = verify(&[sign(1), sign(1), renamed], &trust(2, &[1, 2])).unwrap_err();
        assert_eq!(violations[0].code, Code::SignatureMissing);
        assert!(violations[0].detail.contains("signed by 1 trusted keys"));
    }

    #[test]
    fn a_wrong_key_id_does_not_hide_a_good_signature() {
        let renamed = Signature {
            keyid: key(9).public().keyid(),
            ..sign(1)
        };
        let report = verify(&[renamed], &trust(1, &[1])).unwrap();
        assert_eq!(report.verified[0].keyid, key(1).public().keyid());
    }

    #[test]
    fn a_key_id_alone_convinces_nobody() {
        let claimed = Signature {
            keyid: key(1).public().keyid(),
            ..sign(9)
        };
        let root = "/signature".to_owned();
        assert_eq!(
            codes(&[claimed], &trust(1, &[1])),
            [
                (Code::SignatureMissing, root.clone()),
                (Code::SignatureInvalid, root)
            ]
        );
    }

    #[test]
    fn signatures_over_other_bytes_or_types_do_not_count() {
        let other_bytes = key(1).sign(TYPE.as_str(), b"{ }");
        let other_type = key(1).sign(PayloadType::ToolManifest.as_str(), PAYLOAD);
        for signature in [other_bytes, other_type] {
            assert!(verify(&[signature], &trust(1, &[1])).is_err());
        }
    }

    #[test]
    fn expired_and_revoked_keys_do_not_count() {
        let mut trust = trust(1, &[1, 2]);
        trust.keys[0].not_after = Some(Timestamp(NOW.0 - 1));
        trust.keys[1].revoked_at = Some(NOW);
        assert_eq!(
            codes(&[sign(1), sign(2)], &trust),
            [
                (Code::SignatureMissing, "/signature".to_owned()),
                (Code::KeyExpired, "/signature/0".to_owned()),
                (Code::KeyRevoked, "/signature/1".to_owned()),
            ]
        );
        trust.keys[0].not_after = Some(NOW);
        trust.keys[1].revoked_at = Some(Timestamp(NOW.0 + 1));
        assert_eq!(
            verify(&[sign(1), sign(2)], &trust).unwrap().verified.len(),
            2
        );
    }

    #[test]
    fn an_unknown_signer_beside_enough_known_ones_is_reported_not_refused() {
        let report = verify(&[sign(1), sign(9)], &trust(1, &[1])).unwrap();
        assert_eq!(report.ignored.len(), 1);
        assert_eq!(report.ignored[0].pointer, "/signature/1");
    }

    #[test]
    fn where_signing_is_optional_nothing_is_fine_but_a_bad_signature_is_not() {
        let optional = Trust {
            signing: Signing::Optional,
            ..trust(1, &[1])
        };
        assert!(!verify(&[], &optional).unwrap().is_signed());
        assert!(verify(&[sign(1)], &optional).unwrap().is_signed());
        assert!(verify(&[sign(9)], &optional).is_err());
        assert_eq!(
            codes(&[], &trust(1, &[1])),
            [(Code::SignatureMissing, "/signature".to_owned())]
        );
        let no_keys = Trust {
            keys: Vec::new(),
            ..optional
        };
        assert_eq!(codes(&[sign(1)], &no_keys)[1].0, Code::TrustMissing);
    }

    #[test]
    fn a_trust_document_with_bad_or_repeated_keys_is_refused() {
        let mut trust = trust(1, &[1, 2, 1]);
        trust.keys[1].public_key = "ed25519:AAAA".to_owned();
        let found = check_keys(&trust).unwrap_err();
        let pointers: Vec<_> = found.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/keys/1/public_key", "/keys/2/public_key"]);
        assert!(found.iter().all(|it| it.code == Code::KeyInvalid));
    }
}
