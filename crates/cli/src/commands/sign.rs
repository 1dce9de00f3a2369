//! `keygen`, `sign`, `verify`: keys and signatures, all offline.

mod edit;
mod manifest;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use plane_model::documents::{Signing, Trust, TrustedKey};
use plane_model::{ArtifactKind, Code, Kind, Timestamp, Violation};
use plane_node::{Clock as _, SystemClock};
use plane_registry::{Manifest, PublicKey, Signature, SigningKey, verify_signatures};
use serde_json::{Value, json};

pub(crate) use self::manifest::{Text, read_manifest};
use self::manifest::{kind_of, tree_of};
use crate::commands::server_key::file::random_key;
use crate::failure::{Failure, Located};
use crate::output::{Cell, Paint, count};
use crate::parse::read_bounded;
use crate::session::{Session, print};

#[derive(Debug, Args)]
#[command(after_help = "\
The private key is written as PKCS#8 PEM, readable by you alone. Keep it out of trees and \
repositories; give the public key to `control-plane trust add`.

Examples:
  control-plane keygen --out ~/.keys/release.pem")]
pub(crate) struct Keygen {
    /// Where to write the private key; it must not exist
    #[arg(long, value_name = "FILE", default_value = "signing-key.pem")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Fills `checksum_sha256`, `signature` and, where it is missing, `created_at`. Everything else in \
the file, comments too, stays as it is. Without --write the signed file goes to standard output.

Examples:
  control-plane sign registries/tools/crm_tool.yaml \\
      --key ~/.keys/release.pem --write")]
pub(crate) struct Sign {
    /// The manifest file, in YAML
    file: PathBuf,
    /// The file with the private key
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
    /// Change the file
    #[arg(long)]
    write: bool,
    /// agent or tool, where the file does not stand in a tree
    #[arg(long, value_parser = artifact_kind)]
    kind: Option<ArtifactKind>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The trusted keys are those of --key, else those of the tree of --trust, else those of the tree \
that the file stands in. Where nothing says which keys count, the checksum alone is checked, and \
the status is 1: that is no proof of who wrote the file.

Examples:
  control-plane verify examples/aiaas/registries/tools/crm_tool.yaml
  control-plane verify crm_tool.yaml --trust examples/aiaas
  control-plane verify crm_tool.yaml --key ed25519:zXy…=")]
pub(crate) struct Verify {
    /// The manifest files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The tree whose registries/trust/ says which keys count
    #[arg(long, value_name = "TREE", conflicts_with = "key")]
    trust: Option<PathBuf>,
    /// A public key that counts
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// agent or tool, where a file does not stand in a tree
    #[arg(long, value_parser = artifact_kind)]
    kind: Option<ArtifactKind>,
}

fn artifact_kind(text: &str) -> Result<ArtifactKind, String> {
    match text {
        "agent" => Ok(ArtifactKind::Agent),
        "tool" => Ok(ArtifactKind::Tool),
        _ => Err("use `agent` or `tool`".to_owned()),
    }
}

impl Keygen {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let key = random_key()?;
        create_private(&self.out, key.to_pem().as_bytes()).map_err(|error| {
            let failure = Failure::new(format!("cannot write `{}`: {error}", self.out.display()));
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    failure.next("choose another file: a private key is never overwritten")
                }
                _ => failure,
            }
        })?;
        let public = key.public();
        let value = json!({
            "private_key_file": self.out,
            "public_key": public.to_string(),
            "keyid": public.keyid().to_string(),
        });
        session.show(&value, |page| {
            page.fields(vec![
                ("private key", Some(self.out.display().to_string())),
                ("public key", Some(public.to_string())),
                ("key id", Some(public.keyid().to_string())),
            ]);
            page.gap();
            page.line(format!(
                "To trust it: control-plane trust add NAMESPACE --key {public}"
            ));
        })
    }
}

/// Creates a file that its owner alone may read, with `bytes` durable in it.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl Sign {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let key = read_key(&self.key)?;
        if self
            .file
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            return Err(Failure::new("only YAML manifests are signed in place")
                .next("rename the file to .yaml: JSON is YAML too")
                .into());
        }
        let text = Text::read(&self.file)?;
        let kind = kind_of(&self.file, self.kind, &text.value)?;
        let unsigned = text.without_signature();
        let parsed = Manifest::parse(kind, &unsigned).map_err(|found| mistakes(&text, &found))?;
        let now = SystemClock.now();
        let at = Timestamp(now.as_ms() - now.as_ms().rem_euclid(1_000));
        let manifest = parsed
            .with_created_at(at)
            .map_err(|found| mistakes(&text, &found))?;
        let kept = kept_signatures(&text.value, &manifest);
        let signature = key.sign(manifest.payload_type().as_str(), manifest.payload());
        let mut signatures: Vec<Signature> = kept
            .into_iter()
            .filter(|other| other.keyid != signature.keyid)
            .collect();
        signatures.push(signature);

        let signed = fill(&text, &manifest, &signatures);
        check(&self.file, &signed, kind, &manifest, &key.public())?;
        let value = json!({
            "file": self.file,
            "name": manifest.name(),
            "version": manifest.version().to_string(),
            "checksum_sha256": manifest.digest().hex(),
            "created_at": manifest.created_at(),
            "signature": signatures.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "keyid": key.public().keyid().to_string(),
            "written": self.write,
        });
        if self.write {
            replace(&self.file, &signed)?;
        } else if !session.is_json() {
            return print(&signed);
        }
        session.show(&value, |page| {
            page.line(format!(
                "signed {kind} {} in {}",
                manifest.id(),
                self.file.display()
            ));
            page.fields(vec![
                ("checksum", Some(manifest.digest().hex())),
                ("created at", manifest.created_at().map(|at| at.to_string())),
                ("key id", Some(key.public().keyid().to_string())),
                ("signatures", Some(signatures.len().to_string())),
            ]);
        })
    }
}

