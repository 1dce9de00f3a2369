//! A provider for `OpenFeature`'s Rust SDK: flags of the control plane, evaluated in this process.
//!
//! It must never block the runtime that it is asked on, decide anything that the client does not, or
//! give a value that a flag does not have: what the SDK has no value for is an error with a reason.
//!
//! Start reading at [`Provider`]; `context.rs` says how contexts are read, `value.rs` what becomes of
//! values. A crate of its own, so that who does without `OpenFeature` links nothing of it.
//!
//! INVARIANT: a resolution is of exactly one revision, which its metadata name.

mod context;
mod provider;
mod value;

pub use provider::Provider;
