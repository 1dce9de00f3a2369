//! The vectors of `spec/`, and laws that hold for all documents and contexts.

mod bucketing;
mod config;
mod evaluation;
mod flagd;
mod groups;
mod impact;
mod laws;
mod resolution;
mod rollout_cap;
mod support;
