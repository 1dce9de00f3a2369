//! Which threads a node runs what on: what others wait for never queues behind what takes long.
//!
//! On a few busy cores a task that is ready waits for all that were ready before it. So the writer, and whoever tells
//! readers what it wrote, have threads where nothing else runs; decisions, views and the handling of writes have
//! others, which the system lets run after everybody else's.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// How many threads there are for what is urgent: the writer, and one that tells what it wrote.
const URGENT_THREADS: usize = 2;

/// The threads of a node.
#[derive(Debug)]
pub(crate) struct Threads {
    urgent: Handle,
    work: Handle,
    /// Those that the node made for itself; they end with it.
    own: Vec<Runtime>,
}

impl Threads {
    /// Runs everything on the runtime that is here.
    pub(crate) fn here() -> Self {
        let here = Handle::current();
        Self {
            urgent: here.clone(),
            work: here,
            own: Vec::new(),
        }
    }

    /// Starts threads of its own.
    pub(crate) fn apart() -> io::Result<Self> {
        let urgent = Builder::new_multi_thread()
            .worker_threads(URGENT_THREADS)
            .thread_name("node-urgent")
            .enable_time()
            .build()?;
        let work = Builder::new_multi_thread()
            .thread_name("node-work")
            .on_thread_start(step_back)
            .enable_time()
            .build()?;
        Ok(Self {
            urgent: urgent.handle().clone(),
            work: work.handle().clone(),
            own: vec![urgent, work],
        })
    }

    /// Where the writer runs, and who tells what it wrote. Nothing that takes long may run there.
    pub(crate) fn urgent(&self) -> &Handle {
        &self.urgent
    }

    /// Where that runs which takes long.
    pub(crate) fn work(&self) -> &Handle {
        &self.work
    }

    /// Whether work has threads of its own.
    pub(crate) fn are_apart(&self) -> bool {
        !self.own.is_empty()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last to let go of a node may be a task, which must not wait for threads to end.
        for runtime in self.own.drain(..) {
            runtime.shutdown_background();
        }
    }
}

/// Has the system prefer all other threads to this one.
#[cfg(target_os = "linux")]
fn step_back() {
    /// A tenth of the weight of a thread that has not stepped back, where both want to run.
    const NICE: i32 = 10;
    // Linux knows a priority of each thread; where it may not be changed, all are alike.
    _ = rustix::process::setpriority_process(None, NICE);
}

/// Other systems know priorities of whole processes only, or others than these.
#[cfg(not(target_os = "linux"))]
fn step_back() {}
