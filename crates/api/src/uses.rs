//! Who refers to a document.

use plane_model::{EnvironmentName, Kind, Pointer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who refers to a document, as far as the caller may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsesReply {
    /// The kind of the document.
    pub kind: Kind,
    /// Its name; of an agent or a tool with the version, if only that was asked for.
    pub name: String,
    /// The environment: documents that hold in others only are left out.
    pub environment: EnvironmentName,
    /// The revision that was read.
    pub revision: u64,
    /// In how many places it is referred to.
    pub count: u64,
    /// The places, in the order of documents; of more than 1,000 the first.
    pub uses: Vec<Use>,
}

/// A place where a document refers to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Use {
    /// The kind of the document that refers.
    pub kind: Kind,
    /// Its scope; empty where the kind has none.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Where in its body, or in its manifest; empty if its scope or its name says it.
    pub pointer: Pointer,
}
