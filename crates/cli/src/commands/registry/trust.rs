//! `trust`: whose signatures count.

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_client::Condition;
use plane_model::documents::{Signing, Trust as Body, TrustedKey};
use plane_model::{DocumentKey, Kind, Namespace, Timestamp};
use plane_registry::PublicKey;

use super::super::document::Delete;
use super::super::{WriteArgs, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint, short_digest};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Trust {
    /// List the namespaces and their keys
    List(List),
    /// Trust a key for a namespace
    Add(Add),
    /// Trust a key no longer for a namespace
    Remove(Remove),
    /// Delete a namespace's trust, of which nothing is published
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane trust list")]
pub(crate) struct List {
    /// Read the past
    #[arg(long, value_name = "REVISION|TIME")]
    at: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A name without a namespace belongs to the namespace `default`.

Examples:
  control-plane trust add default --key ed25519:zXy…= \\
      --description 'release pipeline'
  control-plane trust add acme --key ed25519:aBc…= --key ed25519:dEf…= \\
      --threshold 2
  control-plane trust add lab --signing optional")]
pub(crate) struct Add {
    /// The namespace
    namespace: Namespace,
    /// A public key, as `keygen` prints it
    #[arg(long, value_name = "KEY", required_unless_present_any = ["threshold", "signing"])]
    key: Vec<PublicKeyText>,
    /// Whose the keys are
    #[arg(long, value_name = "TEXT", requires = "key")]
    description: Option<String>,
    /// When the keys end to sign anything new
    #[arg(long, value_name = "TIME", requires = "key")]
    not_after: Option<Timestamp>,
    /// How many different keys must have signed
    #[arg(long, value_name = "NUMBER")]
    threshold: Option<u32>,
    /// Whether manifests must be signed: required or optional
    #[arg(long, value_parser = signing)]
    signing: Option<Signing>,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Versions that only this key signed are not served any more. A key that is only to sign nothing new \
ends by `trust add --not-after`.

Examples:
  control-plane trust remove acme --key ed25519:aBc…= \\
      --reason 'the laptop is lost' --dry-run")]
pub(crate) struct Remove {
    /// The namespace
    namespace: Namespace,
    /// The public key
    #[arg(long, value_name = "KEY")]
    key: PublicKeyText,
    #[command(flatten)]
    write: WriteArgs,
}

/// A public key as text that was found to be one.
#[derive(Debug, Clone)]
struct PublicKeyText(PublicKey);

impl std::str::FromStr for PublicKeyText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|error: plane_registry::keys::KeyError| error.to_string())
    }
}

fn signing(text: &str) -> Result<Signing, String> {
    match text {
        "required" => Ok(Signing::Required),
        "optional" => Ok(Signing::Optional),
        _ => Err("use `required` or `optional`".to_owned()),
    }
}

impl Trust {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::List(command) => command.run(session),
            Self::Add(command) => command.run(session),
            Self::Remove(command) => command.run(session),
            Self::Delete(command) => command.run(Kind::Trust, session),
        }
    }
}

impl List {
    fn run(&self, session: &Session) -> Result<()> {
        let found = session
            .client()?
            .documents::<Body>(Kind::Trust, self.at.as_deref())?;
        session.show(&found, |page| {
            let mut rows: Vec<Vec<Cell>> = Vec::new();
            for it in &found {
                let rule = match it.body.signing {
                    Signing::Required => format!("{} of {}", it.body.threshold, it.body.keys.len()),
                    Signing::Optional => "optional".to_owned(),
                };
                if it.body.keys.is_empty() {
                    rows.push(vec![Cell::new(&it.name, Paint::Bold), rule.clone().into()]);
                }
                for key in &it.body.keys {
                    let keyid = key
                        .public_key
                        .parse::<PublicKey>()
                        .ok()
                        .map(|key| key.keyid());
                    let state = match (key.revoked_at, key.not_after) {
                        (Some(at), _) => {
                            Cell::new(format!("revoked {}", crate::output::time(at)), Paint::Error)
                        }
                        (None, Some(at)) => format!("until {}", crate::output::time(at)).into(),
                        (None, None) => "".into(),
                    };
                    rows.push(vec![
                        Cell::new(&it.name, Paint::Bold),
                        rule.clone().into(),
                        keyid.as_ref().map(short_digest).unwrap_or_default().into(),
                        (&key.public_key).into(),
                        state,
                        key.description.as_deref().unwrap_or_default().into(),
                    ]);
                }
            }
            page.table(
                &[
                    "NAMESPACE",
                    "SIGNING",
                    "KEY ID",
                    "PUBLIC KEY",
                    "STATE",
                    "DESCRIPTION",
                ],
                &rows,
            );
        })
    }
}

impl Remove {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let key = DocumentKey::trust(&self.namespace);
        let found = client.document::<Body>(&key, None)?;
        let mut body = found.body;
        let (public_key, before) = (self.key.0.to_string(), body.keys.len());
        body.keys.retain(|it| it.public_key != public_key);
        if body.keys.len() == before {
            let what = format!("`{}` does not trust {public_key}", self.namespace);
            let next = "`control-plane trust list` shows the keys";
            return Err(Failure::new(what).next(next).into());
        }
        let condition = Condition::Revision(found.revision);
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}

impl Add {
    fn run(&self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let key = DocumentKey::trust(&self.namespace);
        let found = client.find_document::<Body>(&key, None)?;
        let condition = found
            .as_ref()
            .map_or(Condition::Absent, |it| Condition::Revision(it.revision));
        let mut body = match found {
            Some(found) => found.body,
            None => Body {
                signing: Signing::Required,
                threshold: 1,
                keys: Vec::new(),
            },
        };
        for PublicKeyText(public) in &self.key {
            let public_key = public.to_string();
            if body.keys.iter().any(|key| key.public_key == public_key) {
                return Err(Failure::new(format!(
                    "`{}` trusts {public_key} already",
                    self.namespace
                ))
                .into());
            }
            body.keys.push(TrustedKey {
                public_key,
                description: self.description.clone(),
                not_after: self.not_after,
                revoked_at: None,
            });
        }
        if let Some(threshold) = self.threshold {
            body.threshold = threshold;
        }
        if let Some(signing) = self.signing {
            body.signing = signing;
        }
        let reply = client.put_document(&key, &body, condition, &self.write.to_write())?;
        show_commit(session, &reply)
    }
}
