//! Both backends under the one suite, and what only a file can get wrong.

mod agreement;
mod damage;
mod directory;
mod journal;

use std::sync::Arc;

use plane_log::conformance::{Fixture, ObservationFixture};
use plane_log::observations::{MemoryObservations, SqliteObservations};
use plane_log::{ChangeLog, LogId, MemoryLog, ObservationStore, SqliteLog};
use tempfile::TempDir;

fn log_id() -> LogId {
    LogId::new("01TEST").unwrap()
}

struct InMemory;

impl Fixture for InMemory {
    fn open(&self) -> Arc<dyn ChangeLog> {
        Arc::new(MemoryLog::new(log_id()))
    }
}

impl ObservationFixture for InMemory {
    fn open(&self) -> Arc<dyn ObservationStore> {
        Arc::new(MemoryObservations::new())
    }
}

struct InDirectory(TempDir);

impl InDirectory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Fixture for InDirectory {
    fn open(&self) -> Arc<dyn ChangeLog> {
        Arc::new(SqliteLog::open(self.0.path(), &log_id()).unwrap())
    }
}

impl ObservationFixture for InDirectory {
    fn open(&self) -> Arc<dyn ObservationStore> {
        Arc::new(SqliteObservations::open(self.0.path()).unwrap())
    }
}

mod memory {
    plane_log::change_log_conformance!(super::InMemory);
    plane_log::observation_conformance!(super::InMemory);
}

mod sqlite {
    plane_log::change_log_conformance!(super::InDirectory::new());
    plane_log::durable_conformance!(super::InDirectory::new());
    plane_log::observation_conformance!(super::InDirectory::new());
}
