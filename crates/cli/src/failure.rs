//! How a command says what went wrong: what, where, the code, and what to do next.

use std::fmt;
use std::io::{self, Write as _};

use plane_api::{Finding, Problem};
use plane_model::{Code, Violation};
use serde_json::{Value, json};

use crate::arguments::Format;
use crate::output::{Paint, Style, count, one_line};
use crate::{EXIT_FAILED, EXIT_OK, EXIT_USAGE};

/// A failure that a command words itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    what: String,
    code: Option<String>,
    findings: Vec<Located>,
    next: Option<String>,
}

/// A finding at a place that a person can open.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    /// `FILE:LINE:COLUMN`, a JSON pointer, or nothing.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) detail: String,
    /// Its code.
    pub(crate) code: String,
    /// What to do next.
    pub(crate) next: Option<String>,
}

impl Failure {
    /// Makes a failure out of a sentence.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    /// Adds the code that `explain` has a page about.
    pub(crate) fn code(mut self, code: Code) -> Self {
        self.code = Some(code.as_str().to_owned());
        self
    }

    /// Adds what to do next.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Adds findings at their places.
    pub(crate) fn findings(mut self, findings: impl IntoIterator<Item = Located>) -> Self {
        self.findings.extend(findings);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// Turns what a server refused into one error whose findings say where in the user's own files they are.
///
/// `place` finds the file, line and column that a pointer into the request means.
pub(crate) fn relocated(
    what: &str,
    error: plane_client::Error,
    place: impl Fn(&str) -> Option<String>,
) -> anyhow::Error {
    let plane_client::Error::Problem(problem) = &error else {
        return error.into();
    };
    if problem.errors.is_empty() {
        return error.into();
    }
    let findings = problem.errors.iter().map(|finding| {
        let mut located = Located::from(finding);
        if let Some(place) = place(&finding.pointer) {
            located.place = place;
        }
        located
    });
    let found = count(problem.errors.len(), "finding");
    let mut failure = Failure::new(format!("{what}: {found}")).findings(findings);
    if let Some(code) = problem.known_code() {
        failure = failure.code(code);
    }
    failure.into()
}

/// Which of the documents under `root` of a request a pointer is into, and where in its body.
pub(crate) fn into_body<'p>(pointer: &'p str, root: &str) -> Option<(usize, &'p str)> {
    let rest = pointer.strip_prefix(root)?.strip_prefix('/')?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (index, below) = rest.split_at(end);
    Some((
        index.parse().ok()?,
        below.strip_prefix("/body").unwrap_or(below),
    ))
}

impl From<&Finding> for Located {
    fn from(finding: &Finding) -> Self {
        Self {
            place: finding.pointer.clone(),
            detail: finding.detail.clone(),
            code: finding.code.clone(),
            next: finding.next.clone(),
        }
    }
}

impl Located {
    /// Places a violation.
    pub(crate) fn new(place: impl Into<String>, violation: &Violation) -> Self {
        Self {
            place: place.into(),
            detail: violation.detail.clone(),
            code: violation.code.as_str().to_owned(),
            next: Some(violation.next.clone()),
        }
    }
}

/// Writes the error to standard error and returns the exit status.
pub(crate) fn report(error: &anyhow::Error, format: Format) -> u8 {
    if is_closed_pipe(error) {
        // Whoever read the answer has read enough of it.
        return EXIT_OK;
    }
    let text = match format {
        Format::Human => {
            let style = Style::of_stderr();
            style.visible(&human(error, style))
        }
        Format::Json => {
            serde_json::to_string_pretty(&document(error)).unwrap_or_else(|_| error.to_string())
        }
    };
    // There is nobody left to tell if standard error is gone.
    drop(writeln!(io::stderr(), "{}", text.trim_end()));
    EXIT_FAILED
}

/// Says as JSON what is wrong with the command line, and returns the exit status.
pub(crate) fn misused(error: &clap::Error) -> u8 {
    let said = error.to_string();
    let detail = said.lines().next().unwrap_or_default();
    let detail = detail.strip_prefix("error: ").unwrap_or(detail);
    let next = "`--help` behind the command shows its options";
    let document = json!({ "code": null, "detail": detail, "next": next, "errors": [] });
    drop(writeln!(io::stderr(), "{document:#}"));
    EXIT_USAGE
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The parts of any error that a command ends with.
fn parts(error: &anyhow::Error) -> (Failure, Option<&Problem>) {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return (failure.clone(), None);
    }
    if let Some(called) = error.downcast_ref::<plane_client::Error>() {
        let problem = called.problem();
        let failure = Failure {
            what: called.to_string(),
            code: problem.map(|problem| problem.code.clone()),
            findings: problem
                .map(|problem| problem.errors.iter().map(Located::from).collect())
                .unwrap_or_default(),
            next: match problem {
                // The server speaks of headers; here a token comes from somewhere else.
                Some(problem) if problem.code == Code::Unauthenticated.as_str() => Some(
                    "set CONTROL_PLANE_TOKEN or CONTROL_PLANE_TOKEN_FILE to a token of this \
                     control plane"
                        .to_owned(),
                ),
                Some(problem) if problem.code == Code::RevisionConflict.as_str() => {
                    Some(after_conflict(problem).to_owned())
                }
                _ => called.next(),
            },
        };
        return (failure, problem);
    }
    (Failure::new(format!("{error:#}")), None)
}

/// What to do after a conflict: a command sends the header that the server speaks of by itself.
fn after_conflict(problem: &Problem) -> &'static str {
    if problem.detail.contains("exists already") {
        "choose another name, or keep what is there: `show` with its name tells what it is"
    } else {
        "run the command again: it reads what is there now"
    }
}

