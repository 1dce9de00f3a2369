//! Whether the indexes, which answer questions about the past, say what the records say.

use std::collections::{BTreeMap, BTreeSet};

use plane_log::{ChangeLog, DigestRef, DocumentKey, Facet, ReadError};
use plane_model::Digest;
use plane_state::Record;
use plane_state::verify::ChainCheck;

use super::meanwhile;

/// How many rows of an index are compared at a time.
const PAGE: usize = 4_000;

/// What the records say about each document.
#[derive(Debug, Default)]
pub(super) struct Changes(Index<DocumentKey>);

impl Changes {
    /// Takes a record in.
    pub(super) fn expect(&mut self, revision: u64, record: &Record) {
        for op in &record.ops {
            let key = DocumentKey::new(&*op.kind, &*op.scope, &*op.name);
            let digest = op.digest.as_ref().map(crate::convert::digest_ref);
            self.0.expect(key, &change(revision, digest.as_ref()));
        }
    }

    /// Compares the index of changes with them.
    pub(super) async fn compare(
        self,
        log: &dyn ChangeLog,
        check: &mut ChainCheck,
    ) -> Result<(), ReadError> {
        let place = |key: &DocumentKey| {
            let DocumentKey { kind, scope, name } = key;
            format!("index of {kind} `{scope}` `{name}`")
        };
        let mut found = Found::new(self.0, check, place);
        let mut page = log.changes_page(None, PAGE).await?;
        while let Some(last) = page.last() {
            let after = Some((last.key.clone(), last.revision));
            page = meanwhile(log.changes_page(after, PAGE), || {
                for row in page.drain(..) {
                    found.row(row.key, &change(row.revision, row.digest.as_ref()));
                }
            })
            .await?;
        }
        found.finish();
        Ok(())
    }
}

/// What the records say about who committed what, for which tenants.
#[derive(Debug, Default)]
pub(super) struct Facets(Index<(Facet, String)>);

impl Facets {
    /// Takes a record in.
    pub(super) fn expect(&mut self, revision: u64, record: &Record) {
        let mut facets = BTreeSet::from([
            (Facet::Actor, record.actor.as_str().to_owned()),
            (Facet::Action, record.action.clone()),
        ]);
        for op in &record.ops {
            facets.insert((Facet::Kind, op.kind.clone()));
            let tenant = op.key().and_then(|key| key.tenant_id());
            facets.extend(tenant.map(|it| (Facet::Tenant, it.to_string())));
        }
        for facet in facets {
            self.0.expect(facet, &revision.to_le_bytes());
        }
    }

    /// Compares the index of facets with them.
    pub(super) async fn compare(
        self,
        log: &dyn ChangeLog,
        check: &mut ChainCheck,
    ) -> Result<(), ReadError> {
        let place = |(facet, value): &(Facet, String)| {
            let facet = match facet {
                Facet::Actor => "actor",
                Facet::Action => "action",
                Facet::Tenant => "tenant",
                Facet::Kind => "kind",
            };
            format!("index of commits by {facet} `{value}`")
        };
        let mut found = Found::new(self.0, check, place);
        let mut page = log.facets_page(None, PAGE).await?;
        while let Some(last) = page.last() {
            let after = Some(last.clone());
            page = meanwhile(log.facets_page(after, PAGE), || {
                for row in page.drain(..) {
                    found.row((row.facet, row.value), &row.revision.to_le_bytes());
                }
            })
            .await?;
        }
        found.finish();
        Ok(())
    }
}

/// Rows by the key that they are grouped under.
#[derive(Debug)]
struct Index<K>(BTreeMap<K, Sum>);

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Index<K> {
    fn expect(&mut self, key: K, row: &[u8]) {
        self.0.entry(key).or_default().add(row);
    }
}

/// A sum over rows that does not depend on their order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    digest: [u8; 32],
}

impl Sum {
    fn add(&mut self, row: &[u8]) {
        self.rows += 1;
        let digest = Digest::of(row);
        for (byte, other) in self.digest.iter_mut().zip(digest.as_bytes()) {
            *byte ^= other;
        }
    }
}

/// Follows the rows of an index in their order, and names each group that differs from what is expected.
struct Found<'a, K, P> {
    expected: Index<K>,
    check: &'a mut ChainCheck,
    place: P,
    current: Option<(K, Sum)>,
}

impl<'a, K: Ord, P: Fn(&K) -> String> Found<'a, K, P> {
    fn new(expected: Index<K>, check: &'a mut ChainCheck, place: P) -> Self {
        Self {
            expected,
            check,
            place,
            current: None,
        }
    }

    fn row(&mut self, key: K, row: &[u8]) {
        if self.current.as_ref().is_some_and(|(at, _)| *at != key) {
            self.settle();
        }
        let (_, sum) = self.current.get_or_insert_with(|| (key, Sum::default()));
        sum.add(row);
    }

    fn settle(&mut self) {
        let Some((key, sum)) = self.current.take() else {
            return;
        };
        let detail = match self.expected.0.remove(&key) {
            None => "no record names it",
            Some(expected) if expected != sum => DIFFERS,
            Some(_) => return,
        };
        self.check.note((self.place)(&key), detail);
    }

    fn finish(mut self) {
        self.settle();
        for key in self.expected.0.keys() {
            self.check.note((self.place)(key), DIFFERS);
        }
    }
}

const DIFFERS: &str = "it does not say what the records say";

/// One change of a document, as bytes.
fn change(revision: u64, digest: Option<&DigestRef>) -> [u8; 41] {
    let (what, hash) = match digest {
        Some(DigestRef::Body(hash)) => (1, *hash.as_bytes()),
        Some(DigestRef::Blob(hash)) => (2, *hash.as_bytes()),
        None => (0, [0; 32]),
    };
    let mut change = [what; 41];
    change[1..9].copy_from_slice(&revision.to_le_bytes());
    change[9..].copy_from_slice(&hash);
    change
}
