//! The node's own tasks, tracked so that a shutdown waits for them.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Runs `task` on `threads` until it ends; [`Tasks::join`] waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static, threads: &Handle) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn_on(task, threads);
    }

    /// Waits until all tasks have ended.
    pub(crate) async fn join(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}
