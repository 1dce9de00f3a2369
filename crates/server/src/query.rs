//! Query parameters: known ones only, each once.

use std::str::FromStr;

use plane_api::{Operation, Problem};
use plane_model::{Code, Timestamp};
use plane_node::At;

use crate::failure::Failure;
use crate::percent;

/// The query parameters of a request, all of them known to its operation.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the part of a URI after `?`.
    pub(crate) fn parse(operation: &'static Operation, text: &str) -> Result<Self, Failure> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent::decode(name, true).zip(percent::decode(value, true));
            let Some((name, value)) = decoded else {
                return Err(invalid(format!("`{pair}` is not well percent-encoded"))
                    .next("write `%` as `%25`, and every byte of UTF-8 as `%XX`")
                    .into());
            };
            let Some(known) = operation.query.iter().find(|known| known.name == name) else {
                return Err(unknown(operation, &name).into());
            };
            if found.iter().any(|(earlier, _)| *earlier == known.name) {
                return Err(
                    invalid(format!("the query parameter `{name}` occurs twice"))
                        .next("send it once")
                        .into(),
                );
            }
            found.push((known.name, value));
        }
        if let Some(missing) = operation
            .query
            .iter()
            .find(|known| known.is_required && !found.iter().any(|(name, _)| *name == known.name))
        {
            return Err(
                invalid(format!("the query parameter `{}` is missing", missing.name))
                    .next(format!("add it: {}", missing.summary))
                    .into(),
            );
        }
        Ok(Self(found))
    }

    /// The value of a parameter, if it was sent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter in the form of its type.
    pub(crate) fn read<T: FromStr>(&self, name: &str, form: &str) -> Result<Option<T>, Failure> {
        self.get(name)
            .map(|text| text.parse().map_err(|_| refuse(name, text, form)))
            .transpose()
    }

    /// A parameter that is true or false; false if absent.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true" | "") => Ok(true),
            Some(text) => Err(refuse(name, text, "write `true` or `false`")),
        }
    }

    /// A moment of the past: a revision or a time.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<At>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let form = "a revision is a whole number";
            return text
                .parse()
                .map(|revision| Some(At::Revision(revision)))
                .map_err(|_| refuse(name, text, form));
        }
        text.parse::<Timestamp>()
            .map(|time| Some(At::Time(time)))
            .map_err(|_| {
                let form =
                    "write a revision such as `41`, or a time such as `2026-03-01T09:30:00Z`";
                refuse(name, text, form)
            })
    }

    /// How many items a page has.
    pub(crate) fn limit(&self) -> Result<usize, Failure> {
        let form = "write a whole number from 1 to 1000";
        match self.read::<usize>("limit", form)? {
            None => Ok(100),
            Some(limit) if (1..=1_000).contains(&limit) => Ok(limit),
            Some(limit) => Err(refuse("limit", &limit.to_string(), form)),
        }
    }
}

/// Refuses the value of a parameter, and says what it should be.
pub(crate) fn refuse(name: &str, text: &str, form: &str) -> Failure {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    invalid(format!("`{shown}` is not a value of `{name}`"))
        .next(form)
        .into()
}

fn invalid(detail: String) -> Problem {
    Problem::new(Code::RequestInvalid, detail)
}

fn unknown(operation: &Operation, name: &str) -> Problem {
    let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    let known: Vec<_> = operation
        .query
        .iter()
        .map(|it| format!("`{}`", it.name))
        .collect();
    invalid(format!("the query parameter `{shown}` is not known here")).next(if known.is_empty() {
        "this operation has no query parameters: remove it".to_owned()
    } else {
        format!("known are: {}", known.join(", "))
    })
}
