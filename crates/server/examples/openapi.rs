//! Writes the `OpenAPI` document to standard output: `cargo run -p plane-server --example openapi`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{:#}", plane_server::openapi())
}
