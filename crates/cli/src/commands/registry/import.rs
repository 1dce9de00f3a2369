//! `tool import`: tool definitions of other formats, published as tools.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use plane_api::{CommitReply, CommitRequest, OpChange, OpRequest, Problem};
use plane_client::{ArtifactFilter, Client, Error};
use plane_model::documents::{Signing, Trust};
use plane_model::{
    ArtifactKind, ArtifactName, ArtifactVersion, Code, DocumentKey, Kind, Namespace, Pointer,
    Violation,
};
use plane_registry::Manifest;
use plane_registry::import::{FILE_BYTES_MAX, Format, Imported, Sources, read, sources};
use plane_registry::manifest::{RETRY_ATTEMPTS_MAX, TIMEOUT_MS_MAX};
use report::{Finding, Place, Published, Refused, Report, Unchanged};
use serde_json::{Map, Value, json};

use super::super::WriteArgs;
use crate::failure::Failure;
use crate::parse::read_bounded;
use crate::progress::Progress;
use crate::session::Session;

/// How often what the server refuses is left out and the rest sent again.
const ATTEMPTS_MAX: usize = 20;

#[derive(Debug, Args)]
#[command(after_help = "\
FILE holds one definition, one a line, a list of them, a request to OpenAI's API with `tools`, or \
what a server of MCP answers to `tools/list`. Imported manifests are not signed, so the namespace \
must not ask for signatures: `control-plane trust add NAMESPACE --signing optional` makes it so.

Everything is published in one commit, or nothing; with --partial, all that can be. Several \
definitions of a name become its versions 1.0.0, 2.0.0, … in their order: a new major version \
each, since nothing says that they are compatible. What is published already is not published \
again.

A definition that a manifest cannot take as it stands is refused, with line, pointer and remedy. \
--fix replaces the names of types that other languages use, in any case of letters:
  object   dict, hashmap, map          array    arraylist, list, set, tuple
  number   double, float               integer  byte, int, long, short
  string   char, str                   boolean  bool
  any      no constraint
It takes the `response` of a function as its output schema, and keeps fields that the format does \
not have. Every change is in the report. Fields that only one format has, such as the \
`annotations` of MCP, are kept in `metadata.mcp` or `metadata.openai`. A file says nothing of \
time-outs, retries and breakers: without the options below, neither do the manifests.

Examples:
  control-plane tool import functions.json --format openai --owner team-ai \\
      --namespace lab
  control-plane tool import tools.jsonl --format openai --owner team-ai \\
      --namespace lab --fix --dry-run
  control-plane tool import tools.jsonl --format openai --owner team-ai \\
      --namespace lab --fix --partial")]
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
    #[arg(long)]
    category: Option<String>,
    /// How long one call of a tool may take, in milliseconds
    #[arg(long, value_name = "NUMBER", value_parser = RangedU64ValueParser::<u64>::new().range(1..=TIMEOUT_MS_MAX))]
    timeout_ms: Option<u64>,
    /// How often a failed call is repeated
    #[arg(long, value_name = "NUMBER", value_parser = RangedU64ValueParser::<u64>::new().range(0..=RETRY_ATTEMPTS_MAX))]
    retry_attempts: Option<u64>,
    /// After how many failures in a row calls stop
    #[arg(long, value_name = "NUMBER", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    circuit_breaker_threshold: Option<u64>,
    /// Correct what the table below corrects, and tell
    #[arg(long)]
    fix: bool,
    /// Publish the rest where a definition cannot be published
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// A definition that fits a manifest, and the name that the manifest gets.
struct Fitting<'t> {
    place: Place<'t>,
    name: ArtifactName,
    imported: Imported,
}

/// A definition that can be published, as a version of its name.
struct Candidate<'t> {
    place: Place<'t>,
    imported: Imported,
    version: ArtifactVersion,
    manifest: Value,
}

/// A version that is published, or will be by this import.
struct Known {
    version: semver::Version,
    owner: Value,
    metadata: Value,
    line: Option<usize>,
}

