//! The digest over all documents of a view, kept up to date change by change.

use imbl::OrdMap;
use plane_model::{Digest, DocumentKey, TenantId};

use super::merkle::MerkleMap;

const ROOT: u8 = 2;

/// How a document is called, as it stands on the wire: its kind need not be one that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    /// The kind.
    pub kind: &'a str,
    /// The scope; empty where the kind has none.
    pub scope: &'a str,
    /// The name.
    pub name: &'a str,
}

impl Name<'_> {
    /// The key of the document; none of a kind or a form that is not known here.
    pub fn key(&self) -> Option<DocumentKey> {
        DocumentKey::new(self.kind.parse().ok()?, self.scope, self.name).ok()
    }

    fn digest(self) -> Digest {
        let parts = [self.kind, "\0", self.scope, "\0", self.name];
        Digest::of_parts(&parts.map(str::as_bytes))
    }
}

/// The digests of a view's documents, by part: what all share, and what each tenant has.
///
/// Cloning shares everything. INVARIANT: [`root`](Self::root) depends on the documents only.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    shared: MerkleMap,
    tenants: MerkleMap,
    parts: OrdMap<TenantId, Vec<(Digest, Digest)>>,
}

impl Roots {
    /// Puts a document in its part, or replaces it; `body` is its canonical JSON.
    pub fn put(&mut self, tenant: Option<&TenantId>, name: Name<'_>, revision: u64, body: &[u8]) {
        let content = content(revision, body);
        match tenant {
            None => self.shared.insert(name.digest(), content),
            Some(tenant) => {
                let name = name.digest();
                let part = self.parts.entry(tenant.clone()).or_default();
                match part.binary_search_by_key(&name, |it| it.0) {
                    Ok(at) => {
                        if let Some(leaf) = part.get_mut(at) {
                            leaf.1 = content;
                        }
                    }
                    Err(at) => part.insert(at, (name, content)),
                }
                let digest = part_digest(part);
                self.tenants.insert(tenant_name(tenant), digest);
            }
        }
    }

    /// Takes a document out of its part.
    pub fn remove(&mut self, tenant: Option<&TenantId>, name: Name<'_>) {
        let name = name.digest();
        let Some(tenant) = tenant else {
            self.shared.remove(&name);
            return;
        };
        let Some(part) = self.parts.get_mut(tenant) else {
            return;
        };
        part.retain(|it| it.0 != name);
        if part.is_empty() {
            self.parts.remove(tenant);
            self.tenants.remove(&tenant_name(tenant));
        } else {
            let digest = part_digest(part);
            self.tenants.insert(tenant_name(tenant), digest);
        }
    }

    /// The digest of a tenant's part; none if the tenant has none.
    pub fn part(&self, tenant: &TenantId) -> Option<Digest> {
        self.tenants.get(&tenant_name(tenant))
    }

    /// Takes the digest of a tenant's part as it is told, without its documents; none if there is no such
    /// part any more.
    pub fn tell(&mut self, tenant: &TenantId, digest: Option<Digest>) {
        self.parts.remove(tenant);
        match digest {
            Some(digest) => self.tenants.insert(tenant_name(tenant), digest),
            None => {
                self.tenants.remove(&tenant_name(tenant));
            }
        }
    }

    /// The tenants whose documents were put here, and the digests of their parts.
    pub fn parts(&self) -> impl Iterator<Item = (&TenantId, Digest)> {
        let tenants = self.parts.keys();
        tenants.filter_map(|tenant| Some((tenant, self.part(tenant)?)))
    }

    /// The digest of everything.
    ///
    /// Costs in proportion to what changed since it was last asked for.
    pub fn root(&self) -> Digest {
        let (shared, tenants) = (self.shared.digest(), self.tenants.digest());
        Digest::of_parts(&[&[ROOT], shared.as_bytes(), tenants.as_bytes()])
    }

    /// How many documents there are, without those of parts that were only told.
    pub fn len(&self) -> usize {
        self.shared.len() + self.parts.values().map(Vec::len).sum::<usize>()
    }

    /// Says whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.tenants.is_empty()
    }
}

fn tenant_name(tenant: &TenantId) -> Digest {
    Digest::of(tenant.as_str().as_bytes())
}

fn content(revision: u64, body: &[u8]) -> Digest {
    Digest::of_parts(&[revision.to_string().as_bytes(), b"\0", body])
}

