//! Commits, the log, reverts and trees.

use plane_api::{
    CommitRecord, CommitReply, CommitRequest, List, RecordReply, RevertReply, RevertRequest,
    TreeDocument, TreeReply, TreeRequest, TreesReply,
};
use ureq::http::Method;

use crate::documents::Write;
use crate::error::Error;
use crate::path::{path, query};
use crate::transport::{Client, Extra};

/// Which commits to list; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// From this revision or time on.
    pub since: Option<String>,
    /// Up to this revision or time.
    pub until: Option<String>,
    /// By this principal.
    pub actor: Option<String>,
    /// That changed documents of this tenant.
    pub tenant: Option<String>,
    /// That changed documents of this kind.
    pub kind: Option<String>,
    /// That changed documents of this scope.
    pub scope: Option<String>,
    /// That changed documents of this name.
    pub name: Option<String>,
}

/// How far applying a tree goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeOptions {
    /// Delete what an earlier tree put and this one no longer has.
    pub prune: bool,
    /// Overwrite what people changed since the tree was last applied.
    pub take_over: bool,
}

impl Client {
    /// Commits changes to documents of any kinds, all or none.
    ///
    /// # Errors
    /// [`Error::Problem`] with everything that is wrong with them.
    pub fn commit(&self, request: &CommitRequest, dry_run: bool) -> Result<CommitReply, Error> {
        let write = Write {
            reason: None,
            dry_run,
            ..Write::default()
        };
        let extra = Extra::json(request)?.once();
        self.call(
            &Method::POST,
            &format!("{}{}", path(&["commits"]), write.query()),
            &extra,
        )
    }

    /// Lists at most `limit` commits, the newest first.
    ///
    /// # Errors
    /// As every call.
    pub fn commits(
        &self,
        filter: &HistoryFilter,
        limit: usize,
    ) -> Result<Vec<CommitRecord>, Error> {
        let mut commits: Vec<CommitRecord> = Vec::new();
        let mut cursor: Option<String> = None;
        while commits.len() < limit {
            let page_limit = (limit - commits.len()).min(1_000).to_string();
            let entries = [
                ("since", filter.since.as_deref()),
                ("until", filter.until.as_deref()),
                ("actor", filter.actor.as_deref()),
                ("tenant", filter.tenant.as_deref()),
                ("kind", filter.kind.as_deref()),
                ("scope", filter.scope.as_deref()),
                ("name", filter.name.as_deref()),
                ("limit", Some(page_limit.as_str())),
                ("cursor", cursor.as_deref()),
            ];
            let page: List<CommitRecord> =
                self.get(&format!("{}{}", path(&["commits"]), query(&entries)))?;
            commits.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        commits.truncate(limit);
        Ok(commits)
    }

    /// Reads one commit and what it changed.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if the log does not have it.
    pub fn commit_record(&self, revision: u64) -> Result<RecordReply, Error> {
        self.get(&path(&["commits", &revision.to_string()]))
    }

    /// Takes commits back by a new one.
    ///
    /// # Errors
    /// [`Error::Problem`]: what they changed cannot be put back.
    pub fn revert(&self, request: &RevertRequest, dry_run: bool) -> Result<RevertReply, Error> {
        let write = Write {
            reason: None,
            dry_run,
            ..Write::default()
        };
        let extra = Extra::json(request)?.once();
        self.call(
            &Method::POST,
            &format!("{}{}", path(&["reverts"]), write.query()),
            &extra,
        )
    }

    /// Makes the documents be what a tree says.
    ///
    /// # Errors
    /// [`Error::Problem`]; the pointers of its findings begin with `/documents/INDEX`.
    pub fn apply_tree(
        &self,
        documents: Vec<TreeDocument>,
        options: TreeOptions,
        write: &Write,
    ) -> Result<TreeReply, Error> {
        let request = TreeRequest {
            documents,
            prune: options.prune,
            take_over: options.take_over,
            reason: write.reason.clone(),
        };
        let extra = Extra::json(&request)?.once();
        self.call(
            &Method::POST,
            &format!("{}{}", path(&["trees"]), write.query()),
            &extra,
        )
    }

    /// Reads everything that a tree can hold.
    ///
    /// # Errors
    /// As every call.
    pub fn export_tree(&self, at: Option<&str>) -> Result<TreesReply, Error> {
        self.get(&format!("{}{}", path(&["trees"]), query(&[("at", at)])))
    }
}
