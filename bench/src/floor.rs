//! What the disk takes to make a record durable.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// A file to which records are appended.
#[derive(Debug)]
pub struct Appender {
    file: File,
    record: Vec<u8>,
}

impl Appender {
    /// Opens a file in `dir` for records of `bytes` bytes.
    pub fn new(dir: &Path, bytes: usize) -> Result<Self> {
        let file = File::create(dir.join("floor"))?;
        Ok(Self { file, record: vec![b'x'; bytes] })
    }

    /// Appends one record and waits until it is durable.
    pub fn append(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.file.write_all(&self.record)?;
        self.file.sync_data()?;
        Ok(begin.elapsed())
    }
}
