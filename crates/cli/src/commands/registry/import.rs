//! `tool import`: tool definitions of other formats, published as tools.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use plane_api::{CommitReply, CommitRequest, OpChange, OpRequest};
use plane_client::{ArtifactFilter, Client, Error};
use plane_model::documents::{Signing, Trust};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, DocumentKey, Kind, Namespace, Violation,
};
use plane_registry::Manifest;
use plane_registry::import::{Fix, Format, Imported, read, sources};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::WriteArgs;
use crate::failure::Failure;
use crate::output::{Page, Paint, count};
use crate::parse::read_bounded;
use crate::progress::Progress;
use crate::session::Session;

/// How often what the server refuses is left out and the rest sent again.
const ATTEMPTS_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
FILE holds one JSON object a line, a list of them, or an object with a list `tools`. The namespace's
manifests need not be signed: `control-plane trust add NAMESPACE --signing optional` makes it so.

Several definitions of a name become the versions 1.0.0, 2.0.0, … in their order, since nothing says
that they are compatible; what is published already is not published again. Everything is published in
one commit, or nothing.

--fix replaces the names of types that other languages use, in any case of letters, and leaves out
fields that manifests have no place for. Every change is in the report:
  object   dict, hashmap, map          array    arraylist, list, set, tuple
  number   double, float               integer  byte, int, long, short
  string   char, str                   boolean  bool
  any      no constraint

Examples:
  control-plane tool import functions.json --format openai --owner team-ai --namespace lab
  control-plane tool import tools.jsonl --format openai --owner team-ai --namespace lab --fix --partial")]
pub(crate) struct Import {
    /// The file with the definitions
    file: PathBuf,
    /// What they are written in: openai or mcp
    #[arg(long)]
    format: Format,
    /// The namespace of the tools
    #[arg(long, default_value = "default")]
    namespace: Namespace,
    /// Who answers for the tools
    #[arg(long)]
    owner: String,
    /// The group that the tools are found under
    #[arg(long, default_value = "imported")]
    category: String,
    /// How long one call of a tool may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "NUMBER")]
    timeout_ms: u64,
    /// Correct what a fixed table corrects, and tell
    #[arg(long)]
    fix: bool,
    /// Publish the rest where a definition cannot be published
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// What became of a file.
#[derive(Debug, Default, Serialize)]
struct Report {
    definitions: usize,
    published: Vec<Place>,
    /// Published already, or said twice in the file.
    unchanged: Vec<Place>,
    fixed: Vec<Fixed>,
    refused: Vec<Refused>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    dry_run: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Place {
    place: String,
    tool: String,
}

#[derive(Debug, Serialize)]
struct Fixed {
    place: String,
    name: String,
    fixes: Vec<Fix>,
}

#[derive(Debug, Serialize)]
struct Refused {
    place: String,
    name: String,
    findings: Vec<Told>,
}

#[derive(Debug, Serialize)]
struct Told {
    pointer: String,
    code: String,
    detail: String,
    next: Option<String>,
}

impl From<Violation> for Told {
    fn from(it: Violation) -> Self {
        Self {
            pointer: it.pointer,
            code: it.code.as_str().to_owned(),
            detail: it.detail,
            next: it.next,
        }
    }
}

/// A definition that can be published, as a version of its name.
struct Candidate {
    place: String,
    version: ArtifactVersion,
    manifest: Value,
}

impl Import {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let bytes = read_bounded(&self.file, plane_model::limits::BLOB_BYTES_MAX)?;
        let found = sources(&bytes).map_err(|it| {
            Failure::new(format!("{}: {}", self.file.display(), it.detail))
                .next(it.next.unwrap_or_default())
        })?;
        let client = &session.client()?;
        self.check_trust(client)?;
        let mut report = Report {
            definitions: found.len(),
            dry_run: self.write.to_write().dry_run,
            ..Report::default()
        };
        let mut read_ones = Vec::new();
        let mut progress = Progress::new("reading definitions");
        for (done, source) in found.into_iter().enumerate() {
            progress.at(done as u64);
            let place = format!("{}:{}", self.file.display(), source.number);
            let name = name_of(source.value.as_ref().ok());
            let result = source
                .value
                .map_err(|it| vec![it])
                .and_then(|it| read(self.format, &it, self.fix));
            match result.and_then(|it| self.named(&it).map(|name| (name, it))) {
                Ok((name, it)) => {
                    if !it.fixes.is_empty() {
                        let (place, name) = (place.clone(), it.name.clone());
                        report.fixed.push(Fixed {
                            place,
                            name,
                            fixes: it.fixes.clone(),
                        });
                    }
                    read_ones.push((place, name, it));
                }
                Err(findings) => {
                    let findings = findings.into_iter().map(Told::from).collect();
                    report.refused.push(Refused {
                        place,
                        name,
                        findings,
                    });
                }
            }
        }
        drop(progress);
        if report.refused.is_empty() || self.partial {
            let candidates = self.versions(client, read_ones, &mut report)?;
            self.publish(client, candidates, &mut report)?;
        }
        let is_left = !report.refused.is_empty();
        let nothing = report.published.is_empty() && report.unchanged.is_empty();
        session.show(&report, |page| show(page, &report))?;
        if is_left && (nothing || !self.partial) {
            let what = format!(
                "nothing was published: {} cannot be",
                count(report.refused.len(), "definition")
            );
            let next = match (self.fix, self.partial) {
                (false, _) => {
                    "correct them as said above, or add --fix to correct what the table in --help corrects"
                }
                (true, false) => "correct them, or add --partial to publish the rest",
                (true, true) => "correct them as said above",
            };
            return Err(Failure::new(what).next(next).into());
        }
        Ok(())
    }

