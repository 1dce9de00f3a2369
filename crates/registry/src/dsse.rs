//! DSSE (Dead Simple Signing Envelope): what exactly a signature covers, and its JSON form.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use plane_model::ArtifactKind;
use serde::{Deserialize, Serialize};

const ON_READ: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ON_READ);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ON_READ);

/// What a signed payload is; a type of its own per statement, so that none passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// The canonical bytes of an agent manifest.
    AgentManifest,
    /// The canonical bytes of a tool manifest.
    ToolManifest,
}

impl PayloadType {
    /// Returns the type of the manifests of `kind`.
    pub const fn of(kind: ArtifactKind) -> Self {
        match kind {
            ArtifactKind::Agent => Self::AgentManifest,
            ArtifactKind::Tool => Self::ToolManifest,
        }
    }

    /// Returns the media type that signatures cover.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentManifest => "application/vnd.control-plane.agent-manifest.v1+json",
            Self::ToolManifest => "application/vnd.control-plane.tool-manifest.v1+json",
        }
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Returns the pre-authentication encoding: the bytes that a signature covers.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A payload with its signatures, in the JSON form that other DSSE tools read.
///
/// Nothing in it is verified. Verify [`Self::payload`] and go on with those very bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// What the payload is; signatures cover it.
    pub payload_type: String,
    /// The signed bytes.
    #[serde(with = "base64_text")]
    pub payload: Vec<u8>,
    /// The signatures.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an [`Envelope`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// Which key signed, as the signer says: a hint that nothing vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyid: Option<String>,
    /// The bytes of the signature.
    #[serde(with = "base64_text")]
    pub sig: Vec<u8>,
}

impl Envelope {
    /// Reads the JSON form; unknown members are ignored, as the specification asks.
    ///
    /// # Errors
    /// A sentence that says which part is malformed.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| format!("not a DSSE envelope: {error}"))
    }
}

/// Writes standard base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads standard or URL-safe base64, with or without padding.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    engine.decode(text).ok()
}

mod base64_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode_base64(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::decode_base64(&text).ok_or_else(|| D::Error::custom("expected base64"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_encoding_is_the_one_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    }

    #[test]
    fn both_base64_alphabets_are_read_with_and_without_padding() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            assert_eq!(decode_base64(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        for text in ["+_8=", "+/9", "a", "a b=", "===="] {
            assert_eq!(decode_base64(text), None, "{text}");
        }
    }

    #[test]
    fn an_envelope_that_is_malformed_is_refused_with_a_reason() {
        for text in [
            "",
            "{}",
            r#"{"payload":"*","payloadType":"a","signatures":[]}"#,
        ] {
            assert!(
                Envelope::parse(text.as_bytes())
                    .unwrap_err()
                    .starts_with("not a DSSE envelope")
            );
        }
    }

    proptest! {
        #[test]
        fn an_envelope_is_read_back_from_its_json(
            payload: Vec<u8>, payload_type: String, sig: Vec<u8>, keyid: Option<String>,
        ) {
            let signatures = vec![EnvelopeSignature { keyid, sig }];
            let envelope = Envelope { payload_type, payload, signatures };
            let json = serde_json::to_vec(&envelope).unwrap();
            prop_assert_eq!(Envelope::parse(&json), Ok(envelope));
        }

        #[test]
        fn different_inputs_never_have_the_same_encoding(
            a in ("[a-c 0-9]{0,6}", prop::collection::vec(any::<u8>(), 0..6)),
            b in ("[a-c 0-9]{0,6}", prop::collection::vec(any::<u8>(), 0..6)),
        ) {
            prop_assert_eq!(pae(&a.0, &a.1) == pae(&b.0, &b.1), a == b);
        }
    }
}
