//! What callers ask, by what is served.

use std::sync::Arc;

use plane_eval::{Context, Evaluation, Reason, Resolved};
use plane_model::{FlagKey, Timestamp, VariantName};
use serde_json::Value;

use super::Core;
use crate::sdk::answer::{self, Detail, Options};
use crate::sdk::error::Error;
use crate::sdk::held::Held;
use crate::sdk::snapshot::Snapshot;
use crate::sdk::status::Counts;
use crate::sdk::telemetry;
use crate::sdk::usage::Dropped;

impl Core {
    /// Says whether a boolean flag is on, by what is served now.
    #[inline]
    pub(crate) fn is_enabled_now(
        self: &Arc<Self>,
        flag: &str,
        ctx: &Context,
        options: Options,
    ) -> bool {
        let now = self.now();
        match &*self.held(now) {
            Some(held) if held.lacks(ctx, now) => {}
            Some(held) => return self.is_enabled_by(held, flag, ctx, options, now),
            None => {
                Counts::add(&self.counts.not_ready);
                return options.default;
            }
        }
        match self.ready_for(ctx, now) {
            Ok(held) => self.is_enabled_by(&held, flag, ctx, options, now),
            Err(_) => self.not_enabled(options),
        }
    }

    /// The caller's default, because the flag cannot be evaluated.
    fn not_enabled(&self, options: Options) -> bool {
        Counts::add(&self.counts.evaluation_errors);
        options.default
    }

    /// Says whether a boolean flag is on.
    #[inline]
    pub(crate) fn is_enabled(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        options: Options,
        now: Timestamp,
    ) -> bool {
        if held.lacks(ctx, now) {
            return self.not_enabled(options);
        }
        self.is_enabled_by(held, flag, ctx, options, now)
    }

    #[inline]
    fn is_enabled_by(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        options: Options,
        now: Timestamp,
    ) -> bool {
        let evaluation = held.view.evaluate_key(flag, ctx, now);
        self.count(flag, &evaluation);
        telemetry::evaluated(&self.name, held.place.revision, flag, &evaluation);
        answer::is_true(&evaluation, options).unwrap_or_else(|| {
            if evaluation.reason() == Reason::Error || evaluation.value().is_some() {
                Counts::add(&self.counts.evaluation_errors);
            }
            options.default
        })
    }

    /// Counts an evaluation, for those who want to know which flags are in use.
    #[inline]
    fn count(&self, flag: &str, evaluation: &Evaluation<'_>) {
        match evaluation.flag() {
            Some(key) => self.count_known(key, evaluation.variant(), evaluation.reason()),
            None if !self.usage.is_counting() => {}
            None => self.count_dropped(self.process.load().counted.count_unknown(flag)),
        }
    }

    #[inline]
    fn count_known(&self, flag: &FlagKey, variant: Option<&VariantName>, reason: Reason) {
        let counted = || self.process.load().counted.clone();
        self.count_dropped(self.usage.count(flag, variant, reason, counted));
    }

    #[inline]
    fn count_dropped(&self, counted: Result<(), Dropped>) {
        if counted.is_err() {
            Counts::add(&self.counts.usage_dropped);
        }
    }

    /// Says which agent a context gets, by what is held.
    pub(crate) fn resolve(
        &self,
        held: &Held,
        agent: &str,
        ctx: &Context,
        now: Timestamp,
    ) -> Result<Resolved, Error> {
        held.check_tenant(ctx, now)?;
        let resolved = answer::resolve(&held.view, agent, ctx, now)?;
        for flag in resolved.overrides() {
            self.count_known(&flag.flag, flag.variant.as_ref(), flag.reason);
        }
        telemetry::resolved(&self.name, held.place.revision, resolved.overrides());
        Ok(resolved)
    }

    /// Evaluates a flag by what is served now.
    pub(crate) fn detail_now(
        self: &Arc<Self>,
        flag: &str,
        ctx: &Context,
        default: Value,
    ) -> Detail {
        let now = self.now();
        match self.ready_for(ctx, now) {
            Ok(held) => self.detail(&held, flag, ctx, default, now),
            Err(error) => Detail::without_view(default, &error),
        }
    }

    /// Evaluates a flag.
    pub(crate) fn detail(
        &self,
        held: &Held,
        flag: &str,
        ctx: &Context,
        default: Value,
        now: Timestamp,
    ) -> Detail {
        if let Err(error) = held.check_tenant(ctx, now) {
            Counts::add(&self.counts.evaluation_errors);
            return Detail::without_view(default, &error);
        }
        let evaluation = held.view.evaluate_key(flag, ctx, now);
        self.count(flag, &evaluation);
        telemetry::evaluated(&self.name, held.place.revision, flag, &evaluation);
        let detail = answer::detail(&evaluation, flag, default, held.view.revision());
        if detail.error.is_some() {
            Counts::add(&self.counts.evaluation_errors);
        }
        detail
    }

    /// What is served now, to be held on to.
    pub(crate) fn snapshot(self: &Arc<Self>) -> Result<Snapshot, Error> {
        let now = self.now();
        let held = self.ready(now)?;
        Ok(Snapshot {
            core: self.clone(),
            held,
            now,
        })
    }

    /// What is served now with the part of the context's tenant, to be held on to.
    pub(crate) fn snapshot_for(self: &Arc<Self>, ctx: &Context) -> Result<Snapshot, Error> {
        let now = self.now();
        let held = self.ready_for(ctx, now)?;
        Ok(Snapshot {
            core: self.clone(),
            held,
            now,
        })
    }
}
