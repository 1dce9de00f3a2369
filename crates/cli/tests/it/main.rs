//! Runs the real binary, as people and pipelines do: a server on a data directory, and commands.

mod damage;
mod example;
mod platform;
mod serving;
mod signing;
mod story;
mod support;
mod trees;
