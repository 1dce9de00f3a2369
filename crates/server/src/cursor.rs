//! Pages of lists.

use plane_api::List;

use crate::failure::Failure;
use crate::query::{Query, refuse};

/// Separates the parts of a cursor; no scope and no name contains it.
const SEPARATOR: char = '|';

/// Where a page begins: just after the item with this scope and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct After {
    pub(crate) scope: String,
    pub(crate) name: String,
}

impl After {
    /// Reads the cursor of a request.
    pub(crate) fn of(query: &Query) -> Result<Option<Self>, Failure> {
        let Some(text) = query.get("cursor") else {
            return Ok(None);
        };
        let (scope, name) = text.split_once(SEPARATOR).ok_or_else(|| {
            refuse(
                "cursor",
                text,
                "send the `next_cursor` of the page before, unchanged",
            )
        })?;
        Ok(Some(Self {
            scope: scope.to_owned(),
            name: name.to_owned(),
        }))
    }

    /// Says whether an item comes after.
    pub(crate) fn admits(&self, scope: &str, name: &str) -> bool {
        (scope, name) > (&*self.scope, &*self.name)
    }
}

/// Makes a page of at most `limit` items; each comes with its scope and name.
pub(crate) fn page<T>(
    items: impl Iterator<Item = (String, String, T)>,
    limit: usize,
    revision: u64,
) -> List<T> {
    let mut list = List {
        items: Vec::new(),
        next_cursor: None,
        revision,
    };
    let mut last = None;
    for (scope, name, item) in items {
        if list.items.len() == limit {
            list.next_cursor = last;
            break;
        }
        last = Some(format!("{scope}{SEPARATOR}{name}"));
        list.items.push(item);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_that_has_a_next_one_says_so() {
        let items = |count: usize| (0..count).map(|it| (String::new(), format!("n{it}"), it));
        let full = page(items(2), 2, 7);
        assert_eq!(
            (full.items.len(), full.next_cursor, full.revision),
            (2, None, 7)
        );
        assert_eq!(page(items(3), 2, 7).next_cursor.as_deref(), Some("|n1"));
    }
}