    fn check_trust(&self, client: &Client) -> Result<()> {
        let key = DocumentKey::new(Kind::Trust, "", self.namespace.as_str())
            .map_err(|it| Failure::new(it.detail))?;
        let trust = client.find_document::<Trust>(&key, None)?;
        if trust.is_some_and(|it| it.body.signing == Signing::Optional) {
            return Ok(());
        }
        let name = &self.namespace;
        Err(Failure::new(format!("manifests of the namespace `{name}` must be signed, and imported ones are not"))
            .next(format!(
                "name another with --namespace, or accept unsigned manifests there: `control-plane trust add {name} \
                 --signing optional`"
            ))
            .into())
    }

    fn named(&self, imported: &Imported) -> Result<ArtifactName, Vec<Violation>> {
        let name = if self.namespace.as_str() == "default" {
            imported.name.clone()
        } else {
            format!("{}/{}", self.namespace, imported.name)
        };
        ArtifactName::new(&name).map_err(|error| {
            vec![
                Violation::new(plane_model::Code::NameInvalid, "/name", error.to_string())
                    .next("write letters, digits, `_`, `.` and `-` only, at most 128, a letter, digit or `_` first"),
            ]
        })
    }

    /// Gives each definition of a name that is not published yet the next version.
    fn versions(
        &self,
        client: &Client,
        found: Vec<(String, ArtifactName, Imported)>,
        report: &mut Report,
    ) -> Result<Vec<Candidate>> {
        let names: BTreeSet<ArtifactName> = found.iter().map(|(_, name, _)| name.clone()).collect();
        let mut known = published(client, &names)?;
        let mut candidates = Vec::new();
        for (place, name, imported) in found {
            let versions = known.entry(name.clone()).or_default();
            let metadata = self.metadata(&imported);
            if let Some((version, _)) = versions.iter().find(|(_, it)| *it == metadata) {
                report.unchanged.push(Place {
                    place,
                    tool: format!("{name}@{version}"),
                });
                continue;
            }
            let major = versions
                .iter()
                .map(|(version, _)| version.major)
                .max()
                .unwrap_or(0)
                + 1;
            let version = semver::Version::new(major, 0, 0);
            let version = ArtifactVersion { name, version };
            let manifest = json!({
                "name": version.name, "version": version.version, "owner": self.owner,
                "changelog": format!("imported from {}", self.file.file_name().unwrap_or_default().to_string_lossy()),
                "deprecated": false, "metadata": metadata
            });
            match Manifest::parse(ArtifactKind::Tool, &manifest) {
                Ok(_) => {
                    versions.push((version.version.clone(), metadata));
                    candidates.push(Candidate {
                        place,
                        version,
                        manifest,
                    });
                }
                Err(findings) => report.refused.push(Refused {
                    place,
                    name: version.to_string(),
                    findings: findings.into_iter().map(Told::from).collect(),
                }),
            }
        }
        Ok(candidates)
    }

    fn metadata(&self, imported: &Imported) -> Value {
        json!({
            "description": imported.description, "category": self.category,
            "inputs_schema": imported.inputs_schema, "outputs_schema": imported.outputs_schema,
            "timeout_ms": self.timeout_ms, "retry_attempts": 0, "circuit_breaker_threshold": 5
        })
    }

