//! `token` and `whoami`: who may do what.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use plane_api::TokenRequest;
use plane_model::documents::{Allowed, Role, TokenKind};
use plane_model::{EnvironmentName, PrincipalId, TenantId, Timestamp, TokenId};
use serde_json::{Value, json};

use super::serve::start;
use super::{WriteArgs, log, show_commit};
use crate::failure::Failure;
use crate::output::{Cell, Paint, inline};
use crate::session::{Session, note};

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Create a token; its text is shown once
    Create(Create),
    /// List the tokens, without their secrets
    List,
    /// Withdraw a token, at once
    Revoke(Revoke),
    /// Make a new admin token where all are lost, on the data directory of a stopped server
    Recover(Recover),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The token goes to standard output, alone, so that it can be put into a file. It is stored only as \
a digest and cannot be shown again.

Examples:
  control-plane token create --principal chat-service --kind service \\
      --role viewer --environments production > chat-service.token
  control-plane token create --principal ana --kind person --role editor \\
      --expires 2027-01-01T00:00:00Z")]
pub(crate) struct Create {
    /// Who will act with it
    #[arg(long, value_name = "ID")]
    principal: PrincipalId,
    /// What uses it: person, service, or client (a browser or device, which gets evaluated flags only)
    #[arg(long, value_parser = token_kind)]
    kind: TokenKind,
    /// What it may do: viewer, approver, editor, releaser or admin; without it, what the role
    /// bindings of the principal say
    #[arg(long, value_parser = role)]
    role: Option<Role>,
    /// Where; everywhere without it
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    environments: Vec<EnvironmentName>,
    /// For which tenants; for all without it
    #[arg(long, value_delimiter = ',', value_name = "ID,…")]
    tenants: Vec<TenantId>,
    /// When it stops working, such as 2027-01-01T00:00:00Z; never without it
    #[arg(long, value_name = "TIME")]
    expires: Option<Timestamp>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  control-plane token revoke 01JZ8K3S5QK2V8N0T3W1F7D9AB \\
      --reason 'the laptop is lost'")]
pub(crate) struct Revoke {
    /// The token's id, as `token list` shows it
    id: TokenId,
    #[command(flatten)]
    write: WriteArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The new token goes to DATA/admin-token, which only its owner can read, in place of the one that is \
there. Tokens that work go on working. The log keeps that it was made so, when and why.

Examples:
  control-plane token recover --data /var/lib/control-plane \\
      --reason 'the last admin left'")]
pub(crate) struct Recover {
    /// The data directory of a server that is stopped
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Why, for those who read the log later
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn token_kind(text: &str) -> Result<TokenKind, String> {
    match text {
        "person" => Ok(TokenKind::Person),
        "service" => Ok(TokenKind::Service),
        "client" => Ok(TokenKind::Client),
        _ => Err("use `person`, `service` or `client`".to_owned()),
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL
        .iter()
        .copied()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| {
            let all: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
            format!("use one of {}", all.join(", "))
        })
}

fn allowed<T: Clone>(list: &[T]) -> Allowed<T>
where
    Allowed<T>: Default,
{
    if list.is_empty() {
        Allowed::default()
    } else {
        Allowed::Only(list.to_vec())
    }
}

impl Token {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match self {
            Self::Create(command) => command.run(session),
            Self::List => list(session),
            Self::Revoke(command) => {
                let write = command.write.to_write();
                let reply = session.client()?.revoke_token(&command.id, &write)?;
                show_commit(session, &reply)
            }
            Self::Recover(command) => log::runtime()?.block_on(command.run(session)),
        }
    }
}

impl Recover {
    async fn run(&self, session: &Session) -> Result<()> {
        if self.reason.trim().is_empty() {
            let next = "say in --reason how the admin tokens were lost";
            return Err(Failure::new("the reason is empty").next(next).into());
        }
        let node = start::node_on(log::open(&self.data)?, &self.data).await?;
        let file = start::recovered_token(&node, &self.data, &self.reason).await;
        node.shutdown().await;
        let revision = node.snapshot().revision();
        let file = file?;
        let value = json!({ "file": file, "revision": revision });
        session.show(&value, |page| {
            page.line(format!(
                "revision {revision}: a new admin token is in `{}`",
                file.display()
            ));
        })
    }
}

impl Create {
    fn run(&self, session: &Session) -> Result<()> {
        let request = TokenRequest {
            principal: self.principal.clone(),
            kind: self.kind,
            role: self.role,
            environments: allowed(&self.environments),
            tenants: allowed(&self.tenants),
            expires_at: self.expires,
            description: self.description.clone(),
        };
        let write = plane_client::Write::default();
        let reply = session.client()?.create_token(&request, &write)?;
        if !session.is_json() {
            note(&format!(
                "token {} for {}; it is not shown again:",
                reply.id, self.principal
            ));
        }
        session.show(&reply, |page| page.line(&reply.token))
    }
}

fn list(session: &Session) -> Result<()> {
    let tokens = session.client()?.tokens()?;
    session.show(&tokens, |page| {
        let rows: Vec<Vec<Cell>> = tokens
            .iter()
            .map(|token| {
                let field = |name: &str| token.body.get(name).map(words).unwrap_or_default();
                vec![
                    Cell::new(&token.name, Paint::Bold),
                    field("principal").into(),
                    field("kind").into(),
                    field("role").into(),
                    field("environments").into(),
                    field("tenants").into(),
                    field("expires_at").into(),
                    field("description").into(),
                ]
            })
            .collect();
        let headers = [
            "ID",
            "PRINCIPAL",
            "KIND",
            "ROLE",
            "ENVIRONMENTS",
            "TENANTS",
            "EXPIRES",
            "DESCRIPTION",
        ];
        page.table(&headers, &rows);
    })
}

/// A name or a list of names in one line.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        other => inline(other),
    }
}

/// Shows who the caller is.
pub(crate) fn whoami(session: &Session) -> Result<()> {
    let whoami = session.client()?.whoami()?;
    session.show(&whoami, |page| {
        let environments: Vec<&str> = whoami
            .environments
            .iter()
            .map(EnvironmentName::as_str)
            .collect();
        let tenants = match (&whoami.tenant, whoami.all_tenants) {
            (Some(tenant), _) => tenant.to_string(),
            (None, true) => "all".to_owned(),
            (None, false) => "some".to_owned(),
        };
        page.fields(vec![
            ("principal", Some(whoami.principal.to_string())),
            ("token", whoami.token.as_ref().map(ToString::to_string)),
            ("role", whoami.role.map(|role| role.as_str().to_owned())),
            ("environments", Some(environments.join(", "))),
            ("tenants", Some(tenants)),
        ]);
    })
}
