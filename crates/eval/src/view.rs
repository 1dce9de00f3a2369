//! What one environment gets of the state: everything that evaluating in it needs.

mod keep;
mod update;

use std::fmt;
use std::sync::Arc;

use plane_model::documents::Bucketing;
use plane_model::{
    ArtifactName, ConfigName, Document, DocumentKey, EnvironmentName, FlagKey, Kind, SegmentName,
    TenantId, Timestamp,
};

use crate::clause::Members;
use crate::config::{self, ConfigExplanation, Configs, EffectiveConfig};
use crate::context::Context;
use crate::evaluation::{Decision, ErrorCode, Evaluation};
use crate::explain::{self, Explanation};
use crate::flag::{Chunk, Question};
use crate::groups::Groups;
use crate::pages::Pages;
use crate::resolve::{self, Manifests, Registry, ResolveError, Resolved};
use crate::segments::Segments;
use crate::source::{Change, Source};
use crate::table::{FlagTable, Slot};
use crate::tenant::TenantFacts;

pub use keep::Keep;

/// Names a flag in a view and in all views that it was updated to; lookups by it skip the key.
///
/// A handle outlives its flag: evaluating it then gives [`ErrorCode::FlagNotFound`], and the flag
/// again if it comes back. In a view of another lineage (built anew) it names another flag or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlagHandle(pub(crate) u32);

/// What the views of several environments of an installation share.
///
/// A tenant's document holds in all of them, and they read a manifest once, now and whenever they are updated.
#[derive(Debug, Clone, Default)]
pub struct Common {
    tenants: Pages<Arc<TenantFacts>>,
    manifests: Manifests,
}

impl Common {
    /// Takes what is shared out of documents; all others are passed over.
    pub fn of<'a>(
        documents: impl IntoIterator<Item = (&'a DocumentKey, &'a Arc<Document>)>,
    ) -> Self {
        let tenants = documents
            .into_iter()
            .filter(|(key, _)| key.kind() == Kind::Tenant);
        let facts = |(key, document): (&DocumentKey, &Arc<Document>)| {
            let mut facts = TenantFacts::new(TenantId::new(key.name()).ok()?);
            facts.set_document(Some(Arc::clone(document)));
            Some(Arc::new(facts))
        };
        Self {
            tenants: tenants.filter_map(facts).collect(),
            manifests: Manifests::default(),
        }
    }
}

/// What one environment gets of the state at one revision: an immutable value.
///
/// Cloning and updating share what did not change, so that an update costs in proportion to the
/// change. Evaluating takes no locks and does not allocate.
///
/// INVARIANT: a view is a function of its documents: `build(all)` and `build(some)` updated with the
/// rest give equal results everywhere.
#[derive(Clone)]
pub struct View {
    environment: EnvironmentName,
    revision: u64,
    bucketing: Bucketing,
    flags: FlagTable,
    tenants: Pages<Arc<TenantFacts>>,
    segments: Segments,
    groups: Groups,
    /// The flags whose rules name a segment, by their places.
    segment_users: imbl::OrdMap<SegmentName, imbl::OrdSet<u32>>,
    configs: Configs,
    registry: Registry,
}