/// More than any private key has.
const KEY_BYTES_MAX: usize = 64 << 10;

fn read_key(file: &Path) -> Result<SigningKey> {
    let bytes = read_bounded(file, KEY_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    SigningKey::from_pem(&text).map_err(|error| {
        Failure::new(format!(
            "`{}` holds no private key: {error}",
            file.display()
        ))
        .code(Code::KeyInvalid)
        .next("make one with `control-plane keygen --out FILE`")
        .into()
    })
}

fn mistakes(text: &Text, found: &[plane_model::Violation]) -> anyhow::Error {
    let findings = found
        .iter()
        .map(|it| Located::new(text.place(&it.pointer), it));
    Failure::new(format!(
        "the manifest has {}",
        count(found.len(), "mistake")
    ))
    .findings(findings)
    .into()
}

/// Signatures by other keys over the same content.
fn kept_signatures(value: &Value, manifest: &Manifest) -> Vec<Signature> {
    let same =
        value.get("checksum_sha256").and_then(Value::as_str) == Some(&manifest.digest().hex());
    if !same {
        return Vec::new();
    }
    let texts: Vec<&str> = match value.get("signature") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn fill(text: &Text, manifest: &Manifest, signatures: &[Signature]) -> String {
    let quoted = |text: String| format!("\"{text}\"");
    let mut signed = edit::set(
        &text.content,
        "checksum_sha256",
        &quoted(manifest.digest().hex()),
        edit::Position::After("version"),
    );
    if text.value.get("created_at").is_none()
        && let Some(at) = manifest.created_at()
    {
        let after = edit::Position::After("checksum_sha256");
        signed = edit::set(&signed, "created_at", &quoted(at.to_string()), after);
    }
    let value = match signatures {
        [only] => quoted(only.to_string()),
        many => {
            let items: Vec<String> = many.iter().map(|it| format!("\n  - \"{it}\"")).collect();
            items.concat()
        }
    };
    edit::set(&signed, "signature", &value, edit::Position::End)
}

/// Reads the new text as anybody would, and checks that it says what was signed.
fn check(
    file: &Path,
    signed: &str,
    kind: ArtifactKind,
    manifest: &Manifest,
    key: &PublicKey,
) -> Result<()> {
    let cannot = |detail: String| {
        Failure::new(format!(
            "`{}` cannot be signed in place: {detail}",
            file.display()
        ))
        .next("write the manifest as a plain YAML mapping, one field a line")
    };
    let text = Text::parse(file, signed.to_owned()).map_err(|error| cannot(error.to_string()))?;
    let again = Manifest::parse(kind, &text.value).map_err(|found| {
        cannot(
            found
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
        )
    })?;
    let holds = again.signatures().iter().any(|signature| {
        key.verify(
            again.payload_type().as_str(),
            again.payload(),
            &signature.bytes,
        )
    });
    if again.digest() == manifest.digest() && holds {
        return Ok(());
    }
    Err(cannot("its fields stand where they cannot be found".to_owned()).into())
}

/// Puts new content in the place of a file, at once.
fn replace(file: &Path, content: &str) -> Result<()> {
    let cannot = || format!("cannot write `{}`", file.display());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".signing");
    let beside = file.with_file_name(name);
    fs::write(&beside, content).with_context(cannot)?;
    let permissions = fs::metadata(file).with_context(cannot)?.permissions();
    fs::set_permissions(&beside, permissions).with_context(cannot)?;
    fs::rename(&beside, file).with_context(cannot)
}

/// What `verify` found about one file.
#[derive(serde::Serialize)]
struct Verdict {
    file: PathBuf,
    version: String,
    digest: String,
    has_checksum: bool,
    /// `verified`; `unsigned`, where that is allowed; or `unchecked`, as nothing says which keys count.
    signature: &'static str,
    keys: Vec<String>,
    #[serde(skip)]
    signatures: usize,
}

impl Verdict {
    /// Says that nobody vouches for the manifest, as far as could be checked.
    fn unchecked(&self) -> Option<Located> {
        if self.signature != "unchecked" {
            return None;
        }
        let detail = match self.signatures {
            0 => "it has no signature, and nothing says whether it needs one".to_owned(),
            number => format!(
                "{} not checked: nothing says which keys count",
                if number == 1 {
                    "its signature is"
                } else {
                    "its signatures are"
                }
            ),
        };
        let next = "name the tree whose registries/trust/ says which keys count with `--trust TREE`, or a \
                    key with `--key KEY`";
        let found = Violation::new(Code::TrustMissing, "", detail).next(next);
        Some(Located::new(self.file.display().to_string(), &found))
    }
}

impl Verify {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let mut verdicts = Vec::new();
        let mut findings = Vec::new();
        for file in &self.files {
            match self.one(file)? {
                Ok(verdict) => {
                    findings.extend(verdict.unchecked());
                    verdicts.push(verdict);
                }
                Err(found) => findings.extend(found),
            }
        }
        if !verdicts.is_empty() {
            session.show(&verdicts, |page| {
                let rows: Vec<Vec<Cell>> = verdicts.iter().map(row).collect();
                page.table(
                    &["MANIFEST", "CHECKSUM", "SIGNATURE", "KEYS", "FILE"],
                    &rows,
                );
            })?;
        }
        if findings.is_empty() {
            return Ok(());
        }
        let what = format!(
            "{} not verified",
            match findings.len() {
                1 => "1 thing is".to_owned(),
                number => format!("{number} things are"),
            }
        );
        Err(Failure::new(what).findings(findings).into())
    }

    fn one(&self, file: &Path) -> Result<Result<Verdict, Vec<Located>>> {
        let text = Text::read(file)?;
        let kind = kind_of(file, self.kind, &text.value)?;
        let manifest = match Manifest::parse(kind, &text.value) {
            Ok(manifest) => manifest,
            Err(found) => {
                return Ok(Err(found
                    .iter()
                    .map(|it| Located::new(text.place(&it.pointer), it))
                    .collect()));
            }
        };
        let mut verdict = Verdict {
            file: file.to_owned(),
            version: manifest.id().to_string(),
            digest: manifest.digest().to_string(),
            has_checksum: text.value.get("checksum_sha256").is_some(),
            signature: "unchecked",
            keys: Vec::new(),
            signatures: manifest.signatures().len(),
        };
        let Some(trust) = self.trust(file, &manifest)? else {
            return Ok(Ok(verdict));
        };
        let now = SystemClock.now();
        let checked = verify_signatures(
            manifest.payload_type(),
            manifest.payload(),
            manifest.signatures(),
            &trust,
            now,
        );
        Ok(match checked {
            Ok(report) => {
                verdict.signature = if report.is_signed() {
                    "verified"
                } else {
                    "unsigned"
                };
                verdict.keys = report
                    .verified
                    .iter()
                    .map(|it| {
                        it.description
                            .clone()
                            .unwrap_or_else(|| it.keyid.to_string())
                    })
                    .collect();
                Ok(verdict)
            }
            Err(found) => Err(found
                .iter()
                .map(|it| Located::new(text.place(&it.pointer), it))
                .collect()),
        })
    }

    /// The keys that count for a manifest; none if nothing says which.
    fn trust(&self, file: &Path, manifest: &Manifest) -> Result<Option<Trust>> {
        if !self.key.is_empty() {
            let keys = self.key.iter().map(|key| TrustedKey {
                public_key: key.clone(),
                description: None,
                not_after: None,
                revoked_at: None,
            });
            return Ok(Some(Trust {
                signing: Signing::Required,
                threshold: 1,
                keys: keys.collect(),
            }));
        }
        let root = match &self.trust {
            Some(root) => root.clone(),
            None => match tree_of(file) {
                Some(root) => root,
                None => return Ok(None),
            },
        };
        let namespace = manifest.name().namespace();
        let tree = super::tree::read_trust(&root)?;
        let found = tree.documents.iter().find(|document| {
            document.key.kind() == Kind::Trust && document.key.name() == namespace.as_str()
        });
        match found {
            Some(document) => Ok(Some(
                serde_json::from_value(document.body.clone())
                    .with_context(|| format!("cannot read the trust of `{namespace}`"))?,
            )),
            None => Err(Failure::new(format!(
                "the tree `{}` has no trust for the namespace `{namespace}`",
                root.display()
            ))
            .code(Code::TrustMissing)
            .next(format!(
                "add registries/trust/{namespace}.yaml, or name a key with --key"
            ))
            .into()),
        }
    }
}

fn row(verdict: &Verdict) -> Vec<Cell> {
    let checksum = if verdict.has_checksum {
        Cell::new("right", Paint::Good)
    } else {
        Cell::new("missing", Paint::Warn)
    };
    let paint = if verdict.signature == "verified" {
        Paint::Good
    } else {
        Paint::Warn
    };
    let keys: Vec<String> = verdict
        .keys
        .iter()
        .map(|key| crate::output::shortened(key, 40))
        .collect();
    vec![
        Cell::new(&verdict.version, Paint::Bold),
        checksum,
        Cell::new(verdict.signature, paint),
        keys.join(", ").into(),
        verdict.file.display().into(),
    ]
}
