//! How a client is told where to read from, and who it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plane_model::{Code, Contract, Digest, EnvironmentName, Violation, limits};
use plane_registry::PublicKey;
use plane_state::CheckedContract;

use super::clock::{Clock, SystemClock};
use super::error::Error;
use super::event::{Event, Listener};
use super::memory::Memory;
use super::plane::ControlPlane;
use crate::authorities::{self, Authorities};

/// How long the first use waits for a view.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a server is asked that nothing can be followed of.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The settings of a client, one after the other.
///
/// What is not set is read from the environment variable named at each method by
/// [`ControlPlane::from_env`], and stays unset in [`ControlPlane::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) kind: Option<Kind>,
    pub(crate) environment: Option<String>,
    pub(crate) token: Token,
    /// The public key of the servers, as it was given and as it was read.
    pub(crate) server_key: Option<String>,
    pub(crate) told_key: Option<PublicKey>,
    /// The file of certificate authorities, and what it holds.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) authorities: Authorities,
    pub(crate) service: Service,
    pub(crate) tenants: Tenants,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) bundled: Option<PathBuf>,
    pub(crate) poll_interval: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) listener: Listener,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sdk: String,
    /// Whether servers are told nothing of this client.
    pub(crate) only_looks: bool,
    /// What the service relies on; none if that is nothing.
    pub(crate) contract: Option<Contract>,
    /// The same, ready to be held against views.
    pub(crate) checked: Option<CheckedContract>,
    pub(crate) contract_digest: Option<Digest>,
    /// The process in which the settings were made.
    pub(crate) made_in: u32,
}

/// Where views come from.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Memory(Arc<Memory>),
    Tree(PathBuf),
    Servers(Vec<String>),
}

/// Which tenants a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tenants {
    /// All that its token covers.
    #[default]
    Eager,
    /// Those that it is asked for: a first answer for a tenant waits until its part is fetched, and none is
    /// given where that is not possible.
    OnDemand {
        /// How many are held at once; the one that was not asked for the longest goes first.
        max: usize,
    },
}

impl Tenants {
    /// Holds tenants as they are asked for, a thousand of them at once.
    pub const ON_DEMAND: Self = Self::OnDemand { max: 1_000 };
}

impl std::str::FromStr for Tenants {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "eager" => Ok(Self::Eager),
            "on_demand" => Ok(Self::ON_DEMAND),
            _ => Err(Error::Settings {
                setting: "CONTROL_PLANE_TENANTS",
                detail: format!("`{text}` is neither `eager` nor `on_demand`"),
            }),
        }
    }
}

/// What proves who the client is.
#[derive(Clone, Default)]
pub(crate) enum Token {
    #[default]
    None,
    Text(String),
    /// Read anew for each connection, so that it can be replaced.
    File(PathBuf),
}

/// Who the client is, for those who look whether a revision has arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) instance: Option<String>,
    /// The machine.
    pub(crate) host: Option<String>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Text(_) | Self::File(_) => "given",
        })
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            kind: None,
            environment: None,
            token: Token::None,
            server_key: None,
            told_key: None,
            ca_file: None,
            authorities: Authorities::default(),
            service: Service::default(),
            tenants: Tenants::default(),
            state_dir: None,
            bundled: None,
            poll_interval: POLL_INTERVAL,
            start_timeout: START_TIMEOUT,
            listener: Listener::default(),
            clock: Arc::new(SystemClock::new()),
            sdk: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            only_looks: false,
            contract: None,
            checked: None,
            contract_digest: None,
            made_in: std::process::id(),
        }
    }
}

impl Builder {
    /// The settings of a client in memory.
    pub(crate) fn of(kind: Kind, environment: Option<EnvironmentName>) -> Self {
        Self {
            kind: Some(kind),
            environment: environment.map(|it| it.to_string()),
            ..Self::default()
        }
    }

