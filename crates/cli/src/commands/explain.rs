//! `explain`: what an error code means.

use anyhow::Result;
use clap::Args;
use plane_model::Code;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Cell, Paint};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane explain REVISION_CONFLICT
  control-plane explain                     # lists all codes")]
pub(crate) struct Explain {
    /// The code, as it stands in an error
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.code {
            Some(code) => one(session, code),
            None => all(session),
        }
    }
}

fn one(session: &Session, text: &str) -> Result<()> {
    let wanted = text.to_ascii_uppercase().replace('-', "_");
    let Ok(code) = wanted.parse::<Code>() else {
        let near: Vec<&str> = Code::ALL
            .iter()
            .map(|code| code.as_str())
            .filter(|code| code.contains(&wanted) || shares_a_word(code, &wanted))
            .take(5)
            .collect();
        let next = match near.as_slice() {
            [] => "`control-plane explain` lists all codes".to_owned(),
            near => format!("did you mean {}?", near.join(", ")),
        };
        return Err(Failure::new(format!("`{text}` is not an error code"))
            .next(next)
            .into());
    };
    let status = plane_api::status(code);
    let value = json!({
        "code": code,
        "status": status,
        "retryable": plane_api::is_retryable(code),
        "summary": code.summary().trim(),
        "page": plane_api::explain(code),
    });
    session.show(&value, |out| {
        out.indented(plane_api::explain(code), 0);
        let retry = if plane_api::is_retryable(code) {
            "the same request may succeed later"
        } else {
            "the same request will not succeed by itself"
        };
        out.gap();
        let note = out.paint(Paint::Dim, &format!("HTTP status {status}; {retry}"));
        out.line(note);
    })
}

fn shares_a_word(code: &str, wanted: &str) -> bool {
    wanted
        .split('_')
        .any(|word| word.len() > 3 && code.split('_').any(|part| part == word))
}

fn all(session: &Session) -> Result<()> {
    let codes: Vec<_> = Code::ALL
        .iter()
        .map(|code| {
            json!({ "code": code, "status": plane_api::status(*code), "summary": code.summary().trim() })
        })
        .collect();
    session.show(&codes, |page| {
        let rows: Vec<Vec<Cell>> = Code::ALL
            .iter()
            .map(|code| {
                vec![
                    Cell::new(code, Paint::Bold),
                    plane_api::status(*code).into(),
                    code.summary().trim().into(),
                ]
            })
            .collect();
        page.table(&["CODE", "STATUS", "MEANING"], &rows);
        page.gap();
        page.line("`control-plane explain CODE` says why it happens and what to do.");
    })
}
