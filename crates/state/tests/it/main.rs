//! The state through its public face: commands in, records and states out.

mod attributes;
mod commits;
mod configuration;
mod delivery;
mod flags;
mod groups;
mod hostile;
mod laws;
mod limits;
mod publishing;
mod schedules;
mod stale;
mod trees;
mod uses;
mod world;