    /// Reads the settings out of environment variables, as `read` knows them.
    pub(crate) fn from_variables(read: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let text = |setting: &'static str| match read(setting).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) if text.trim().is_empty() => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim().to_owned())),
            Some(Err(_)) => Err(Error::Settings {
                setting,
                detail: "it is not Unicode".to_owned(),
            }),
        };
        let path = |setting: &str| {
            let value = read(setting).filter(|it| !it.is_empty());
            value.map(PathBuf::from)
        };
        let mut builder = Self::default();
        if let Some(url) = text("CONTROL_PLANE_URL")? {
            builder = builder.url(&url);
        }
        builder.environment = text("CONTROL_PLANE_ENVIRONMENT")?;
        builder.token = match (
            text("CONTROL_PLANE_TOKEN")?,
            path("CONTROL_PLANE_TOKEN_FILE"),
        ) {
            (Some(token), _) => Token::Text(token),
            (None, Some(file)) => Token::File(file),
            (None, None) => Token::None,
        };
        builder.server_key = text("CONTROL_PLANE_SERVER_KEY")?;
        builder.ca_file = path(authorities::VARIABLE);
        builder.service = Service {
            name: text("CONTROL_PLANE_SERVICE")?.or(text("OTEL_SERVICE_NAME")?),
            version: text("CONTROL_PLANE_SERVICE_VERSION")?,
            instance: text("CONTROL_PLANE_INSTANCE")?,
            host: text("HOSTNAME")?,
        };
        if let Some(tenants) = text("CONTROL_PLANE_TENANTS")? {
            builder.tenants = tenants.parse()?;
        }
        builder.state_dir = path("CONTROL_PLANE_STATE_DIR");
        builder.bundled = path("CONTROL_PLANE_BUNDLED_TREE");
        Ok(builder)
    }

    /// Reads from here: a server, several with commas between that hold the same, or `file:TREE`
    /// (`CONTROL_PLANE_URL`).
    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        self.kind = Some(match url.strip_prefix("file:") {
            Some(tree) => Kind::Tree(PathBuf::from(tree.strip_prefix("//").unwrap_or(tree))),
            None => Kind::Servers(
                url.split(',')
                    .map(str::trim)
                    .filter(|url| !url.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
        });
        self
    }

    /// Reads a tree of files in place of a server (`CONTROL_PLANE_URL=file:TREE`).
    #[must_use]
    pub fn tree(mut self, root: impl Into<PathBuf>) -> Self {
        self.kind = Some(Kind::Tree(root.into()));
        self
    }

    /// Shows this token (`CONTROL_PLANE_TOKEN`).
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Token::Text(token.to_owned());
        self
    }

    /// Shows the token in this file, which is read for each connection, so that it can be replaced
    /// (`CONTROL_PLANE_TOKEN_FILE`).
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token = Token::File(file.into());
        self
    }

    /// Trusts what this public key signs, and the keys that it leads to by `control-plane server-key rotate`
    /// (`CONTROL_PLANE_SERVER_KEY`).
    ///
    /// Unless it is set, the first key that is met is trusted, and remembered in the state directory.
    #[must_use]
    pub fn server_key(mut self, key: &str) -> Self {
        self.server_key = Some(key.to_owned());
        self
    }

    /// Believes servers whose certificate the authorities in this file have signed, in PEM, and no others
    /// (`CONTROL_PLANE_CA_FILE`).
    ///
    /// Unless it is set, those count that sign for the web.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Reads this environment unless a call names another (`CONTROL_PLANE_ENVIRONMENT`).
    #[must_use]
    pub fn environment(mut self, name: &str) -> Self {
        self.environment = Some(name.to_owned());
        self
    }

    /// Says which service this is: layers of configuration select by it
    /// (`CONTROL_PLANE_SERVICE`, else `OTEL_SERVICE_NAME`).
    #[must_use]
    pub fn service(mut self, name: &str) -> Self {
        self.service.name = Some(name.to_owned());
        self
    }

    /// Says which version of the service this is (`CONTROL_PLANE_SERVICE_VERSION`).
    #[must_use]
    pub fn service_version(mut self, version: &str) -> Self {
        self.service.version = Some(version.to_owned());
        self
    }

    /// Says which of several processes of the service this is; host and process id unless it is
    /// set (`CONTROL_PLANE_INSTANCE`). A forked process adds its id to it.
    #[must_use]
    pub fn instance(mut self, name: &str) -> Self {
        self.service.instance = Some(name.to_owned());
        self
    }

    /// Holds all tenants that the token covers, or those that it is asked for (`CONTROL_PLANE_TENANTS`: `eager`,
    /// `on_demand`); all of them unless it is set.
    #[must_use]
    pub fn tenants(mut self, tenants: Tenants) -> Self {
        self.tenants = tenants;
        self
    }

    /// Keeps here what was served last, for a start while no server answers, also with another token
    /// (`CONTROL_PLANE_STATE_DIR`).
    ///
    /// Services that share a directory and see different tenants must have names: each name, each
    /// environment and each set of servers has a place of its own.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(dir.into());
        self
    }

    /// Serves this tree where no server answers and nothing was kept
    /// (`CONTROL_PLANE_BUNDLED_TREE`).
    #[must_use]
    pub fn bundled_tree(mut self, root: impl Into<PathBuf>) -> Self {
        self.bundled = Some(root.into());
        self
    }

    /// Asks this often where nothing can be followed; half a minute unless it is set.
    #[must_use]
    pub fn poll_interval(mut self, every: Duration) -> Self {
        self.poll_interval = every;
        self
    }

    /// Lets the first use wait this long for a view; five seconds unless it is set.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Tells this function of what happens beside the calls, in place of the log of `tracing`.
    ///
    /// It is called by a thread that keeps views fresh: it must not wait.
    #[must_use]
    pub fn on_event(mut self, listen: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// Declares what the service relies on: config documents by schema, flags by type, agents by
    /// version and schema.
    ///
    /// A revision that breaks it is not served for the documents that break it: the last good ones
    /// serve, or nothing if there are none. That is told as an event and to the server, which also
    /// says beforehand, in the plan of a change, which live instances would reject it.
    #[must_use]
    pub fn contract(mut self, contract: Contract) -> Self {
        self.contract = Some(contract).filter(|it| !it.is_empty());
        self
    }

    /// Says which SDK is built on this one, such as `python/0.1.0`.
    #[must_use]
    pub fn sdk(mut self, name: &str) -> Self {
        name.clone_into(&mut self.sdk);
        self
    }

    /// Tells servers neither what is held nor what is evaluated: for a program that looks, and serves nobody.
    #[must_use]
    pub fn only_looks(mut self) -> Self {
        self.only_looks = true;
        self
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.made_in = clock.process_id();
        self.clock = clock;
        self
    }

    /// Makes the client. Nothing is sent or started before its first use, and nothing read but the file of
    /// certificate authorities.
    ///
    /// # Errors
    /// [`Error::UrlMissing`] if nothing says where to read from, [`Error::Settings`] if a setting
    /// cannot be used, [`Error::Invalid`] if a schema of the contract is none.
    pub fn build(mut self) -> Result<ControlPlane, Error> {
        match &self.kind {
            None => return Err(Error::UrlMissing),
            Some(Kind::Servers(urls)) => {
                if urls.is_empty() {
                    return Err(Error::UrlMissing);
                }
                for url in urls {
                    check_url(url)?;
                }
            }
            Some(Kind::Tree(_) | Kind::Memory(_)) => {}
        }
        if let Token::Text(token) = &self.token {
            check_token("CONTROL_PLANE_TOKEN", token)?;
        }
        if let Some(key) = &self.server_key {
            let key = key
                .trim()
                .parse()
                .map_err(|error: plane_registry::keys::KeyError| Error::Settings {
                    setting: "CONTROL_PLANE_SERVER_KEY",
                    detail: format!("{error}; `control-plane server-key show` prints it"),
                })?;
            self.told_key = Some(key);
        }
        if let Some(file) = &self.ca_file {
            self.authorities = Authorities::read(file).map_err(|detail| Error::Settings {
                setting: authorities::VARIABLE,
                detail,
            })?;
        }
        if let Some(name) = &self.environment {
            EnvironmentName::new(name).map_err(|error| Error::Settings {
                setting: "CONTROL_PLANE_ENVIRONMENT",
                detail: error.to_string(),
            })?;
        }
        if let Some(contract) = &self.contract {
            self.checked = Some(CheckedContract::new(contract).map_err(Error::Invalid)?);
            self.contract_digest = Some(digest(contract)?);
        }
        Ok(ControlPlane::of(self))
    }
}