impl Import {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        self.check_options()?;
        let bytes = read_bounded(&self.file, FILE_BYTES_MAX)?;
        let found = sources(&bytes).map_err(|it| {
            Failure::new(format!("{}: {}", self.file.display(), it.detail))
                .code(it.code)
                .next(it.next)
        })?;
        let client = &session.client()?;
        self.check_trust(client)?;
        let mut report = Report {
            file: self.file.display().to_string(),
            definitions: found.definitions.len(),
            dry_run: self.write.to_write().dry_run,
            ..Report::default()
        };
        let fitting = self.read(found, &mut report);
        let candidates = self.versions(client, fitting, &mut report)?;
        // What cannot be published as a whole is still asked about, so that all that is wrong is told at once.
        let is_dry = report.dry_run || !(report.refused.is_empty() || self.partial);
        self.publish(client, candidates, is_dry, &mut report)?;
        let is_refused = !report.refused.is_empty() && (!self.partial || report.is_empty());
        if is_refused {
            report.published.clear();
        }
        report.refused.sort_by_key(|it| it.line);
        session.show(&report, |page| report.show(page, self.format.as_str()))?;
        if is_refused {
            return Err(self.failure(&report).into());
        }
        Ok(())
    }

    fn failure(&self, report: &Report) -> Failure {
        let (refused, all) = (report.refused.len(), report.definitions);
        let what = match refused {
            _ if refused == all && all > 1 => {
                format!("nothing was published: none of the {all} definitions can be")
            }
            1 if all == 1 => "nothing was published: the definition cannot be".to_owned(),
            _ => format!("nothing was published: {refused} of {all} definitions cannot be"),
        };
        let can_be_fixed = report.refused.iter().any(Refused::can_be_fixed);
        Failure::new(what).next(match (self.fix, self.partial) {
            (false, _) if can_be_fixed => {
                "correct them as said above, or add --fix to have corrected what --help lists"
            }
            (_, false) if refused < all => {
                "correct them as said above, or add --partial to publish the rest"
            }
            _ => "correct them as said above",
        })
    }

    /// Refuses options that no manifest could have, once and by their own names.
    fn check_options(&self) -> Result<()> {
        let mut metadata = self.said_by_options();
        metadata.insert("inputs_schema".to_owned(), json!({}));
        let probe =
            json!({"name": "probe", "version": "1.0.0", "owner": self.owner, "metadata": metadata});
        let Err(found) = Manifest::parse(ArtifactKind::Tool, &probe) else {
            return Ok(());
        };
        let found = found.into_iter().next().unwrap_or_else(|| {
            Violation::new(Code::FieldInvalid, "", "the options make no manifest")
                .next("give other values")
        });
        let option = found.pointer.rsplit('/').next().unwrap_or_default();
        Err(
            Failure::new(format!("--{}: {}", option.replace('_', "-"), found.detail))
                .code(found.code)
                .next(found.next)
                .into(),
        )
    }

    fn check_trust(&self, client: &Client) -> Result<()> {
        let key = DocumentKey::new(Kind::Trust, "", self.namespace.as_str())
            .map_err(|it| Failure::new(it.detail))?;
        let trust = client.find_document::<Trust>(&key, None)?;
        if trust
            .as_ref()
            .is_some_and(|it| it.body.signing == Signing::Optional)
        {
            return Ok(());
        }
        let name = &self.namespace;
        let what = format!(
            "manifests of the namespace `{name}` must be signed, and imported ones are not"
        );
        // Unsigned manifests shall not come to stand among signed ones.
        let own = if trust.is_some() || name.as_str() == "default" {
            "imported"
        } else {
            name.as_str()
        };
        let next = format!(
            "give them a namespace of their own, so that signatures count where they do now: `control-plane trust \
             add {own} --signing optional`, then --namespace {own}"
        );
        Err(Failure::new(what).next(next).into())
    }

    /// Reads every definition; what does not fit goes to the report.
    fn read<'t>(&self, found: Sources<'t>, report: &mut Report) -> Vec<Fitting<'t>> {
        let mut fitting = Vec::new();
        let mut progress = Progress::bar("reading", found.definitions.len());
        report.remarks = found.remarks;
        for source in found.definitions {
            let value = source.value();
            let place = Place {
                name: name_of(value.as_ref().ok()),
                source,
            };
            let value = value.map_err(|it| vec![it]);
            let imported = value.and_then(|it| read(self.format, &it, self.fix));
            match imported.and_then(|it| Ok((self.name(&it)?, it))) {
                Ok((name, imported)) => fitting.push(Fitting {
                    place,
                    name,
                    imported,
                }),
                Err(found) => report.refused.push(place.refused(found)),
            }
            progress.step();
        }
        fitting
    }

    /// The name in the namespace that was asked for, and in no other.
    fn name(&self, imported: &Imported) -> Result<ArtifactName, Vec<Violation>> {
        let (namespace, name) = (&self.namespace, &imported.name);
        let refused = |detail, next: &str| {
            let at = imported.origin("/name").to_string();
            Err(vec![
                Violation::new(Code::NameInvalid, at, detail).next(next),
            ])
        };
        if name.contains('/') {
            let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            let detail = format!(
                "`{shown}` names a namespace of its own, and the import is for `{namespace}`"
            );
            return refused(
                detail,
                "write the name without `/`, and the namespace with --namespace",
            );
        }
        let full = if namespace.is_default() {
            name.clone()
        } else {
            format!("{namespace}/{name}")
        };
        ArtifactName::new(&full).or_else(|error| {
            refused(
                error.to_string(),
                "write letters, digits, `_`, `.` and `-` only, at most 128, a letter, digit or `_` first",
            )
        })
    }

    /// Gives each definition of a name that is not published yet the next version.
    fn versions<'t>(
        &self,
        client: &Client,
        fitting: Vec<Fitting<'t>>,
        report: &mut Report,
    ) -> Result<Vec<Candidate<'t>>> {
        let names: BTreeSet<ArtifactName> = fitting.iter().map(|it| it.name.clone()).collect();
        let mut known = published(client, &names)?;
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        let mut candidates = Vec::new();
        for Fitting {
            place,
            name,
            imported,
        } in fitting
        {
            let versions = known.entry(name.clone()).or_default();
            let mut metadata = imported.metadata();
            metadata.extend(self.said_by_options());
            let (owner, metadata) = (json!(self.owner), Value::Object(metadata));
            let same = versions
                .iter()
                .find(|it| it.metadata == metadata && it.owner == owner);
            if let Some(same) = same {
                report.unchanged.push(Unchanged {
                    line: place.source.line,
                    tool: format!("{name}@{}", same.version),
                    same_as_line: same.line,
                });
                continue;
            }
            let highest = versions.iter().map(|it| it.version.major).max();
            let version = semver::Version::new(highest.unwrap_or(0) + 1, 0, 0);
            let version = ArtifactVersion { name, version };
            let manifest = json!({
                "name": version.name, "version": version.version, "owner": owner,
                "changelog": format!("imported from {file}"), "deprecated": false, "metadata": metadata
            });
            if let Err(found) = Manifest::parse(ArtifactKind::Tool, &manifest) {
                let found = found.into_iter().map(|it| Violation {
                    pointer: imported.origin(&it.pointer).to_string(),
                    ..it
                });
                report.refused.push(place.refused(found.collect()));
                continue;
            }
            versions.push(Known {
                version: version.version.clone(),
                owner,
                metadata,
                line: Some(place.source.line),
            });
            candidates.push(Candidate {
                place,
                imported,
                version,
                manifest,
            });
        }
        Ok(candidates)
    }

    /// What the options say of every tool; no definition does.
    fn said_by_options(&self) -> Map<String, Value> {
        let said = [
            ("category", self.category.as_ref().map(|it| json!(it))),
            ("timeout_ms", self.timeout_ms.map(|it| json!(it))),
            ("retry_attempts", self.retry_attempts.map(|it| json!(it))),
            (
                "circuit_breaker_threshold",
                self.circuit_breaker_threshold.map(|it| json!(it)),
            ),
        ];
        let said = said
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        said.collect()
    }

    /// Publishes all in one commit; with `--partial` without what the server refuses. Without it, what the server
    /// refuses turns the rest into a question, so that all that is wrong is told at once.
    fn publish(
        &self,
        client: &Client,
        mut candidates: Vec<Candidate<'_>>,
        mut is_dry: bool,
        report: &mut Report,
    ) -> Result<()> {
        for _ in 0..ATTEMPTS_MAX {
            if candidates.is_empty() {
                return Ok(());
            }
            let waiting = Progress::wait(if is_dry {
                "asking what a commit would do"
            } else {
                "publishing in one commit"
            });
            let request = CommitRequest {
                reason: self.write.to_write().reason,
                ops: candidates.iter().map(Candidate::op).collect(),
            };
            let reply = client.commit(&request, is_dry);
            drop(waiting);
            let problem = match reply {
                Ok(reply) => {
                    if let CommitReply::Committed(committed) = reply {
                        report.revision = Some(committed.receipt.revision);
                    }
                    for it in candidates {
                        it.tell(report);
                    }
                    return Ok(());
                }
                Err(Error::Problem(problem)) => problem,
                Err(error) => return Err(error.into()),
            };
            let refused = leave_out(&problem, &mut candidates);
            if refused.is_empty() {
                return Err(Error::Problem(problem).into());
            }
            report.refused.extend(refused);
            is_dry |= !self.partial;
        }
        anyhow::bail!(
            Failure::new("the server goes on refusing definitions")
                .next("correct what the report of --dry-run names")
        )
    }
}

