//! Documents: read, list, put and delete.

use plane_api::{BucketingRequest, CommitReply, ConfigSummary, DocumentReply, List};
use plane_model::{ConfigName, DocumentKey, EnvironmentName, Kind, TenantId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::Method;

use crate::error::Error;
use crate::path::{self, path, query};
use crate::transport::{Client, Extra};

/// Under which condition a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    None,
    /// Only if it was last changed at this revision.
    Revision(u64),
    /// Only if it is not there.
    Absent,
}

/// How something is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// Why.
    pub reason: Option<String>,
    /// Only say what would change.
    pub dry_run: bool,
    /// With a dry run: how many tenants to name for each way in which something would change; 5 if absent.
    pub impact_tenants: Option<usize>,
}

impl Write {
    pub(crate) fn query(&self) -> String {
        let named = self.impact_tenants.map(|named| named.to_string());
        query(&[
            ("dry_run", self.dry_run.then_some("true")),
            ("impact_tenants", named.as_deref()),
        ])
    }
}

impl Condition {
    fn on(self, extra: Extra) -> Extra {
        match self {
            Self::None => extra,
            Self::Revision(revision) => extra.header("if-match", format!("\"{revision}\"")),
            Self::Absent => extra.header("if-none-match", "*".to_owned()),
        }
    }
}

impl Client {
    /// Reads a document, now or `at` a revision or time.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if it is not there.
    pub fn document<T: DeserializeOwned>(
        &self,
        key: &DocumentKey,
        at: Option<&str>,
    ) -> Result<DocumentReply<T>, Error> {
        self.get(&format!("{}{}", path::document(key), query(&[("at", at)])))
    }

    /// Reads a document, if it is there.
    ///
    /// # Errors
    /// As every call, but for a document that is not there.
    pub fn find_document<T: DeserializeOwned>(
        &self,
        key: &DocumentKey,
        at: Option<&str>,
    ) -> Result<Option<DocumentReply<T>>, Error> {
        match self.document(key, at) {
            Ok(found) => Ok(Some(found)),
            Err(Error::Problem(problem)) if problem.code == "NOT_FOUND" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates or replaces a document.
    ///
    /// # Errors
    /// [`Error::Problem`]: the body is refused, or the condition does not hold.
    pub fn put_document<T: Serialize + ?Sized>(
        &self,
        key: &DocumentKey,
        body: &T,
        condition: Condition,
        write: &Write,
    ) -> Result<CommitReply, Error> {
        let extra = condition.on(Extra::json(body)?.once().reason(write.reason.as_deref()));
        self.call(
            &Method::PUT,
            &format!("{}{}", path::document(key), write.query()),
            &extra,
        )
    }

    /// Has units hashed in another way in an environment; the reply says which tenants move.
    ///
    /// # Errors
    /// [`Error::Problem`]: there is no such environment, or the caller may not change it.
    pub fn put_bucketing(
        &self,
        environment: &EnvironmentName,
        request: &BucketingRequest,
        write: &Write,
    ) -> Result<CommitReply, Error> {
        let path = path(&["environments", environment.as_str(), "bucketing"]);
        let extra = Extra::json(request)?.once();
        self.call(&Method::PUT, &format!("{path}{}", write.query()), &extra)
    }

    /// Deletes a document.
    ///
    /// # Errors
    /// [`Error::Problem`]: it is not there, is in use, or the condition does not hold.
    pub fn delete_document(
        &self,
        key: &DocumentKey,
        condition: Condition,
        write: &Write,
    ) -> Result<CommitReply, Error> {
        let extra = condition.on(Extra::default().once().reason(write.reason.as_deref()));
        self.call(
            &Method::DELETE,
            &format!("{}{}", path::document(key), write.query()),
            &extra,
        )
    }

    /// Lists the documents of a kind that has no scope: environments, tenants, segments, flags,
    /// trust, role bindings.
    ///
    /// # Errors
    /// As every call.
    pub fn documents<T: DeserializeOwned>(
        &self,
        kind: Kind,
        at: Option<&str>,
    ) -> Result<Vec<DocumentReply<T>>, Error> {
        let collection = match kind {
            Kind::Environment => "environments",
            Kind::Tenant => "tenants",
            Kind::Segment => "segments",
            Kind::ExclusionGroup => "exclusion-groups",
            Kind::Flag => "flags",
            Kind::Trust => "trust",
            Kind::Token => "tokens",
            Kind::RoleBinding => "role-bindings",
            other => {
                return Err(Error::Settings {
                    detail: format!("documents of kind {other} stand in a scope"),
                });
            }
        };
        self.all(&path(&[collection]), &[("at", at)])
    }

    /// Lists the targeting, the channels, the kills or the schedules of an environment.
    ///
    /// # Errors
    /// As every call.
    pub fn documents_in<T: DeserializeOwned>(
        &self,
        environment: &EnvironmentName,
        kind: Kind,
        at: Option<&str>,
    ) -> Result<Vec<DocumentReply<T>>, Error> {
        let collection = match kind {
            Kind::Targeting => "targeting",
            Kind::Channel => "channels",
            Kind::Kill => "kills",
            Kind::Schedule => "schedules",
            other => {
                return Err(Error::Settings {
                    detail: format!("documents of kind {other} are not listed by environment"),
                });
            }
        };
        self.all(
            &path(&["environments", environment.as_str(), collection]),
            &[("at", at)],
        )
    }

    /// Lists the pins or the kills of a tenant in an environment.
    ///
    /// # Errors
    /// As every call.
    pub fn documents_of<T: DeserializeOwned>(
        &self,
        environment: &EnvironmentName,
        tenant: &TenantId,
        kind: Kind,
        at: Option<&str>,
    ) -> Result<Vec<DocumentReply<T>>, Error> {
        let collection = if kind == Kind::Pin { "pins" } else { "kills" };
        let segments = [
            "environments",
            environment.as_str(),
            "tenants",
            tenant.as_str(),
            collection,
        ];
        self.all(&path(&segments), &[("at", at)])
    }

    /// Lists the config documents.
    ///
    /// # Errors
    /// As every call.
    pub fn config_documents(&self, at: Option<&str>) -> Result<Vec<ConfigSummary>, Error> {
        self.all(&path(&["config"]), &[("at", at)])
    }

    /// Lists the layers of a config document.
    ///
    /// # Errors
    /// As every call.
    pub fn config_layers(
        &self,
        document: &ConfigName,
        at: Option<&str>,
    ) -> Result<Vec<DocumentReply<Value>>, Error> {
        self.all(
            &path(&["config", document.as_str(), "layers"]),
            &[("at", at)],
        )
    }

    /// Reads all pages of a list.
    pub(crate) fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: &[(&str, Option<&str>)],
    ) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut entries = filter.to_vec();
            entries.push(("limit", Some("1000")));
            entries.push(("cursor", cursor.as_deref()));
            let page: List<T> = self.get(&format!("{path}{}", query(&entries)))?;
            items.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }
}
