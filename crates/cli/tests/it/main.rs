//! Runs the real binary, as people and pipelines do: a server on a data directory, and commands.

mod bursts;
mod damage;
mod disk;
mod example;
mod faulty;
mod herd;
mod http;
mod import;
mod memory;
mod newcomer;
mod platform;
mod posting;
mod schedules;
mod sdk;
mod secrecy;
mod server_keys;
mod serving;
mod signing;
mod stopping;
mod story;
mod support;
mod tampering;
mod tenants;
mod torn;
mod trees;
mod uses;
