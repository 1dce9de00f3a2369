//! Documents, names, ids, limits, digests and canonical JSON: values that are valid once built.
//!
//! It must never do I/O, read a clock, draw randomness or evaluate anything: it only says what a
//! thing is and whether it is well formed. One JSON form serves files, the API, the log and views.
//!
//! Start reading at [`Kind`] (what exists), [`DocumentKey`] (how it is named) and [`Document`]
//! (what it holds); [`Code`] lists every error of the product.
//!
//! INVARIANT: a value of a type of this crate that came out of `parse` obeys [`limits`]; a value
//! that came out of `decode` (the tolerant reader of stored bytes) has the right shape, no more.
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

pub mod canonical;
mod codes;
mod contract;
pub mod digest;
pub mod documents;
mod expr;
pub mod json;
mod key;
pub mod limits;
pub mod merge;
mod names;
mod parse;
pub mod pointer;
mod serve;
pub mod text;
mod time;
mod verified;
mod violation;
pub mod yaml;

pub use codes::Code;
pub use contract::{AgentContract, Contract};
pub use digest::Digest;
pub use documents::{DecodeError, Document};
pub use expr::{
    AttributePath, Clause, Expr, Network, NetworkError, Operand, Operator, Pattern, PatternError,
    ReportedVersion,
};
pub use key::{DocumentKey, Kind, Selector};
pub use names::{
    ArtifactKind, ArtifactName, ArtifactVersion, ConfigName, EnvironmentName, FlagKey, GroupName,
    Label, NameError, Namespace, PrincipalId, ScheduleName, SegmentName, TenantId, TokenId,
    VariantName,
};
pub use parse::parse_strict;
pub use pointer::Pointer;
pub use serve::{Course, Ramp, Range, SLOTS, Serve, Share, Shares, Split};
pub use time::{Timestamp, TimestampError};
pub use verified::Verified;
pub use violation::{Unadvised, Violation, Violations};