impl View {
    /// Builds the view of an environment from documents and the revisions of their last changes.
    ///
    /// Documents that say nothing about this environment are passed over. `source` is asked for the
    /// bytes of what a channel, a pin or a kill can give, and not kept.
    pub fn build<'a>(
        environment: EnvironmentName,
        revision: u64,
        documents: impl IntoIterator<Item = (&'a DocumentKey, u64, &'a Arc<Document>)>,
        source: &dyn Source,
    ) -> Self {
        Self::build_with(Common::default(), environment, revision, documents, source)
    }

    /// Builds a view as [`build`](Self::build) does, of documents of which `common` has the tenants.
    pub fn build_with<'a>(
        common: Common,
        environment: EnvironmentName,
        revision: u64,
        documents: impl IntoIterator<Item = (&'a DocumentKey, u64, &'a Arc<Document>)>,
        source: &dyn Source,
    ) -> Self {
        let empty = Self {
            environment,
            revision,
            bucketing: Bucketing::default(),
            flags: FlagTable::default(),
            tenants: common.tenants,
            segments: Segments::default(),
            groups: Groups::default(),
            segment_users: imbl::OrdMap::default(),
            configs: Configs::default(),
            registry: Registry::sharing(common.manifests),
        };
        let mut draft = update::Draft::new(empty);
        for (key, revision, document) in documents {
            draft.change(key, revision, Some(document));
        }
        draft.finish(revision, source)
    }

    /// Returns the view after `changes`; costs in proportion to what they touch.
    ///
    /// A change that repeats what a document holds makes what depends on it be read anew: so a
    /// holder that has fetched missing bytes repeats the agent or tool that they belong to.
    #[must_use]
    pub fn update(&self, revision: u64, changes: &[Change], source: &dyn Source) -> Self {
        let mut draft = update::Draft::new(self.clone());
        for change in changes {
            draft.change(&change.key, change.revision, change.document.as_ref());
        }
        draft.finish(revision, source)
    }

    /// The environment.
    pub fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    /// The revision of the state that the view is of.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How units are hashed to slots here.
    pub fn bucketing(&self) -> Bucketing {
        self.bucketing
    }

    /// Finds a flag that exists and is not archived.
    #[inline]
    pub fn flag(&self, key: &str) -> Option<FlagHandle> {
        let (place, slot) = self.flags.find(key)?;
        slot.chunk.exists().then_some(FlagHandle(place))
    }

    /// All flags that exist and are not archived, in no order that means anything.
    pub fn flags(&self) -> impl Iterator<Item = (FlagHandle, &FlagKey)> {
        let slots = (0..).zip(self.flags.slots());
        slots
            .filter(|(_, slot)| slot.chunk.exists())
            .map(|(place, slot)| (FlagHandle(place), slot.chunk.key()))
    }

    /// Evaluates a flag. Does not allocate.
    #[inline]
    pub fn evaluate<'a>(
        &'a self,
        flag: FlagHandle,
        ctx: &'a Context,
        now: Timestamp,
    ) -> Evaluation<'a> {
        let slot = self.flags.slot(flag.0).map(|slot| (flag.0, slot));
        self.evaluate_slot(slot, ctx, now)
    }

    /// Evaluates a flag by its key. Does not allocate.
    #[inline]
    pub fn evaluate_key<'a>(
        &'a self,
        key: &str,
        ctx: &'a Context,
        now: Timestamp,
    ) -> Evaluation<'a> {
        self.evaluate_slot(self.flags.find(key), ctx, now)
    }

    /// Evaluates all flags that exist and are not archived; looks the tenant up once.
    pub fn evaluate_all<'a>(
        &'a self,
        ctx: &'a Context,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a FlagKey, Evaluation<'a>)> {
        let question = self.question(ctx, self.tenant_facts(ctx), now);
        let slots = (0..).zip(self.flags.slots());
        slots
            .filter(|(_, slot)| slot.chunk.exists())
            .map(move |(place, slot)| {
                let chunk = &*slot.chunk;
                let decide = || chunk.decide(place, slot.bound > 0, &question);
                let decision = slot.fixed.unwrap_or_else(decide);
                (
                    chunk.key(),
                    self.evaluation(Some(chunk), ctx, now, decision),
                )
            })
    }

    #[inline]
    fn evaluate_slot<'a>(
        &'a self,
        slot: Option<(u32, &'a Slot)>,
        ctx: &'a Context,
        now: Timestamp,
    ) -> Evaluation<'a> {
        let Some((place, slot)) = slot else {
            return self.evaluation(None, ctx, now, Decision::error(ErrorCode::FlagNotFound));
        };
        let decision = slot
            .fixed
            .unwrap_or_else(|| self.decided(place, slot, ctx, now));
        self.evaluation(Some(&*slot.chunk), ctx, now, decision)
    }

    /// Decides where context or time can change what a flag gives.
    ///
    /// Not inlined, so that the flags for which it is not needed do not pay for its frame.
    #[inline(never)]
    fn decided(&self, place: u32, slot: &Slot, ctx: &Context, now: Timestamp) -> Decision {
        let bound = slot.bound > 0;
        let tenant = if bound || slot.chunk.reads_tenant() {
            self.tenant_facts(ctx)
        } else {
            None
        };
        let question = self.question(ctx, tenant, now);
        slot.chunk.decide(place, bound, &question)
    }

    #[inline]
    fn question<'a>(
        &'a self,
        ctx: &'a Context,
        tenant: Option<&'a TenantFacts>,
        now: Timestamp,
    ) -> Question<'a> {
        Question {
            flags: &self.flags,
            ctx,
            tenant,
            now,
        }
    }

    #[inline]
    fn evaluation<'a>(
        &'a self,
        chunk: Option<&'a Chunk>,
        ctx: &'a Context,
        now: Timestamp,
        decision: Decision,
    ) -> Evaluation<'a> {
        Evaluation {
            view: self,
            ctx,
            now,
            chunk,
            decision,
        }
    }

    /// Evaluates the flag at a place for a tenant that was looked up before.
    pub(crate) fn decide(
        &self,
        place: u32,
        ctx: &Context,
        tenant: Option<&TenantFacts>,
        now: Timestamp,
    ) -> Option<(&Chunk, Decision)> {
        let slot = self.flags.slot(place)?;
        let question = self.question(ctx, tenant, now);
        let decide = || slot.chunk.decide(place, slot.bound > 0, &question);
        Some((&slot.chunk, slot.fixed.unwrap_or_else(decide)))
    }

    /// Evaluates a flag and says how its value came about, step by step.
    pub fn explain(&self, key: &str, ctx: &Context, now: Timestamp) -> Explanation {
        explain::explain(self, key, ctx, now, None)
    }

    /// Explains a flag to a caller who lets at most `percent` of the units have true.
    pub fn explain_within(
        &self,
        key: &str,
        ctx: &Context,
        now: Timestamp,
        percent: f64,
    ) -> Explanation {
        explain::explain(self, key, ctx, now, Some(percent))
    }

    /// Says whether the context names a tenant that is not known here.
    pub fn tenant_unknown(&self, ctx: &Context) -> bool {
        let known = || self.tenant_facts(ctx).and_then(TenantFacts::tenant);
        ctx.tenant().is_some() && known().is_none()
    }

    /// Says whether other implementations of `flagd-v2` may put a unit of the context elsewhere: they do not
    /// agree about text that is not ASCII. Every evaluator of ours hashes the bytes of UTF-8.
    pub fn unit_not_ascii(&self, ctx: &Context) -> bool {
        let units = [
            ctx.targeting_key(),
            ctx.tenant(),
            ctx.user(),
            ctx.agent(),
            ctx.conversation(),
        ];
        self.bucketing == Bucketing::FlagdV2 && units.iter().flatten().any(|it| !it.is_ascii())
    }

    /// The config documents that there is something to say about.
    pub fn configs(&self) -> impl Iterator<Item = &ConfigName> {
        self.configs.keys()
    }

    /// A config document as it is for a context; none if it has neither a schema nor a layer here.
    ///
    /// Contexts to which the same layers apply share one value.
    pub fn config(&self, document: &ConfigName, ctx: &Context) -> Option<EffectiveConfig> {
        let scope = config::scope(self.environment.as_str(), ctx, self.tenant_facts(ctx));
        Some(self.configs.get(document)?.effective(&scope))
    }

    /// Says where the value at a path of a config document comes from.
    pub fn explain_config(
        &self,
        document: &ConfigName,
        path: &[&str],
        ctx: &Context,
    ) -> Option<ConfigExplanation> {
        let scope = config::scope(self.environment.as_str(), ctx, self.tenant_facts(ctx));
        Some(self.configs.get(document)?.explain(path, &scope))
    }

    /// The agents that have a channel here, in no order that means anything.
    pub fn agents(&self) -> impl Iterator<Item = &ArtifactName> {
        self.registry.agents()
    }

    /// Says which agent, with which tools and parameters, a context gets.
    ///
    /// # Errors
    /// [`ResolveError`] says what is wrong and what to do; asking again does not help.
    pub fn resolve(
        &self,
        agent: &ArtifactName,
        ctx: &Context,
        now: Timestamp,
    ) -> Result<Resolved, ResolveError> {
        resolve::resolve(self, agent, ctx, now)
    }

    #[inline]
    pub(crate) fn tenant_facts(&self, ctx: &Context) -> Option<&TenantFacts> {
        self.tenants.get(ctx.tenant()?).map(|facts| &**facts)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn flag_table(&self) -> &FlagTable {
        &self.flags
    }

    pub(crate) fn segment_document(&self, name: &str) -> Option<&Arc<Document>> {
        self.segments.document(name)
    }

    pub(crate) fn tenants(&self) -> &Pages<Arc<TenantFacts>> {
        &self.tenants
    }

    pub(crate) fn config_documents(&self) -> &Configs {
        &self.configs
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn segment(&self, name: &str) -> Option<Members> {
        self.segments.members(name)
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("environment", &self.environment)
            .field("revision", &self.revision)
            .field("flags", &self.flags.count())
            .field("tenants", &self.tenants.len())
            .finish_non_exhaustive()
    }
}