    /// Publishes all in one commit; with `--partial` without what the server refuses.
    fn publish(
        &self,
        client: &Client,
        mut candidates: Vec<Candidate>,
        report: &mut Report,
    ) -> Result<()> {
        let write = self.write.to_write();
        for _ in 0..ATTEMPTS_MAX {
            if candidates.is_empty() {
                return Ok(());
            }
            let ops = candidates.iter().map(|it| OpRequest {
                op: OpChange::Put,
                kind: Kind::Tool,
                scope: String::new(),
                name: it.version.to_string(),
                body: Some(it.manifest.clone()),
                if_revision: None,
                if_absent: false,
            });
            let request = CommitRequest {
                reason: write.reason.clone(),
                ops: ops.collect(),
            };
            let problem = match client.commit(&request, write.dry_run) {
                Ok(reply) => {
                    if let CommitReply::Committed(committed) = reply {
                        report.revision = Some(committed.receipt.revision);
                    }
                    report.published = candidates
                        .into_iter()
                        .map(|it| Place {
                            place: it.place,
                            tool: it.version.to_string(),
                        })
                        .collect();
                    return Ok(());
                }
                Err(Error::Problem(problem)) => problem,
                Err(error) => return Err(error.into()),
            };
            let mut refused: BTreeMap<usize, Vec<Told>> = BTreeMap::new();
            for finding in &problem.errors {
                let rest = finding.pointer.strip_prefix("/ops/");
                let index = rest.and_then(|it| it.split('/').next()?.parse::<usize>().ok());
                if let Some(index) = index.filter(|index| *index < candidates.len()) {
                    let prefix = format!("/ops/{index}/body/metadata");
                    let pointer = finding
                        .pointer
                        .strip_prefix(&prefix)
                        .unwrap_or(&finding.pointer);
                    refused.entry(index).or_default().push(Told {
                        pointer: pointer.to_owned(),
                        code: finding.code.clone(),
                        detail: finding.detail.clone(),
                        next: finding.next.clone(),
                    });
                }
            }
            if refused.is_empty() {
                return Err(Error::Problem(problem).into());
            }
            let mut rest = Vec::new();
            for (index, candidate) in candidates.into_iter().enumerate() {
                match refused.remove(&index) {
                    Some(findings) => report.refused.push(Refused {
                        place: candidate.place,
                        name: candidate.version.to_string(),
                        findings,
                    }),
                    None => rest.push(candidate),
                }
            }
            if !self.partial {
                return Ok(());
            }
            candidates = rest;
        }
        anyhow::bail!(
            Failure::new("the server goes on refusing definitions")
                .next("correct what the report names")
        )
    }
}

/// The versions of these names that are published, with their metadata.
fn published(
    client: &Client,
    names: &BTreeSet<ArtifactName>,
) -> Result<BTreeMap<ArtifactName, Vec<(semver::Version, Value)>>> {
    let mut known: BTreeMap<ArtifactName, Vec<(semver::Version, Value)>> = BTreeMap::new();
    let mut progress = Progress::new("comparing with what is published");
    let mut done = 0;
    for summary in client.artifacts(ArtifactKind::Tool, &ArtifactFilter::default(), None)? {
        let Some(name) = names.get(&summary.name) else {
            continue;
        };
        for version in &summary.versions {
            let id: ArtifactVersion = format!("{name}@{}", version.version).parse()?;
            let found = client.version(ArtifactKind::Tool, &id, None)?;
            let metadata = found.manifest.get("metadata").cloned().unwrap_or_default();
            known
                .entry(name.clone())
                .or_default()
                .push((id.version, metadata));
            done += 1;
            progress.at(done);
        }
    }
    Ok(known)
}

fn name_of(definition: Option<&Value>) -> String {
    let name = definition.and_then(|it| it.pointer("/function/name").or_else(|| it.get("name")));
    name.and_then(Value::as_str)
        .unwrap_or("(without a name)")
        .chars()
        .take(128)
        .flat_map(char::escape_debug)
        .collect()
}

fn show(page: &mut Page, report: &Report) {
    let fixes: usize = report.fixed.iter().map(|it| it.fixes.len()).sum();
    let did = if report.dry_run {
        "would be published"
    } else {
        "published"
    };
    page.fields(vec![
        ("definitions", Some(report.definitions.to_string())),
        (did, Some(report.published.len().to_string())),
        ("unchanged", Some(report.unchanged.len().to_string())),
        ("refused", Some(report.refused.len().to_string())),
        (
            "fixed",
            Some(format!(
                "{} in {}",
                count(fixes, "place"),
                count(report.fixed.len(), "definition")
            )),
        ),
        ("revision", report.revision.map(|it| it.to_string())),
    ]);
    if !report.fixed.is_empty() {
        page.heading("Fixed");
        for it in &report.fixed {
            for fix in &it.fixes {
                page.line(format!(
                    "{} {}{}: {}",
                    it.place, it.name, fix.pointer, fix.detail
                ));
            }
        }
    }
    if !report.refused.is_empty() {
        page.heading("Refused");
        for it in &report.refused {
            for finding in &it.findings {
                let place = page.paint(
                    Paint::Error,
                    &format!("{} {}{}", it.place, it.name, finding.pointer),
                );
                let next = finding.next.as_deref().unwrap_or_default();
                page.line(format!(
                    "{place}: {} [{}]; {next}",
                    finding.detail, finding.code
                ));
            }
        }
    }
    page.gap();
}
