//! Resolve, evaluate, effective configuration, views.

use plane_api::{
    AckReply, AckRequest, EffectiveReply, EvaluateReply, EvaluateRequest, ExplainReply,
    FlagUsageReply, ReadyReply, RevisionStatusReply, StaleFlag, UsageReply, UsageRequest,
    UsesReply, ViewReply,
};
use plane_eval::ResolvedBody;
use plane_model::{ArtifactName, ConfigName, EnvironmentName, FlagKey, Kind};
use serde_json::{Map, Value};
use ureq::http::Method;

use crate::error::Error;
use crate::path::{path, query};
use crate::transport::{Client, Extra};

/// For whom and when a config document is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigContext {
    /// The tenant that asks.
    pub tenant: Option<String>,
    /// The user that asks.
    pub user: Option<String>,
    /// The service that asks.
    pub service: Option<String>,
    /// The region that asks, where the tenant has none.
    pub region: Option<String>,
    /// A revision or a time of the past.
    pub at: Option<String>,
}

impl ConfigContext {
    fn query(&self, dotted: Option<&str>) -> String {
        query(&[
            ("path", dotted),
            ("tenant", self.tenant.as_deref()),
            ("user", self.user.as_deref()),
            ("service", self.service.as_deref()),
            ("region", self.region.as_deref()),
            ("at", self.at.as_deref()),
        ])
    }
}

impl Client {
    /// Says which version of an agent holds for a context, with which tools and parameters.
    ///
    /// # Errors
    /// [`Error::Problem`]: the agent cannot be given, and what to do about it.
    pub fn resolve(
        &self,
        environment: &EnvironmentName,
        agent: &ArtifactName,
        context: &Map<String, Value>,
        at: Option<&str>,
    ) -> Result<ResolvedBody, Error> {
        let segments = [
            "environments",
            environment.as_str(),
            "agents",
            agent.as_str(),
            "resolve",
        ];
        let target = format!("{}{}", path(&segments), query(&[("at", at)]));
        self.call(&Method::POST, &target, &Extra::json(context)?)
    }

    /// Says what flags are for a context.
    ///
    /// # Errors
    /// As every call; a flag that fails says so in its own result.
    pub fn evaluate(
        &self,
        environment: &EnvironmentName,
        request: &EvaluateRequest,
        at: Option<&str>,
    ) -> Result<EvaluateReply, Error> {
        let target = path(&["environments", environment.as_str(), "evaluate"]);
        let target = format!("{target}{}", query(&[("at", at)]));
        self.call(&Method::POST, &target, &Extra::json(request)?)
    }

    /// Reads a config document with all its layers merged.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is no such document.
    pub fn effective_config(
        &self,
        environment: &EnvironmentName,
        document: &ConfigName,
        context: &ConfigContext,
    ) -> Result<EffectiveReply, Error> {
        let segments = [
            "environments",
            environment.as_str(),
            "config",
            document.as_str(),
            "effective",
        ];
        self.get(&format!("{}{}", path(&segments), context.query(None)))
    }

    /// Says where a value of a config document comes from; `dotted` is its path, such as `pool.size`.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is no such value.
    pub fn explain_config(
        &self,
        environment: &EnvironmentName,
        document: &ConfigName,
        dotted: &str,
        context: &ConfigContext,
    ) -> Result<ExplainReply, Error> {
        let segments = [
            "environments",
            environment.as_str(),
            "config",
            document.as_str(),
            "explain",
        ];
        self.get(&format!(
            "{}{}",
            path(&segments),
            context.query(Some(dotted))
        ))
    }

    /// Reads everything of an environment that the token covers.
    ///
    /// # Errors
    /// As every call.
    pub fn view(&self, environment: &EnvironmentName) -> Result<ViewReply, Error> {
        self.get(&path(&["environments", environment.as_str(), "view"]))
    }

    /// Tells the server which revision an instance of a service holds.
    ///
    /// # Errors
    /// As every call.
    pub fn acknowledge(
        &self,
        environment: &EnvironmentName,
        request: &AckRequest,
    ) -> Result<AckReply, Error> {
        let target = path(&["environments", environment.as_str(), "acks"]);
        self.call(&Method::POST, &target, &Extra::json(request)?)
    }

    /// Tells the server how often an instance of a service has evaluated flags.
    ///
    /// # Errors
    /// As every call.
    pub fn report_usage(
        &self,
        environment: &EnvironmentName,
        request: &UsageRequest,
    ) -> Result<UsageReply, Error> {
        let target = path(&["environments", environment.as_str(), "usage"]);
        self.call(&Method::POST, &target, &Extra::json(request)?)
    }

    /// Says which services and versions evaluate a flag, in one environment or in all.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is no such flag and nobody asks for one.
    pub fn flag_usage(
        &self,
        flag: &FlagKey,
        environment: Option<&EnvironmentName>,
    ) -> Result<FlagUsageReply, Error> {
        let target = path(&["flags", flag.as_str(), "usage"]);
        let query = query(&[("environment", environment.map(EnvironmentName::as_str))]);
        self.get(&format!("{target}{query}"))
    }

    /// Lists the flags of an environment that should be gone, or are gone and still asked for.
    ///
    /// # Errors
    /// As every call.
    pub fn stale_flags(
        &self,
        environment: &EnvironmentName,
        days: Option<u32>,
    ) -> Result<Vec<StaleFlag>, Error> {
        let days = days.map(|days| days.to_string());
        let target = path(&["environments", environment.as_str(), "stale-flags"]);
        self.all(&target, &[("days", days.as_deref())])
    }

    /// Says which documents refer to one of a kind, of those that hold in an environment.
    ///
    /// The name of an agent or a tool may end in `@VERSION`.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is no such document.
    pub fn uses(
        &self,
        environment: &EnvironmentName,
        kind: Kind,
        name: &str,
        at: Option<&str>,
    ) -> Result<UsesReply, Error> {
        let environment = environment.as_str();
        let target = path(&["environments", environment, "uses", kind.as_str(), name]);
        self.get(&format!("{target}{}", query(&[("at", at)])))
    }

    /// Says how far a revision has come, in one environment or in all.
    ///
    /// # Errors
    /// [`Error::Problem`] with status 404 if there is no such revision.
    pub fn revision_status(
        &self,
        revision: u64,
        environment: Option<&EnvironmentName>,
    ) -> Result<RevisionStatusReply, Error> {
        let target = path(&["revisions", &revision.to_string(), "status"]);
        let query = query(&[("environment", environment.map(EnvironmentName::as_str))]);
        self.get(&format!("{target}{query}"))
    }

    /// Says whether the server serves what its log says.
    ///
    /// # Errors
    /// As every call.
    pub fn readiness(&self) -> Result<ReadyReply, Error> {
        self.get("/readyz")
    }
}
