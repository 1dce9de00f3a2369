//! The API over a node in memory: every area of it, as callers see it.

mod access;
mod bodies;
mod delivery;
mod demand;
mod documents;
mod everyone;
mod harness;
mod heads;
mod history;
mod impact;
mod instances;
mod kills;
mod limits;
mod load;
mod ofrep;
mod registry;
mod runtime;
mod schedules;
mod server;
mod stale;
mod tricks;
mod usage;
mod uses;
mod wire;
