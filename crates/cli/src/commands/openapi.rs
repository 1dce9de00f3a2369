//! `openapi`: the HTTP API as `OpenAPI` 3.1.

use anyhow::Result;

use crate::session::print;

pub(crate) fn run() -> Result<()> {
    let mut text = serde_json::to_string_pretty(&plane_server::openapi())?;
    text.push('\n');
    print(&text)
}
