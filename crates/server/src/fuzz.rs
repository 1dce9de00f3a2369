//! What fuzz targets try, and nobody else: no part of the interface.

use plane_api::{Operation, Problem};

use crate::cursor::{After, page as page_of};
use crate::failure::Failure;
use crate::query::Query;

/// The page that a query asks for.
#[derive(Debug)]
pub struct Page {
    /// How many items it has at most.
    pub limit: usize,
    /// The scope and the name of the item before it.
    pub after: Option<(String, String)>,
}

/// Reads the part of a URI after `?` as an operation that lists does.
///
/// # Errors
/// The problem that the caller gets.
pub fn page(operation: &'static Operation, text: &str) -> Result<Page, Box<Problem>> {
    let read = || {
        let query = Query::parse(operation, text)?;
        query.moment("at")?;
        let after = After::of(&query)?.map(|it| (it.scope, it.name));
        let limit = query.limit()?;
        Ok(Page { limit, after })
    };
    read().map_err(|failure: Failure| Box::new(failure.problem().clone()))
}

/// The cursor of the page after an item.
pub fn cursor_after(scope: &str, name: &str) -> String {
    let item = || (scope.to_owned(), name.to_owned(), ());
    let list = page_of([item(), item()].into_iter(), 1, 0);
    list.next_cursor.unwrap_or_default()
}
