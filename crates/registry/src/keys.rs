//! Ed25519 keys and signatures: their ids, their text forms, signing and strict verification.
//!
//! Text forms: public key `ed25519:<base64>`, signature `ed25519:<keyid>:<base64>`, private key
//! PKCS#8 in PEM (as `openssl genpkey -algorithm ed25519` writes it).

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use plane_model::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dsse::{decode_base64, encode_base64, pae};

const SCHEME: &str = "ed25519";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// The DER that comes before the 32 bytes of the seed: a PKCS#8 v1 key of type Ed25519 (RFC 8410).
const PKCS8_V1: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The same for version 2, where the public key follows the seed.
const PKCS8_V2: [u8; 16] = [
    0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// What stands between seed and public key in version 2.
const PKCS8_V2_PUBLIC: [u8; 3] = [0x81, 0x21, 0x00];

/// Says why a text is not a key or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a public key.
    #[error("a public key is `ed25519:` and its 32 bytes in base64")]
    PublicKeyForm,
    /// The bytes are a point that nobody can hold the private key of, or that verifies forgeries.
    #[error("the public key is weak: it is not a point that a key pair can have")]
    PublicKeyWeak,
    /// The text is not a private key.
    #[error(
        "a private key file is an unencrypted Ed25519 key in PKCS#8 PEM, starting with \
         `-----BEGIN PRIVATE KEY-----`"
    )]
    PrivateKeyForm,
    /// The text is not a key id.
    #[error("a key id has exactly 64 lowercase hex digits")]
    KeyIdForm,
    /// The text is not a signature.
    #[error("a signature is `ed25519:<key id>:<base64 of 64 bytes>`")]
    SignatureForm,
}

/// Names a public key: the SHA-256 of its canonical TUF key object.
///
/// In a signature it is a hint that nothing vouches for; trust goes by the key itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Digest::from_hex(text)
            .map(Self)
            .map_err(|_| KeyError::KeyIdForm)
    }
}

/// An Ed25519 public key that is not weak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Takes the 32 bytes of a public key.
    ///
    /// # Errors
    /// [`KeyError::PublicKeyWeak`] for bytes that are no point, or one of small order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::PublicKeyWeak)?;
        if key.is_weak() {
            Err(KeyError::PublicKeyWeak)
        } else {
            Ok(Self(key))
        }
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Returns the id: the SHA-256 of the canonical JSON of the key's TUF object.
    pub fn keyid(&self) -> KeyId {
        let public = hex::encode(self.as_bytes());
        // Each head that is signed or verified asks: its canonical form is written as it is, names in their
        // order and nothing to escape.
        let object = format!(
            r#"{{"keytype":"{SCHEME}","keyval":{{"public":"{public}"}},"scheme":"{SCHEME}"}}"#
        );
        KeyId(Digest::of(object.as_bytes()))
    }

    /// Returns whether `signature` is this key's over `payload` of type `payload_type`.
    ///
    /// Strict: malleable signatures and points of small order do not pass (RFC 8032 §8.4).
    pub fn verify(&self, payload_type: &str, payload: &[u8], signature: &[u8; 64]) -> bool {
        self.verify_bytes(&pae(payload_type, payload), signature)
    }

    /// Returns whether `signature` is this key's over exactly `message`, without an envelope.
    pub fn verify_bytes(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}", encode_base64(self.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = text
            .strip_prefix("ed25519:")
            .and_then(decode_base64)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(KeyError::PublicKeyForm)?;
        Self::from_bytes(&bytes)
    }
}

/// An Ed25519 private key; its bytes are wiped from memory when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Takes 32 secret bytes, which the caller drew from a secure source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a private key file: PKCS#8 in PEM, not encrypted.
    ///
    /// # Errors
    /// [`KeyError::PrivateKeyForm`] for anything else, also for a version 2 key whose public half
    /// is not its own.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let body = text
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .ok_or(KeyError::PrivateKeyForm)?;
        let base64: String = body.split_ascii_whitespace().collect();
        let der = decode_base64(&base64).ok_or(KeyError::PrivateKeyForm)?;
        Self::from_der(&der).ok_or(KeyError::PrivateKeyForm)
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        if let Some(seed) = der.strip_prefix(&PKCS8_V1) {
            return Some(Self::from_seed(seed.try_into().ok()?));
        }
        let (seed, rest) = der.strip_prefix(&PKCS8_V2)?.split_first_chunk::<32>()?;
        let key = Self::from_seed(seed);
        let public = rest.strip_prefix(&PKCS8_V2_PUBLIC)?;
        (public == key.public().as_bytes()).then_some(key)
    }

    /// Writes the private key file; whoever reads it can sign.
    pub fn to_pem(&self) -> String {
        let mut der = PKCS8_V1.to_vec();
        der.extend_from_slice(self.0.as_bytes());
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", encode_base64(&der))
    }

    /// Returns the public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `payload` as one of type `payload_type`.
    pub fn sign(&self, payload_type: &str, payload: &[u8]) -> Signature {
        let bytes = self.0.sign(&pae(payload_type, payload)).to_bytes();
        Signature {
            keyid: self.public().keyid(),
            bytes,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// A signature and the id of the key that made it, as the signer says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// Which key signed: a hint.
    pub keyid: KeyId,
    /// The 64 bytes of the signature.
    pub bytes: [u8; 64],
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}:{}:{}", self.keyid, encode_base64(&self.bytes))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (keyid, base64) = text
            .strip_prefix("ed25519:")
            .and_then(|rest| rest.split_once(':'))
            .ok_or(KeyError::SignatureForm)?;
        let keyid = keyid.parse().map_err(|_| KeyError::SignatureForm)?;
        let bytes = decode_base64(base64)
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .ok_or(KeyError::SignatureForm)?;
        Ok(Self { keyid, bytes })
    }
}

