//! The product's limits, in one place; each has an error and a test on both sides.

/// Operations in one commit.
pub const COMMIT_OPS_MAX: usize = 10_000;
/// Bytes of one commit's documents, blobs not counted.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one document in canonical JSON, without its blobs.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of what a service relies on, in canonical JSON.
pub const CONTRACT_BYTES_MAX: usize = 256 * 1024;
/// Bodies larger than this are stored as blobs.
pub const BODY_INLINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one blob.
pub const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Nesting of any JSON or YAML input.
pub const TEXT_DEPTH_MAX: usize = 64;
/// Rules of one flag in one environment.
pub const FLAG_RULES_MAX: usize = 200;
/// Flags that one flag needs in one environment.
pub const FLAG_PREREQUISITES_MAX: usize = 64;
/// How deep flags may need each other: the prerequisites of prerequisites.
pub const PREREQUISITE_DEPTH_MAX: usize = 16;
/// Variants of one flag.
pub const FLAG_VARIANTS_MAX: usize = 100;
/// What one flag's metadata say: how many things.
pub const FLAG_METADATA_MAX: usize = 64;
/// Bytes of the names and texts of one flag's metadata: they go with every evaluation of it.
pub const FLAG_METADATA_BYTES_MAX: usize = 4 * 1024;
/// Nesting of one targeting expression.
pub const EXPRESSION_DEPTH_MAX: usize = 16;
/// How deep segments may be made of each other.
pub const SEGMENT_DEPTH_MAX: usize = 16;
/// How often one evaluation may ask others for one flag, or for one segment: each as often as it is
/// named, and through each that names it. Also how often one targeting names segments.
pub const REFERENCES_ASKED_MAX: usize = 1_000;
/// Ids in one segment.
pub const SEGMENT_IDS_MAX: usize = 100_000;
/// Nesting of one config document.
pub const CONFIG_DEPTH_MAX: usize = 32;
/// Bytes of all defaults behind the `$ref`s of a config schema, and 8 for each place that has one or none.
pub const DEFAULTS_REFERRED_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one manifest in canonical JSON.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// Tools in one lock.
pub const LOCK_ENTRIES_MAX: usize = 512;
/// Attributes in one evaluation context.
pub const CONTEXT_ATTRIBUTES_MAX: usize = 256;
/// Bytes of one evaluation context as JSON.
pub const CONTEXT_BYTES_MAX: usize = 64 * 1024;
/// Flags in one installation.
pub const FLAGS_MAX: usize = 100_000;
/// Tenants in one installation.
pub const TENANTS_MAX: usize = 1_000_000;
/// Schedules in one installation, those that failed among them.
pub const SCHEDULES_MAX: usize = 1_000;
/// How many days ahead a schedule may be.
pub const SCHEDULE_DAYS_MAX: i64 = 366;
/// Characters of a reason, a message or a description.
pub const PROSE_CHARS_MAX: usize = 4_096;
/// Labels of one tenant, tags of one flag.
pub const LABELS_MAX: usize = 64;
/// Violations that one report lists; the rest is counted.
pub const VIOLATIONS_MAX: usize = 1_000;
