//! How often flags are evaluated: by flag, variant and reason, counted where that costs nearly nothing.
//!
//! Each thread counts in a table of its own, which nobody else writes; one thread adds the tables
//! up now and then and tells a server. What would make a caller wait is not counted, and that is.
//!
//! INVARIANT: an entry holds the names that it is found by, so that their addresses name nothing else
//! for as long as it is there.

mod send;
mod table;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

use plane_eval::Reason;
use plane_model::{FlagKey, VariantName};

pub(crate) use self::send::UsageReporter;
use self::table::{Added, Table};

/// In how many environments, and changes of what is served, a thread counts at once.
const TABLES_MAX: usize = 8;
/// How many flags that do not exist are counted by name between two reports, and how long their names may be.
const UNKNOWN_MAX: usize = 256;
const UNKNOWN_BYTES_MAX: usize = 128;

/// Tells tables apart: each name is given once in a process.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static MINE: RefCell<Vec<(u64, Arc<Table>)>> = const { RefCell::new(Vec::new()) };
}

/// Where the threads of one environment find their tables.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// What the tables are called that are counted in now; 0 while nothing is counted.
    name: AtomicU64,
}

/// The tables of one process, for the thread that adds them up.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    tables: Vec<Followed>,
    /// Evaluations of flags that do not exist.
    unknown: BTreeMap<Box<str>, u64>,
}

/// A table, and what of it was added up already.
#[derive(Debug)]
struct Followed {
    table: Arc<Table>,
    seen: Vec<u32>,
}

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) flag: Box<str>,
    /// Empty where the caller's default holds.
    pub(crate) variant: Box<str>,
    pub(crate) reason: &'static str,
}

/// An evaluation was not counted: that would have made its caller wait, or there are too many different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped;

impl Usage {
    /// Makes all threads begin new tables: what the old ones hold is let go once it was added up.
    pub(crate) fn renew(&self) {
        let name = NEXT.fetch_add(1, Ordering::Relaxed);
        self.name.store(name, Ordering::Relaxed);
    }

    /// Says whether anything is counted.
    pub(crate) fn is_counting(&self) -> bool {
        self.name.load(Ordering::Relaxed) != 0
    }

    /// Counts an evaluation.
    #[inline]
    pub(crate) fn count(
        &self,
        flag: &FlagKey,
        variant: Option<&VariantName>,
        reason: Reason,
        counted: impl FnOnce() -> Arc<Counted>,
    ) -> Result<(), Dropped> {
        let name = self.name.load(Ordering::Relaxed);
        if name == 0 {
            return Ok(());
        }
        let is_counted = MINE.try_with(|mine| {
            let mine = mine.borrow();
            let table = mine.iter().find(|(it, _)| *it == name);
            table.is_some_and(|(_, table)| table.add(flag, variant, reason))
        });
        match is_counted {
            Ok(true) => Ok(()),
            // The thread is ending.
            Err(_) => Err(Dropped),
            Ok(false) => enter(name, flag, variant, reason, &counted()),
        }
    }
}

/// Counts something for the first time in a table.
#[cold]
fn enter(
    name: u64,
    flag: &FlagKey,
    variant: Option<&VariantName>,
    reason: Reason,
    counted: &Counted,
) -> Result<(), Dropped> {
    let entered = MINE.try_with(|mine| {
        let mut mine = mine.borrow_mut();
        let known = mine.iter().position(|(it, _)| *it == name);
        let known = known.and_then(|at| Some((at, mine.get(at)?.1.clone())));
        let (at, table) = if let Some(known) = known {
            known
        } else {
            let table = counted.follow(Table::first())?;
            // Those of before are older: nobody counts in them any more, or not often.
            mine.insert(0, (name, table.clone()));
            mine.truncate(TABLES_MAX);
            (0, table)
        };
        match table.enter(flag, variant, reason) {
            Added::Counted => Ok(()),
            Added::Not => Err(Dropped),
            Added::Full(larger) => {
                let larger = counted.follow(larger)?;
                let added = larger.enter(flag, variant, reason);
                if let Some(place) = mine.get_mut(at) {
                    place.1 = larger;
                }
                match added {
                    Added::Counted => Ok(()),
                    Added::Not | Added::Full(_) => Err(Dropped),
                }
            }
        }
    });
    entered.unwrap_or(Err(Dropped))
}

impl Counted {
    /// Follows a new table, unless that would have to wait.
    fn follow(&self, table: Table) -> Result<Arc<Table>, Dropped> {
        let table = Arc::new(table);
        let mut tables = self.0.try_lock().map_err(|_| Dropped)?;
        tables.tables.push(Followed {
            table: table.clone(),
            seen: Vec::new(),
        });
        Ok(table)
    }

    /// Counts an evaluation of a flag that does not exist.
    #[cold]
    pub(crate) fn count_unknown(&self, flag: &str) -> Result<(), Dropped> {
        let mut tables = match self.0.try_lock() {
            Ok(tables) => tables,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(Dropped),
        };
        let unknown = &mut tables.unknown;
        if let Some(count) = unknown.get_mut(flag) {
            *count += 1;
            return Ok(());
        }
        if unknown.len() >= UNKNOWN_MAX || flag.len() > UNKNOWN_BYTES_MAX {
            return Err(Dropped);
        }
        unknown.insert(flag.into(), 1);
        Ok(())
    }

    /// Gives what was counted since it was asked last.
    pub(crate) fn take(&self, mut give: impl FnMut(Subject, u64)) {
        let mut tables = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        tables.tables.retain_mut(|followed| {
            // Looked at before: whoever has let go of it by now counts in it no more.
            let is_over = Arc::strong_count(&followed.table) == 1;
            followed.table.take(&mut followed.seen, &mut give);
            !is_over
        });
        for (flag, count) in std::mem::take(&mut tables.unknown) {
            let subject = Subject {
                flag,
                variant: Box::default(),
                reason: Reason::Error.as_str(),
            };
            give(subject, count);
        }
    }
}
