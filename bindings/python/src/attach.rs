//! Threads of the SDK that call Python: never once the interpreter is about to end.
//!
//! A thread that asks for an interpreter which is on its way out is ended in the middle of what it does, and the
//! process with it. So the end waits for those who are inside, and nobody goes in after it has begun.
//!
//! INVARIANT: no lock, or a forked process could inherit it locked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

/// How many threads are inside.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Whether nobody goes in any more.
static IS_OVER: AtomicBool = AtomicBool::new(false);
/// How often the end looks whether all are out, and how many times at most: five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(1);
const LOOKS_MAX: u32 = 5_000;

/// Runs `work` in the interpreter, unless that is about to end: then there is nobody to call.
pub(crate) fn attached(work: impl FnOnce(Python<'_>)) {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let _inside = Inside;
    if !IS_OVER.load(Ordering::SeqCst) {
        Python::try_attach(work);
    }
}

struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets nobody in any more, and waits for those who are inside.
#[pyfunction]
pub(crate) fn leave(py: Python<'_>) {
    IS_OVER.store(true, Ordering::SeqCst);
    py.detach(|| {
        for _ in 0..LOOKS_MAX {
            if INSIDE.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    });
}

/// Begins anew in a forked process, which has none of its parent's threads.
#[pyfunction]
pub(crate) fn forked() {
    INSIDE.store(0, Ordering::SeqCst);
    IS_OVER.store(false, Ordering::SeqCst);
}
