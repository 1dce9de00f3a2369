//! One thread that owns one connection and works off jobs in order.

use std::any::type_name;
use std::fmt;
use std::thread::JoinHandle;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use crate::OpenError;

/// What a lane's thread owns.
pub(crate) trait Worker: Send + 'static {
    /// Does one small step of upkeep while no job waits, and says whether another step is due.
    fn upkeep(&mut self) -> bool {
        false
    }

    /// Does what is left to do when no more jobs will come.
    fn finish(&mut self) {}

    /// Takes what wakes its lane for upkeep.
    fn woken_by(&mut self, wake: Wake<Self>)
    where
        Self: Sized,
    {
        drop(wake);
    }
}

impl Worker for rusqlite::Connection {}

type Job<W> = Box<dyn FnOnce(&mut W) + Send>;

/// Has a lane look for upkeep, though no job comes; does not keep the lane from ending.
pub(crate) struct Wake<W>(mpsc::WeakSender<Job<W>>);

impl<W> Wake<W> {
    pub(crate) fn wake(&self) {
        if let Some(jobs) = self.0.upgrade() {
            // Where there is no room jobs are waiting, and upkeep comes after each.
            drop(jobs.try_send(Box::new(|_| ())));
        }
    }
}

impl<W> Clone for Wake<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W> fmt::Debug for Wake<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<Self>())
    }
}

/// How many jobs wait in a lane before senders wait themselves.
///
/// A node sends one run at a time, and few requests read the store at all: the bound is there so that a disk that
/// hangs holds back its callers and not memory, and it is large enough that nobody waits to hand over a job.
const JOBS_WAITING_MAX: usize = 64;

/// Runs jobs on a thread of its own, one at a time; dropping it finishes the jobs sent and joins the thread.
pub(crate) struct Lane<W> {
    jobs: Option<mpsc::Sender<Job<W>>>,
    thread: Option<JoinHandle<()>>,
}

/// Says that the lane's thread has ended and the job's outcome is lost.
#[derive(Debug)]
pub(crate) struct Stopped;

impl<W: Worker> Lane<W> {
    /// Starts the thread `name`, which owns `worker`.
    pub(crate) fn start(name: &str, mut worker: W) -> Result<Self, OpenError> {
        let (jobs, queue) = mpsc::channel(JOBS_WAITING_MAX);
        worker.woken_by(Wake(jobs.downgrade()));
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(worker, queue))
            .map_err(|error| OpenError::Io {
                path: name.into(),
                detail: error.to_string(),
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs `job` and waits for what it returns. After a drop of the future the job runs all the same.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut W) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let job: Job<W> = Box::new(move |worker| {
            // Nobody may be waiting any more: the job is done all the same.
            drop(reply.send(job(worker)));
        });
        let jobs = self.jobs.as_ref().ok_or(Stopped)?;
        jobs.send(job).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Has `job` run, if there is room for it, and waits for nothing.
    pub(crate) fn begin(&self, job: impl FnOnce(&mut W) + Send + 'static) -> Result<(), Stopped> {
        let jobs = self.jobs.as_ref().ok_or(Stopped)?;
        jobs.try_send(Box::new(job)).map_err(|_| Stopped)
    }
}

fn work<W: Worker>(mut worker: W, mut queue: mpsc::Receiver<Job<W>>) {
    let mut upkeep_due = true;
    loop {
        let job = if upkeep_due {
            match queue.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => break,
            }
        } else {
            match queue.blocking_recv() {
                Some(job) => Some(job),
                None => break,
            }
        };
        if let Some(job) = job {
            job(&mut worker);
            upkeep_due = true;
        } else {
            upkeep_due = worker.upkeep();
        }
    }
    worker.finish();
}

impl<W> Drop for Lane<W> {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(worker = type_name::<W>(), "a thread of the store panicked");
        }
    }
}

impl<W> fmt::Debug for Lane<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<Self>())
    }
}