impl Candidate<'_> {
    fn op(&self) -> OpRequest {
        OpRequest {
            op: OpChange::Put,
            kind: Kind::Tool,
            scope: String::new(),
            name: self.version.to_string(),
            body: Some(self.manifest.clone()),
            if_revision: None,
            if_absent: false,
        }
    }

    /// Tells what was done with a definition that is published.
    fn tell(self, report: &mut Report) {
        report.published.push(Published {
            line: self.place.source.line,
            tool: self.version.to_string(),
        });
        report
            .fixed
            .extend(self.place.changed(&self.imported.fixes));
        report
            .filled
            .extend(self.place.changed(&self.imported.filled));
        for key in self.imported.kept.into_iter().map(|(key, _)| key) {
            *report.kept.entry(key).or_default() += 1;
        }
    }
}

/// Takes out of the candidates what a problem is about.
fn leave_out(problem: &Problem, candidates: &mut Vec<Candidate<'_>>) -> Vec<Refused> {
    let mut about: BTreeMap<usize, Vec<&plane_api::Finding>> = BTreeMap::new();
    for finding in &problem.errors {
        let index = finding.pointer.strip_prefix("/ops/");
        let index = index.and_then(|it| it.split('/').next()?.parse::<usize>().ok());
        if let Some(index) = index.filter(|index| *index < candidates.len()) {
            about.entry(index).or_default().push(finding);
        }
    }
    let mut refused = Vec::new();
    let mut rest = Vec::new();
    for (index, candidate) in candidates.drain(..).enumerate() {
        let Some(findings) = about.remove(&index) else {
            rest.push(candidate);
            continue;
        };
        let prefix = format!("/ops/{index}/body");
        let findings = findings.into_iter().map(|it| {
            let below = it.pointer.strip_prefix(&prefix);
            let at = below.map_or_else(Pointer::root, |it| candidate.imported.origin(it));
            Finding::of_server(at.to_string(), it)
        });
        let findings: Vec<Finding> = findings.collect();
        refused.push(candidate.place.refused(findings));
    }
    *candidates = rest;
    refused
}

/// The versions of these names that are published.
fn published(
    client: &Client,
    names: &BTreeSet<ArtifactName>,
) -> Result<BTreeMap<ArtifactName, Vec<Known>>> {
    let mut known: BTreeMap<ArtifactName, Vec<Known>> = BTreeMap::new();
    if names.is_empty() {
        return Ok(known);
    }
    let mut found = client.artifacts(ArtifactKind::Tool, &ArtifactFilter::default(), None)?;
    found.retain(|it| names.contains(&it.name));
    let all = found.iter().map(|it| it.versions.len()).sum();
    let mut progress = Progress::bar("comparing", all);
    for summary in found {
        for version in &summary.versions {
            let id: ArtifactVersion = format!("{}@{}", summary.name, version.version).parse()?;
            let found = client.version(ArtifactKind::Tool, &id, None)?;
            let part = |key: &str| found.manifest.get(key).cloned().unwrap_or_default();
            known.entry(id.name).or_default().push(Known {
                version: id.version,
                owner: part("owner"),
                metadata: part("metadata"),
                line: None,
            });
            progress.step();
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