/// The digest of a part with these documents: name, revision and canonical JSON.
pub(super) fn digest_of_part<'a>(
    documents: impl Iterator<Item = (Name<'a>, u64, &'a [u8])>,
) -> Digest {
    let leaf =
        |(name, revision, body): (Name<'_>, u64, &[u8])| (name.digest(), content(revision, body));
    let mut leaves: Vec<_> = documents.map(leaf).collect();
    leaves.sort_unstable();
    part_digest(&leaves)
}

fn part_digest(part: &[(Digest, Digest)]) -> Digest {
    let mut bytes = Vec::with_capacity(part.len() * 64);
    for (name, content) in part {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(content.as_bytes());
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flag(name: &str) -> Name<'_> {
        Name {
            kind: "flag",
            scope: "",
            name,
        }
    }

    fn tenant(id: &str) -> TenantId {
        TenantId::new(id).unwrap()
    }

    #[test]
    fn every_part_of_a_document_counts() {
        let base = || {
            let mut roots = Roots::default();
            roots.put(None, flag("a"), 1, b"{}");
            roots
        };
        let root = base().root();
        let mut others = vec![Roots::default()];
        for (tenant, name, revision, body) in [
            (None, flag("b"), 1, "{}"),
            (None, flag("a"), 2, "{}"),
            (None, flag("a"), 1, "{ }"),
            (Some(tenant("t")), flag("a"), 1, "{}"),
            (
                None,
                Name {
                    kind: "targeting",
                    ..flag("a")
                },
                1,
                "{}",
            ),
            (
                None,
                Name {
                    scope: "x",
                    ..flag("a")
                },
                1,
                "{}",
            ),
        ] {
            let mut other = Roots::default();
            other.put(tenant.as_ref(), name, revision, body.as_bytes());
            others.push(other);
        }
        for other in &others {
            assert_ne!(other.root(), root, "{other:?}");
        }
        assert_eq!(base().root(), root);
    }

    #[test]
    fn a_document_of_another_tenant_is_another_document() {
        let (mut one, mut two) = (Roots::default(), Roots::default());
        one.put(Some(&tenant("t1")), flag("a"), 1, b"{}");
        two.put(Some(&tenant("t2")), flag("a"), 1, b"{}");
        assert_ne!(one.root(), two.root());
        one.remove(Some(&tenant("t1")), flag("a"));
        assert!(one.is_empty());
        assert_eq!(one.root(), Roots::default().root());
    }

    #[test]
    fn a_part_that_is_told_counts_like_its_documents() {
        let (mut whole, mut told) = (Roots::default(), Roots::default());
        let acme = tenant("acme");
        let mut part = super::super::Part::default();
        for (revision, name, body) in [(3, "b", b"{}".as_slice()), (2, "a", b"[]"), (9, "c", b"1")]
        {
            whole.put(Some(&acme), flag(name), revision, body);
            part.put(flag(name), revision, Some(body));
        }
        told.tell(&acme, Some(part.digest()));
        assert_eq!(told.root(), whole.root());
        assert_eq!(whole.parts().next(), Some((&acme, part.digest())));
        part.put(flag("c"), 9, None);
        assert_ne!(Some(part.digest()), whole.part(&acme));
        told.tell(&acme, None);
        assert!(told.is_empty());
        assert_eq!(told.root(), Roots::default().root());
    }

    proptest! {
        #[test]
        fn changes_give_the_root_of_what_is_left(
            steps in prop::collection::vec((0_u8..3, 0_u8..6, any::<Option<u8>>()), 0..60),
        ) {
            let mut roots = Roots::default();
            let mut left = std::collections::BTreeMap::new();
            for (revision, (of, name, body)) in (1..).zip(steps) {
                let id = (of > 0).then(|| tenant(&format!("t{of}")));
                let text = name.to_string();
                if let Some(body) = body {
                    roots.put(id.as_ref(), flag(&text), revision, &[body]);
                    left.insert((id, text), (revision, body));
                } else {
                    roots.remove(id.as_ref(), flag(&text));
                    left.remove(&(id, text));
                }
            }
            let mut anew = Roots::default();
            for ((id, text), (revision, body)) in left.iter().rev() {
                anew.put(id.as_ref(), flag(text), *revision, &[*body]);
            }
            prop_assert_eq!(roots.root(), anew.root());
            prop_assert_eq!(roots.len(), left.len());
        }
    }
}
