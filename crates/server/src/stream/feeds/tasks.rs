//! The two tasks behind the feeds: one hands out commits, one prepares what views hold.

use std::sync::Arc;

use plane_node::{Event, Node};
use plane_state::delivery::Projection;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Feeds;
use crate::Shutdown;

/// How many commits are handed out at once.
const COMMITS_MAX: usize = 256;

/// Ends the feeds however the task that fills them ends.
struct Filling {
    feeds: Arc<Feeds>,
    reason: &'static str,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.feeds.end(self.reason);
    }
}

/// Hands out commits until the server or the node stops.
pub(in super::super) async fn fill(
    feeds: Arc<Feeds>,
    mut events: broadcast::Receiver<Arc<Event>>,
    node: Node,
    shutdown: Shutdown,
) {
    let mut filling = Filling {
        feeds,
        reason: "the node has stopped",
    };
    let feeds = filling.feeds.clone();
    let mut commits = Vec::new();
    let stopping = std::pin::pin!(shutdown.begun());
    let mut stopping = stopping;
    loop {
        let received = tokio::select! {
            biased;
            () = &mut stopping => {
                filling.reason = "the server is shutting down";
                return;
            }
            received = events.recv() => received,
        };
        let mut is_whole = true;
        match received {
            Ok(event) => commits.push(event),
            Err(RecvError::Lagged(_)) => is_whole = false,
            Err(RecvError::Closed) => return,
        }
        while is_whole && commits.len() < COMMITS_MAX {
            match events.try_recv() {
                Ok(event) => commits.push(event),
                Err(TryRecvError::Lagged(_)) => is_whole = false,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        // A commit may have been published between the subscription and the first look at the head.
        let handed_out = feeds.handed_out();
        commits.retain(|event| event.revision > handed_out);
        feeds.hand_out(&commits);
        commits.clear();
        if !is_whole {
            // Followed anew before the head is read, so that nothing falls between.
            events = node.events();
            let head = node.snapshot().state().head();
            feeds.skip_to((head.revision, head.hash));
        }
    }
}

/// Prepares what the views of feeds hold, one after the other, until the server stops.
pub(in super::super) async fn prepare(feeds: Arc<Feeds>, node: Node, shutdown: Shutdown) {
    let mut stopping = std::pin::pin!(shutdown.begun());
    loop {
        let Some(next) = feeds.next_unprepared() else {
            tokio::select! {
                biased;
                () = &mut stopping => return,
                () = feeds.unprepared.notified() => continue,
            }
        };
        // Read after it was put in line: whatever comes later, the feed has seen.
        let snapshot = node.snapshot();
        let (scope, environment) = (next.scope.clone(), next.audience.environment().clone());
        let project = move || {
            let projection = Projection::of(snapshot.state(), &scope, &environment);
            // Computed here rather than by who hands out commits.
            projection.root();
            (projection, snapshot.revision())
        };
        match tokio::task::spawn_blocking(project).await {
            Ok((projection, revision)) => feeds.prepared(&next, &projection, revision),
            Err(error) => tracing::error!(%error, "a view cannot be prepared for its stream"),
        }
    }
}
