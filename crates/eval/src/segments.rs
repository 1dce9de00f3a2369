//! The segments of a view, compiled: also those that are made of others.

use std::collections::BTreeSet;
use std::sync::Arc;

use plane_model::{Document, SegmentName};

use crate::clause::{Audience, Members, segments_of};

/// The segments of a view.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments(imbl::OrdMap<SegmentName, Segment>);

#[derive(Debug, Clone)]
struct Segment {
    document: Arc<Document>,
    /// None until it is compiled: a segment that is made of itself misses itself.
    members: Option<Members>,
}

impl Segments {
    /// A compiled segment.
    pub(crate) fn members(&self, name: &str) -> Option<Members> {
        self.0.get(name)?.members.clone()
    }

    /// A segment as it is written.
    pub(crate) fn document(&self, name: &str) -> Option<&Arc<Document>> {
        Some(&self.0.get(name)?.document)
    }

    /// Puts a segment in place, or takes it away; compiling follows.
    pub(crate) fn set(&mut self, name: &SegmentName, document: Option<&Arc<Document>>) {
        match document {
            Some(document) => {
                let document = Arc::clone(document);
                let members = None;
                self.0.insert(name.clone(), Segment { document, members });
            }
            None => {
                self.0.remove(name);
            }
        }
    }

    /// Compiles what was touched, and what is made of it; returns the names of all of them.
    pub(crate) fn compile(&mut self, touched: BTreeSet<SegmentName>) -> BTreeSet<SegmentName> {
        if touched.is_empty() {
            return touched;
        }
        let parts: Vec<(SegmentName, BTreeSet<SegmentName>)> = self
            .0
            .iter()
            .map(|(name, segment)| (name.clone(), parts(&segment.document)))
            .filter(|(_, parts)| !parts.is_empty())
            .collect();
        let mut stale = touched;
        loop {
            let known = stale.len();
            for (name, parts) in &parts {
                if !parts.is_disjoint(&stale) {
                    stale.insert(name.clone());
                }
            }
            if stale.len() == known {
                break;
            }
        }
        for name in &stale {
            if let Some(segment) = self.0.get_mut(name) {
                segment.members = None;
            }
        }
        let mut open = stale.clone();
        for name in &stale {
            self.compile_one(name, &mut open);
        }
        stale
    }

    /// Compiles a segment after those that it is made of; one that is `open` no more is done, or under way.
    fn compile_one(&mut self, name: &SegmentName, open: &mut BTreeSet<SegmentName>) {
        let Some(document) = self.0.get(name).map(|it| Arc::clone(&it.document)) else {
            return;
        };
        if !open.remove(name) {
            return;
        }
        for part in parts(&document) {
            self.compile_one(&part, open);
        }
        let members = Audience::new(&document, |part| self.members(part)).map(Arc::new);
        if let Some(segment) = self.0.get_mut(name) {
            segment.members = members;
        }
    }
}

/// The segments that a segment is made of.
fn parts(document: &Document) -> BTreeSet<SegmentName> {
    let mut names = BTreeSet::new();
    if let Document::Segment(segment) = document
        && let Some(when) = &segment.when
    {
        segments_of(when, |name| {
            names.insert(name);
        });
    }
    names
}
