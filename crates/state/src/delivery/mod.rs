//! What leaves the server: views in parts, the digest over them, heads that are signed, and what a holder has.
//!
//! Server and client use the same code, so that what one signs is what the other computes.
//! `docs/adr/0012` says why it is built so.

mod head;
mod holding;
mod keys;
mod merkle;
mod part;
mod projection;
mod roots;

pub use head::{
    AUDIENCE_ALL, HEAD_PAYLOAD_TYPE, HeadError, HeadStatement, audience_of_token, is_audience_of,
};
pub use holding::{At, Delivered, Holding, StandIn, StandIns};
pub use keys::{
    ENDORSEMENT_PAYLOAD_TYPE, Endorsed, Endorsement, KeyRing, KeyRingError, follow as follow_keys,
};
pub use merkle::MerkleMap;
pub use part::Part;
pub use projection::{Changed, Followed, Projection, part, tenant_documents};
pub use roots::{Name, Roots};
