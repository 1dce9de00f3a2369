//! The running state of an installation: one writer, the state in memory, views, and what follows them.
//!
//! It must never decide what is valid (plane-state does) or how anything is stored (plane-log does);
//! it must never let anything at request rate into the log.
//!
//! Start reading at [`Node`], then `writer.rs` (how commits are queued and made durable), `run.rs` (how they are grouped),
//! `threads.rs` (what runs where), `load.rs` (how a node starts) and `past.rs` (how it answers about yesterday).
//!
//! INVARIANT: a snapshot is published only after the log has returned the commit as durable; what a
//! reader sees is never taken back.

mod checkpoints;
mod clock;
mod convert;
mod deciding;
mod error;
mod events;
mod history;
mod load;
mod node;
mod observe;
mod parallel;
mod past;
mod pointers;
mod preview;
mod requests;
mod run;
mod schedules;
mod sealing;
mod snapshot;
mod tasks;
mod threads;
mod verify;
mod writer;

pub use clock::{Clock, SystemClock};
pub use error::{AtError, CommitError, StartError};
pub use events::{Event, Telling};
pub use history::{CommitDetail, DocumentChange, HistoryQuery};
pub use node::{Node, Options};
pub use observe::Tally;
pub use past::At;
pub use preview::Preview;
pub use requests::{Committed, RevertOutcome, RevertRequest, Status, TreeOutcome, TreeRequest};
pub use schedules::ScheduleCounts;
pub use sealing::Sealing;
pub use snapshot::Snapshot;
pub use verify::{Verification, verify};
