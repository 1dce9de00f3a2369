//! A map from digests to digests whose own digest follows changes.

use std::array;
use std::sync::{Arc, OnceLock};

use plane_model::Digest;

/// How many children a branch has: one for each value of four bits.
const WAYS: usize = 16;
/// How many levels a tree can have: one for each four bits of a name's digest.
const LEVELS_MAX: usize = 64;

const LEAF: u8 = 0;
const BRANCH: u8 = 1;

/// A map from names' digests to contents' digests, with one digest over all of it.
///
/// The digest depends on the content only, never on the order of changes. Cloning shares everything.
#[derive(Debug, Clone, Default)]
pub struct MerkleMap {
    root: Option<Node>,
    len: usize,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf { name: Digest, content: Digest },
    Branch(Arc<Branch>),
}

/// Holds only the children that there are: most branches are at the bottom and have few.
#[derive(Debug, Clone, Default)]
struct Branch {
    /// A bit for each step that there is a child for.
    steps: u16,
    /// In the order of their steps.
    children: Vec<Node>,
    /// Computed when it is asked for; left behind by a change.
    digest: OnceLock<Digest>,
}

impl Branch {
    /// Where the child for a step is among the children, or would be.
    fn place(&self, step: usize) -> Result<usize, usize> {
        let bit = 1_u16 << step;
        let before = (self.steps & (bit - 1)).count_ones() as usize;
        if self.steps & bit == 0 {
            Err(before)
        } else {
            Ok(before)
        }
    }

    fn child(&self, step: usize) -> Option<&Node> {
        self.children.get(self.place(step).ok()?)
    }

    fn insert(&mut self, step: usize, child: Node) {
        if let Err(place) = self.place(step) {
            self.children.reserve_exact(1);
            self.children.insert(place, child);
            self.steps |= 1 << step;
        }
    }

    fn remove(&mut self, step: usize) {
        if let Ok(place) = self.place(step) {
            self.children.remove(place);
            self.steps &= !(1 << step);
        }
    }
}

impl MerkleMap {
    /// How many names there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What a name has.
    pub fn get(&self, name: &Digest) -> Option<Digest> {
        let mut node = self.root.as_ref()?;
        // The last branch is on the last level, and its leaves are below it.
        for level in 0..=LEVELS_MAX {
            match node {
                Node::Leaf { name: at, content } => return (at == name).then_some(*content),
                Node::Branch(branch) => {
                    node = branch.child(step(name, level))?;
                }
            }
        }
        None
    }

    /// Gives a name a content; costs in proportion to the depth, which is logarithmic.
    pub fn insert(&mut self, name: Digest, content: Digest) {
        let leaf = Node::Leaf { name, content };
        let is_new = match &mut self.root {
            None => {
                self.root = Some(leaf);
                true
            }
            Some(root) => put(root, leaf, name, 0),
        };
        self.len += usize::from(is_new);
    }

    /// Takes a name out; says whether it was there.
    pub fn remove(&mut self, name: &Digest) -> bool {
        let taken = self
            .root
            .as_mut()
            .map_or(Taken::NotThere, |it| take(it, name, 0));
        if taken == Taken::All {
            self.root = None;
        }
        let was_there = taken != Taken::NotThere;
        self.len -= usize::from(was_there);
        was_there
    }

    /// The digest of the whole map; of an empty one, 32 zero bytes.
    ///
    /// Costs in proportion to what changed since it was last asked for.
    pub fn digest(&self) -> Digest {
        digest_of(self.root.as_ref())
    }
}

impl PartialEq for MerkleMap {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.digest() == other.digest()
    }
}

impl Eq for MerkleMap {}

/// The four bits of a name that choose the child at a level.
fn step(name: &Digest, level: usize) -> usize {
    let byte = name.as_bytes().get(level / 2).copied().unwrap_or_default();
    usize::from(if level.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 0x0f
    })
}

/// Puts a leaf below a node; says whether its name is new there.
fn put(node: &mut Node, leaf: Node, name: Digest, level: usize) -> bool {
    match node {
        Node::Leaf { name: at, .. } if *at == name || level >= LEVELS_MAX => {
            let is_new = *at != name;
            *node = leaf;
            is_new
        }
        Node::Leaf { name: at, .. } => {
            let mut branch = Branch::default();
            branch.insert(step(at, level), node.clone());
            *node = Node::Branch(Arc::new(branch));
            put(node, leaf, name, level)
        }
        Node::Branch(branch) => {
            let branch = Arc::make_mut(branch);
            branch.digest = OnceLock::new();
            let step = step(&name, level);
            if let Ok(place) = branch.place(step) {
                let child = branch.children.get_mut(place);
                child.is_some_and(|child| put(child, leaf, name, level + 1))
            } else {
                branch.insert(step, leaf);
                true
            }
        }
    }
}

