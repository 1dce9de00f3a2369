//! A map whose copies share what did not change, for what there is a hundred thousand of.
//!
//! Items lie side by side in small pages, by the hash of their key: beside itself an item takes 8 bytes, its share of a
//! page's header, and no node that is mostly empty. A change copies a page, and the branch that it hangs from.

use std::sync::Arc;

use crate::hash::hash_text;

/// How many items a page has at most on average, before there are twice as many pages.
const PAGE: usize = 8;
/// How many pages hang from a branch.
const BRANCH: usize = 64;

/// Something that has its key in itself.
pub(crate) trait Keyed: Clone {
    /// The key, which never changes.
    fn key(&self) -> &str;
}

/// Items by their keys.
///
/// INVARIANT: there is no page, or their number is a power of two and a multiple of [`BRANCH`].
#[derive(Debug, Clone)]
pub(crate) struct Pages<T> {
    branches: Arc<[Branch<T>]>,
    len: usize,
}

type Branch<T> = Arc<[Page<T>]>;
/// Each item with a part of its key's hash.
type Page<T> = Arc<[(u32, T)]>;

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            branches: Arc::default(),
            len: 0,
        }
    }
}

impl<T: Keyed> Pages<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All items, in no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let pages = self.branches.iter().flat_map(|branch| branch.iter());
        pages.flat_map(|page| page.iter()).map(|(_, item)| item)
    }

    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        let (place, tag) = self.place(key)?;
        let page = self.branches.get(place / BRANCH)?.get(place % BRANCH)?;
        let found = page
            .iter()
            .find(|(its, item)| *its == tag && item.key() == key)?;
        Some(&found.1)
    }

    /// An item to be changed, but for its key.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.get(key)?;
        let (page, tag) = self.page_mut(key)?;
        let mut items = Arc::make_mut(page).iter_mut();
        let found = items.find(|(its, item)| *its == tag && item.key() == key)?;
        Some(&mut found.1)
    }

    /// Puts an item in its place.
    pub(crate) fn put(&mut self, item: T) {
        if let Some(before) = self.get_mut(item.key()) {
            *before = item;
            return;
        }
        if self.len >= self.branches.len() * BRANCH * PAGE {
            *self = self.iter().cloned().chain([item]).collect();
            return;
        }
        if let Some((page, tag)) = self.page_mut(item.key()) {
            *page = page.iter().cloned().chain([(tag, item)]).collect();
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        if let Some((page, _)) = self.page_mut(key) {
            let kept = page.iter().filter(|(_, item)| item.key() != key);
            *page = kept.cloned().collect();
            self.len -= 1;
        }
    }

    fn page_mut(&mut self, key: &str) -> Option<(&mut Page<T>, u32)> {
        let (place, tag) = self.place(key)?;
        let branch = Arc::make_mut(&mut self.branches).get_mut(place / BRANCH)?;
        Some((Arc::make_mut(branch).get_mut(place % BRANCH)?, tag))
    }

    /// The place of a key's page among all pages, and the part of its hash that is kept.
    #[inline]
    fn place(&self, key: &str) -> Option<(usize, u32)> {
        place(key, self.branches.len() * BRANCH)
    }
}

/// Items come in any order; of two with the same key the last one stands.
impl<T: Keyed> FromIterator<T> for Pages<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        let pages = items.len().div_ceil(PAGE).next_power_of_two().max(BRANCH);
        let at = |item: &T| place(item.key(), pages).unwrap_or_default();
        // Stable, so that the last of several comes last.
        items.sort_by(|a, b| (at(a), a.key()).cmp(&(at(b), b.key())));
        let mut items = items.into_iter().peekable();
        let mut len = 0;
        let mut page = |number| {
            let mut page: Vec<(u32, T)> = Vec::with_capacity(PAGE);
            while let Some(item) = items.next_if(|item| at(item).0 == number) {
                match page.last_mut() {
                    Some((_, last)) if last.key() == item.key() => *last = item,
                    _ => page.push((at(&item).1, item)),
                }
            }
            len += page.len();
            Page::from(page)
        };
        let branch = |number| {
            (number * BRANCH..(number + 1) * BRANCH)
                .map(&mut page)
                .collect()
        };
        let branches = (0..pages / BRANCH).map(branch).collect();
        Self { branches, len }
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "either half of the hash is all that is wanted"
)]
fn place(key: &str, pages: usize) -> Option<(usize, u32)> {
    let hash = hash_text(key);
    Some((hash as usize & pages.checked_sub(1)?, (hash >> 32) as u32))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
    struct Item(String, u32);

    impl Keyed for Item {
        fn key(&self) -> &str {
            &self.0
        }
    }

    type Model = BTreeMap<String, u32>;

    fn all(pages: &Pages<Item>) -> Model {
        let items: Vec<_> = pages.iter().cloned().collect();
        assert_eq!(items.len(), pages.len());
        items
            .into_iter()
            .map(|Item(key, value)| (key, value))
            .collect()
    }

    fn agree(pages: &Pages<Item>, model: &Model) {
        assert_eq!(all(pages), *model);
        assert_eq!(pages.is_empty(), model.is_empty());
        for (key, value) in model {
            assert_eq!(pages.get(key).map(|item| item.1), Some(*value));
        }
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_says_and_its_copies_stay_as_they_were(
            first in prop::collection::vec((0..2_000_u32, any::<u32>()), 0..3_000),
            then in prop::collection::vec((0..2_000_u32, prop::option::of(any::<u32>())), 0..2_000),
        ) {
            let items = first.iter().map(|(key, value)| Item(key.to_string(), *value));
            let mut pages: Pages<Item> = items.collect();
            let mut model: Model = first.iter().map(|(key, value)| (key.to_string(), *value)).collect();
            agree(&pages, &model);
            let (copy, before) = (pages.clone(), model.clone());
            for (key, value) in then {
                let key = key.to_string();
                match value {
                    Some(value) if value % 2 == 0 => {
                        pages.put(Item(key.clone(), value));
                        model.insert(key, value);
                    }
                    Some(value) => {
                        let item = pages.get_mut(&key).map(|item| item.1 = value);
                        let of_model = model.get_mut(&key).map(|it| *it = value);
                        prop_assert_eq!(item, of_model);
                    }
                    None => {
                        pages.remove(&key);
                        model.remove(&key);
                    }
                }
            }
            agree(&pages, &model);
            agree(&copy, &before);
        }
    }

    #[test]
    fn it_grows_from_nothing_one_by_one() {
        let mut pages = Pages::default();
        assert_eq!(pages.get(""), None);
        pages.remove("");
        for count in 0..5_000_u32 {
            pages.put(Item(count.to_string(), count));
        }
        agree(&pages, &(0..5_000).map(|it| (it.to_string(), it)).collect());
    }
}