fn document(error: &anyhow::Error) -> Value {
    let (failure, problem) = parts(error);
    if let Some(problem) = problem {
        return serde_json::to_value(problem).unwrap_or(Value::Null);
    }
    let errors: Vec<Value> = failure
        .findings
        .iter()
        .map(|it| json!({ "place": it.place, "code": it.code, "detail": it.detail, "next": it.next }))
        .collect();
    json!({ "code": failure.code, "detail": failure.what, "next": failure.next, "errors": errors })
}

fn human(error: &anyhow::Error, style: Style) -> String {
    let (mut failure, problem) = parts(error);
    // One finding that only repeats the headline lends it its place and nothing more.
    if problem.is_some()
        && let [only] = failure.findings.as_slice()
        && only.detail == failure.what
    {
        if !only.place.is_empty() {
            failure.what = format!("{}: {}", only.place, failure.what);
        }
        failure.findings.clear();
    } else if problem.is_some() && failure.findings.len() > 1 {
        failure.what = format!("{} findings", failure.findings.len());
        failure.next = None;
    }
    let mut lines = vec![format!(
        "{} {}",
        style.paint(Paint::Error, "error:"),
        failure.what
    )];
    if let Some(code) = &failure.code
        && failure.findings.len() < 2
    {
        lines[0] = format!(
            "{} {}",
            lines[0],
            style.paint(Paint::Dim, &format!("[{code}]"))
        );
    }
    let next = style.paint(Paint::Good, "next:");
    for finding in &failure.findings {
        let place = match finding.place.as_str() {
            "" => String::new(),
            place => format!("{}: ", style.paint(Paint::Bold, place)),
        };
        let code = style.paint(Paint::Dim, &format!("[{}]", finding.code));
        lines.push(format!("  {place}{} {code}", finding.detail));
        lines.extend(finding.next.as_ref().map(|it| format!("      {next} {it}")));
    }
    lines.extend(failure.next.as_ref().map(|it| format!("  {next} {it}")));
    if let Some(problem) = problem
        && problem.status >= 500
        && let Some(instance) = &problem.instance
    {
        lines.push(format!("  the server's log has more under {instance}"));
    }
    if let Some(code) = &failure.code {
        lines.push(format!("  more: control-plane explain {code}"));
    }
    // What a person wrote may be quoted in any of them.
    let lines: Vec<_> = lines.iter().map(|line| one_line(line)).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finding_is_one_sentence_with_its_place() {
        let violation = Violation::new(Code::FieldInvalid, "/body/x", "x is wrong").next("mend x");
        let problem = Problem::of_violations(&[violation]).unwrap();
        let error = anyhow::Error::new(plane_client::Error::Problem(Box::new(problem)));
        insta::assert_snapshot!(human(&error, Style::plain()), @r"
        error: /body/x: x is wrong [FIELD_INVALID]
          next: mend x
          more: control-plane explain FIELD_INVALID
        ");
    }

    #[test]
    fn findings_stand_at_their_places() {
        let violation =
            Violation::new(Code::FieldUnknown, "", "unknown field `x`").next("remove it");
        let failure = Failure::new("the tree has 2 mistakes").findings([
            Located::new("a.yaml:3:1", &violation),
            Located::new("b.yaml:9:5", &violation),
        ]);
        insta::assert_snapshot!(human(&failure.into(), Style::plain()), @r"
        error: the tree has 2 mistakes
          a.yaml:3:1: unknown field `x` [FIELD_UNKNOWN]
              next: remove it
          b.yaml:9:5: unknown field `x` [FIELD_UNKNOWN]
              next: remove it
        ");
    }
}