/// What became of a node that a name was taken out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// It did not have the name.
    NotThere,
    /// There is something left of it.
    Some,
    /// There is nothing left of it.
    All,
}

/// Takes a name out of what is below a node; a branch that a leaf alone is left of becomes that leaf.
fn take(node: &mut Node, name: &Digest, level: usize) -> Taken {
    let shared = match node {
        Node::Leaf { name: at, .. } if at == name => return Taken::All,
        Node::Leaf { .. } => return Taken::NotThere,
        Node::Branch(shared) => shared,
    };
    let branch = Arc::make_mut(shared);
    let step = step(name, level);
    let place = branch.place(step).ok();
    let Some(child) = place.and_then(|it| branch.children.get_mut(it)) else {
        return Taken::NotThere;
    };
    match take(child, name, level + 1) {
        Taken::NotThere => return Taken::NotThere,
        Taken::Some => {}
        Taken::All => branch.remove(step),
    }
    branch.digest = OnceLock::new();
    match branch.children.as_slice() {
        [] => return Taken::All,
        [leaf @ Node::Leaf { .. }] => *node = leaf.clone(),
        _ => {}
    }
    Taken::Some
}

fn digest_of(node: Option<&Node>) -> Digest {
    match node {
        None => Digest::from_bytes([0; 32]),
        Some(Node::Leaf { name, content }) => {
            Digest::of_parts(&[&[LEAF], name.as_bytes(), content.as_bytes()])
        }
        Some(Node::Branch(branch)) => *branch.digest.get_or_init(|| {
            let children: [Digest; WAYS] = array::from_fn(|step| digest_of(branch.child(step)));
            let mut bytes = Vec::with_capacity(1 + WAYS * 32);
            bytes.push(BRANCH);
            for child in &children {
                bytes.extend_from_slice(child.as_bytes());
            }
            Digest::of(&bytes)
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn named(number: u8) -> Digest {
        Digest::of(&[number])
    }

    /// Names that share their first digits, so that trees are deep.
    fn deep(number: u8) -> Digest {
        let mut bytes = [7; 32];
        bytes[31] = number;
        Digest::from_bytes(bytes)
    }

    #[test]
    fn an_empty_map_has_a_digest_of_zeros() {
        let mut map = MerkleMap::default();
        assert_eq!(map.digest(), Digest::from_bytes([0; 32]));
        map.insert(named(1), named(2));
        assert_ne!(map.digest(), Digest::from_bytes([0; 32]));
        assert!(map.remove(&named(1)));
        assert_eq!(map.digest(), Digest::from_bytes([0; 32]));
        assert!(map.is_empty());
    }

    #[test]
    fn the_digest_is_pinned() {
        let mut map = MerkleMap::default();
        for number in 0..40 {
            map.insert(named(number), deep(number));
        }
        expect_test::expect!["6d49f83917906401acc24373722134b1b202f234c62d3739a746b0e266b02be6"]
            .assert_eq(&map.digest().hex());
    }

    #[test]
    fn a_clone_does_not_follow() {
        let mut map = MerkleMap::default();
        map.insert(named(1), named(2));
        map.insert(named(3), named(4));
        let (before, digest) = (map.clone(), map.digest());
        map.insert(named(1), named(9));
        assert_eq!(before.digest(), digest);
        assert_ne!(map.digest(), digest);
    }

    proptest! {
        #[test]
        fn the_digest_depends_on_the_content_and_not_on_how_it_came_about(
            steps in prop::collection::vec((any::<bool>(), 0_u8..24, any::<Option<u8>>()), 0..80),
        ) {
            let (mut map, mut model) = (MerkleMap::default(), BTreeMap::new());
            for (is_deep, name, content) in steps {
                let name = if is_deep { deep(name) } else { named(name) };
                // Asked in between, so that a digest that was kept too long shows.
                map.digest();
                if let Some(content) = content {
                    map.insert(name, named(content));
                    model.insert(name, named(content));
                } else {
                    prop_assert_eq!(map.remove(&name), model.remove(&name).is_some());
                }
                prop_assert_eq!(map.len(), model.len());
            }
            let mut anew = MerkleMap::default();
            for (name, content) in model.iter().rev() {
                anew.insert(*name, *content);
                prop_assert_eq!(map.get(name), Some(*content));
            }
            prop_assert_eq!(map.digest(), anew.digest());
            if let Some((name, content)) = model.iter().next() {
                let other = Digest::of(content.as_bytes());
                anew.insert(*name, other);
                prop_assert_ne!(map.digest(), anew.digest());
            }
        }
    }
}