macro_rules! as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(KeyId, PublicKey, Signature);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 8032 §7.1, test 1.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn key() -> SigningKey {
        SigningKey::from_seed(&hex::decode(SEED).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_public_key_of_rfc_8032_comes_from_its_seed() {
        assert_eq!(hex::encode(key().public().as_bytes()), PUBLIC);
    }

    #[test]
    fn the_key_id_is_the_hash_of_the_canonical_tuf_object() {
        let object = serde_json::json!({
            "scheme": "ed25519", "keyval": { "public": PUBLIC }, "keytype": "ed25519",
        });
        let canonical = plane_model::canonical::to_canonical(&object).unwrap();
        assert_eq!(
            key().public().keyid().to_string(),
            Digest::of(&canonical).hex()
        );
    }

    #[test]
    fn a_private_key_file_is_what_openssl_writes() {
        // `openssl pkey` writes this file for the seed of RFC 8032 §7.1, test 1.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                   -----END PRIVATE KEY-----\n";
        assert_eq!(key().to_pem(), pem);
        assert_eq!(SigningKey::from_pem(pem).unwrap().public(), key().public());
        let windows = format!("\n{}\n", pem.replace('\n', "\r\n"));
        assert_eq!(
            SigningKey::from_pem(&windows).unwrap().public(),
            key().public()
        );
    }

    #[test]
    fn a_version_2_private_key_is_read_only_with_its_own_public_key() {
        let file = |public: &[u8]| {
            let seed = hex::decode(SEED).unwrap();
            let der = [&PKCS8_V2, seed.as_slice(), &PKCS8_V2_PUBLIC, public].concat();
            format!("{PEM_BEGIN}\n{}\n{PEM_END}", encode_base64(&der))
        };
        let public = hex::decode(PUBLIC).unwrap();
        assert_eq!(
            SigningKey::from_pem(&file(&public)).unwrap().public(),
            key().public()
        );
        assert!(SigningKey::from_pem(&file(&[7; 32])).is_err());
    }

    #[test]
    fn other_files_are_not_private_keys() {
        let rsa = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----";
        let short = format!("{PEM_BEGIN}\nMC4CAQAwBQYDK2VwBCIEIA==\n{PEM_END}");
        for text in ["", SEED, rsa, &short, &key().public().to_string()] {
            assert_eq!(
                SigningKey::from_pem(text).err(),
                Some(KeyError::PrivateKeyForm),
                "{text}"
            );
        }
    }

    #[test]
    fn weak_and_malformed_public_keys_are_refused() {
        // The neutral element, a point of order 8, and an encoding that is no point.
        let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut no_point = [0; 32];
        no_point[0] = 2;
        for bytes in [
            neutral,
            hex::decode(order_8).unwrap().try_into().unwrap(),
            no_point,
        ] {
            let text = format!("ed25519:{}", encode_base64(&bytes));
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError::PublicKeyWeak));
        }
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", PUBLIC] {
            assert_eq!(
                text.parse::<PublicKey>(),
                Err(KeyError::PublicKeyForm),
                "{text}"
            );
        }
    }

    #[test]
    fn a_placeholder_is_no_signature() {
        let keyid = key().public().keyid();
        for text in [
            "abc123def456...",
            "",
            "ed25519:abc:AAAA",
            &format!("ed25519:{keyid}:AAAA"),
        ] {
            assert_eq!(
                text.parse::<Signature>(),
                Err(KeyError::SignatureForm),
                "{text}"
            );
        }
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", key()),
            format!("SigningKey({})", key().public())
        );
    }

    proptest! {
        #[test]
        fn text_forms_are_read_back(seed: [u8; 32], payload: Vec<u8>) {
            let key = SigningKey::from_seed(&seed);
            let public = key.public();
            prop_assert_eq!(public.to_string().parse::<PublicKey>(), Ok(public));
            prop_assert_eq!(SigningKey::from_pem(&key.to_pem()).unwrap().public(), public);
            let signature = key.sign("t", &payload);
            prop_assert_eq!(signature.to_string().parse::<Signature>(), Ok(signature));
        }

        #[test]
        fn a_signature_holds_for_its_own_payload_and_type_only(
            seed: [u8; 32], payload: Vec<u8>, flip in 0_usize..512, other: Vec<u8>,
        ) {
            let key = SigningKey::from_seed(&seed);
            let Signature { bytes, .. } = key.sign("a", &payload);
            let public = key.public();
            prop_assert!(public.verify("a", &payload, &bytes));
            prop_assert!(!public.verify("b", &payload, &bytes));
            prop_assert_eq!(public.verify("a", &other, &bytes), other == payload);
            let mut forged = bytes;
            forged[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!public.verify("a", &payload, &forged));
        }
    }
}
