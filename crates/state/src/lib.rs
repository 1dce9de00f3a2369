//! Commits and the state that they fold to: prepare, admit, seal, apply; access and views' sources.
//!
//! It must never do I/O, read a clock or draw randomness: times, ids and salts come in as values.
//! It must never change a record once it is sealed.
//!
//! Start reading at [`State::apply`] (what a record does), then [`prepare`](prepare()) (what may be
//! committed), [`admit`] and [`seal`](seal()) (how it becomes a record), [`reconcile`](mod@reconcile) and
//! [`revert`](mod@revert) (commands that come from trees and from the past) and [`access`] (who may).
//!
//! INVARIANT: `apply` is total and deterministic: the same records give the same state in any
//! process, whatever their bytes.
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

pub mod access;
pub mod checkpoint;
mod command;
mod contract;
pub mod delivery;
mod draft;
mod layers;
mod plan;
mod prepare;
pub mod reconcile;
mod record;
pub mod revert;
pub mod schedule;
mod seal;
mod source;
mod stale;
mod state;
pub mod tree;
mod uses;
mod validate;
pub mod verify;

pub use access::Scope;
pub use command::{Action, Change, Command, Expect, Op};
pub use contract::{Breach, CheckedContract};
pub use draft::ReadSet;
pub use plan::{Difference, Effect, Plan, PlannedChange, differences, plan};
pub use prepare::{Prepared, PreparedOp, Rejection, may_name_blobs, named_blobs, prepare};
pub use record::{BodyRef, OpKind, RECORD_FORMAT, Record, RecordOp, salted_digest};
pub use seal::{Admission, RequestMark, Sealed, SealedBody, admit, seal};
pub use stale::{Seen, StaleFinding, StaleInquiry, StaleRule};
pub use state::{Anomaly, Applied, Bodies, Content, Entry, Head, State};
pub use uses::{Subject, Use, uses};
