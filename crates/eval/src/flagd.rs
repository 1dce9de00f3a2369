//! Flags as flagd evaluates them: what says the same there, and of all else, why it cannot be said.
//!
//! flagd reads its rules from JSON, and its SDKs disagree about what they do with odd values. So every
//! test is guarded by the type that it needs, and nothing is exported that any of them reads another way.
//!
//! INVARIANT: a flag that is exported gives every context in flagd the variant that it gives here.
//! Contexts are written as flagd reads them: `tenant.id` and `user.id` in objects, numbers that
//! identify units below 10^15.

mod chain;
mod clauses;
mod logic;

use std::collections::BTreeMap;

use plane_model::FlagKey;
use plane_model::documents::Bucketing;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::chain::Export;
use crate::context::Context;
use crate::flag::Gate;
use crate::view::View;

/// The bytes that the rules of one flag may take: prerequisites are written into those who need them.
const TARGETING_BYTES_MAX: usize = 256 * 1024;

/// What of a view flagd can evaluate, and what it cannot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlagdExport {
    /// How units are hashed; the evaluators of the fleet must do the same.
    pub bucketing: Bucketing,
    /// The flags as a flagd file has them, by key.
    pub flags: Map<String, Value>,
    /// The flags that are left out, and why.
    pub refused: BTreeMap<FlagKey, String>,
}

/// Something that can be said in flagd, or why it cannot.
type Said<T> = Result<T, String>;

impl View {
    /// Writes the flags as flagd evaluates them: for one tenant, or for all alike.
    ///
    /// What the control plane knows of a tenant is put in for the one that is named; flags that
    /// depend on it are refused for all alike, and so are flags that some tenant has pinned.
    pub fn to_flagd(&self, tenant: Option<&str>) -> FlagdExport {
        let ctx = tenant.map_or_else(Context::new, |id| Context::new().with_tenant(id));
        let export = Export::new(self, &ctx);
        let mut flags = Map::new();
        let mut refused = BTreeMap::new();
        let slots = (0..).zip(self.flag_table().slots());
        for (place, slot) in slots.filter(|(_, slot)| *slot.chunk.gate() != Gate::Absent) {
            let key = slot.chunk.key();
            let written = export.flag(place, slot).and_then(|decided| {
                let variants = slot.chunk.variants();
                let variants = variants
                    .iter()
                    .map(|(name, it)| (name.to_string(), it.clone()));
                let variants: Map<String, Value> = variants.collect();
                if decided.to_string().len() > TARGETING_BYTES_MAX {
                    return Err(format!(
                        "its rules, with those of its prerequisites, take more than {} KiB",
                        TARGETING_BYTES_MAX / 1024
                    ));
                }
                let mut flag = match decided {
                    Value::String(variant) => {
                        json!({"state": "ENABLED", "variants": variants, "defaultVariant": variant})
                    }
                    // The caller's default, for everybody.
                    Value::Null => json!({"state": "DISABLED", "variants": variants}),
                    targeting => {
                        json!({"state": "ENABLED", "variants": variants, "targeting": targeting})
                    }
                };
                let metadata = slot.chunk.metadata().filter(|it| !it.is_empty());
                if let (Some(metadata), Some(members)) = (metadata, flag.as_object_mut()) {
                    members.insert("metadata".to_owned(), json!(metadata));
                }
                Ok(flag)
            });
            match written {
                Ok(flag) => {
                    flags.insert(key.to_string(), flag);
                }
                Err(reason) => {
                    refused.insert(key.clone(), reason);
                }
            }
        }
        FlagdExport {
            bucketing: self.bucketing(),
            flags,
            refused,
        }
    }
}