/// The digest of a contract that a server would take.
fn digest(contract: &Contract) -> Result<Digest, Error> {
    let invalid = |code, detail: String, next: &str| {
        Error::Invalid(vec![Violation::new(code, "", detail).next(next)])
    };
    let (digest, bytes) = contract.digest().map_err(|error| {
        let next = "write numbers that JSON can carry";
        invalid(Code::FieldInvalid, error.to_string(), next)
    })?;
    if bytes > limits::CONTRACT_BYTES_MAX {
        let detail = format!(
            "the contract has {bytes} bytes, and at most {}",
            limits::CONTRACT_BYTES_MAX
        );
        let next = "declare what the service reads, not whole documents";
        return Err(invalid(Code::LimitExceeded, detail, next));
    }
    Ok(digest)
}

fn check_url(url: &str) -> Result<(), Error> {
    let settings = crate::Settings {
        url: url.to_owned(),
        ..crate::Settings::default()
    };
    match crate::Client::new(settings) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Settings {
            setting: "CONTROL_PLANE_URL",
            detail: error.to_string(),
        }),
    }
}

/// Refuses what cannot be sent as a token.
pub(crate) fn check_token(setting: &'static str, token: &str) -> Result<(), Error> {
    if token.is_empty() || token.bytes().any(|byte| !(b'!'..=b'~').contains(&byte)) {
        return Err(Error::Settings {
            setting,
            detail: "the token is empty or has characters that no token has".to_owned(),
        });
    }
    Ok(())
}

impl Token {
    /// The token to show now.
    pub(crate) fn read(&self) -> Result<Option<String>, Error> {
        let file = match self {
            Self::None => return Ok(None),
            Self::Text(token) => return Ok(Some(token.clone())),
            Self::File(file) => file,
        };
        let setting = "CONTROL_PLANE_TOKEN_FILE";
        let text =
            std::fs::read_to_string(file).map_err(|error| unreadable(setting, file, &error))?;
        let token = text.trim();
        check_token(setting, token)?;
        Ok(Some(token.to_owned()))
    }
}

fn unreadable(setting: &'static str, file: &Path, error: &std::io::Error) -> Error {
    Error::Settings {
        setting,
        detail: format!("`{}` cannot be read: {error}", file.display()),
    }
}
