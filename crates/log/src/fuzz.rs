//! What fuzz targets try, and nobody else: no part of the interface.

use crate::Entry;
use crate::sqlite::journal;

/// Reads what a row of the journal holds after its checksum, and writes it again.
///
/// # Errors
/// What is wrong with it.
pub fn journal_row(held: &[u8]) -> Result<(Vec<Entry>, Vec<u8>), String> {
    let run = journal::decode(&journal::sealed(held))?;
    let written = journal::encode(&run).split_off(journal::HEAD_BYTES);
    Ok((run, written))
}
