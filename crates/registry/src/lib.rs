//! The registry's rules: manifests, signatures, versions, locks, overrides and JSON Schema.
//!
//! It must never do I/O, read a clock or draw randomness: bytes, times and seeds come in as values.
//! It decides nothing about state (what is published, who may publish): its callers do.
//!
//! Start reading at [`Manifest`] (what is published), then [`trust::verify_signatures`] (who said
//! so), [`lock::resolve_lock`] (with which tools) and [`patch::check_patch`] (what a flag may
//! change of it).
//!
//! INVARIANT: a signature and a digest always cover the canonical bytes of [`Manifest::payload`];
//! nothing is re-serialized between verifying and reading.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::todo
    )
)]

pub mod dsse;
pub mod import;
pub mod keys;
pub mod lock;
pub mod manifest;
pub mod patch;
pub mod schema;
pub mod trust;
pub mod versions;

pub use dsse::{Envelope, PayloadType};
pub use keys::{KeyId, PublicKey, Signature, SigningKey};
pub use lock::{Candidate, Lock, LockedTool, resolve_lock};
pub use manifest::{
    AgentMetadata, Bounds, Manifest, Metadata, ToolMetadata, ToolRequirement, Wanted,
};
pub use patch::{check_patch, overridable_paths};
pub use schema::CompiledSchema;
pub use trust::{SignatureReport, verify_signatures};
pub use versions::{parse_requirement, parse_version};
