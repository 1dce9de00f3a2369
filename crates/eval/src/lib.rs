//! Evaluates one context against one view: flags, configuration, and which agent a tenant gets.
//!
//! It must never do I/O, read a clock (the time is a parameter), draw randomness, or fail because
//! of what a document says: what is broken is broken for itself alone. Evaluating a flag takes no
//! locks and does not allocate; parsing, compiling and hashing happen when a view is built.
//!
//! Start reading at [`View`] (what there is to evaluate) and [`Context`] (what for), then
//! [`View::evaluate`], [`View::config`] and [`View::resolve`]. The vectors under `spec/` are the
//! contract that other languages share.
//!
//! INVARIANT: a result depends only on the view's documents, the context and the time: not on the
//! order of changes, on earlier evaluations, or on the process.
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

pub mod bucket;
mod clause;
pub mod config;
mod context;
mod evaluation;
mod explain;
mod flag;
mod flagd;
mod groups;
mod hash;
mod impact;
mod pages;
mod resolve;
mod segments;
mod source;
mod table;
mod tenant;
mod view;

pub use clause::{Verdict, unplaced};
pub use config::{ConfigExplanation, ConfigSource, Contribution, EffectiveConfig};
pub use context::{ATTRIBUTE_DEPTH_MAX, Attribute, Context};
pub use evaluation::{ErrorCode, Evaluation, Reason};
pub use explain::{ExplainExpr, ExplainServe, ExplainStep, Explanation, Outcome};
pub use flagd::FlagdExport;
pub use impact::{
    AgentImpact, AgentShift, ConfigImpact, FlagImpact, FlagShift, Given, Impact, Inquiry, Offered,
    UnitImpact, UnitShift, impact,
};
pub use resolve::{
    CallPolicy, ChosenBy, Origin, Override, ResolveError, Resolved, ResolvedBody, ResolvedTool,
    Subject, Warning, WarningCode,
};
pub use source::{Change, Signature, Source};
pub use view::{Common, FlagHandle, Keep, View};
