//! How requests are sent, repeated and refused.

use std::time::Duration;

use plane_api::{Problem, headers};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Method, Request, Response};

use crate::authorities::{Authorities, distrusted};
use crate::error::Error;
use crate::path::encode;

/// The largest answer that is read.
const REPLY_BYTES_MAX: u64 = 512 << 20;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take as a whole; applying a large tree is the longest.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// Where the server is and who calls.
#[derive(Clone, Default)]
pub struct Settings {
    /// The address, such as `http://127.0.0.1:7400`.
    pub url: String,
    /// The token; none for the few endpoints that are open to everybody.
    pub token: Option<String>,
    /// What the caller is called in the server's log, such as `control-plane/0.1.0`.
    pub user_agent: String,
    /// Who vouches for the server's certificate.
    pub authorities: Authorities,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A client of one control plane.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// What goes with a request besides its path.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The JSON body.
    pub(crate) body: Option<Vec<u8>>,
}

impl Extra {
    pub(crate) fn json<T: Serialize + ?Sized>(body: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Settings {
            detail: format!("the request cannot be written as JSON: {error}"),
        })?;
        Ok(Self {
            headers: Vec::new(),
            body: Some(body),
        })
    }

    /// Makes the request a write that is committed once, however often it is sent.
    pub(crate) fn once(mut self) -> Self {
        self.headers
            .push((headers::IDEMPOTENCY_KEY, ulid::Ulid::generate().to_string()));
        self
    }

    pub(crate) fn reason(mut self, reason: Option<&str>) -> Self {
        if let Some(reason) = reason {
            let mut encoded = String::new();
            encode(reason, &mut encoded);
            self.headers.push((headers::REASON, encoded));
        }
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Client {
    /// Makes a client; nothing is sent before the first call.
    ///
    /// # Errors
    /// [`Error::Settings`] if the address or the token cannot be used.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let base = settings.url.trim_end_matches('/').to_owned();
        let refused = |what: &str| Error::Settings {
            detail: format!(
                "`{}` is not the address of a control plane: {what}; write it as \
                 `http://127.0.0.1:7400`",
                settings.url
            ),
        };
        let uri: ureq::http::Uri = base
            .parse()
            .map_err(|error| refused(&format!("it is not a URL ({error})")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refused("it does not begin with `http://` or `https://`"));
        }
        let host = uri.host().ok_or_else(|| refused("it names no host"))?;
        if uri.query().is_some() {
            return Err(refused("it has a query"));
        }
        if settings.token.as_deref().is_some_and(|token| {
            token.is_empty() || token.bytes().any(|byte| !(b'!'..=b'~').contains(&byte))
        }) {
            return Err(Error::Settings {
                detail: "the token is empty or has characters that no token has".to_owned(),
            });
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT))
            .tls_config(settings.authorities.tls())
            .user_agent(&settings.user_agent);
        if is_loopback(host) {
            // What runs on this machine is not reached through a proxy.
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().into(),
            base,
            token: settings.token,
        })
    }

    /// The address that is called.
    pub fn url(&self) -> &str {
        &self.base
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.call(&Method::GET, path, &Extra::default())
    }

    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        extra: &Extra,
    ) -> Result<T, Error> {
        let (status, body) = match self.send(method, path, extra) {
            // The same request again, with the same idempotency key: at most one commit.
            Err(Error::Lost { .. }) => self.send(method, path, extra)?,
            other => other?,
        };
        self.read(status, &body)
    }

    fn send(&self, method: &Method, path: &str, extra: &Extra) -> Result<(u16, Vec<u8>), Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("accept", "application/json, application/problem+json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &extra.headers {
            request = request.header(*name, value);
        }
        let sent = match &extra.body {
            Some(body) => request
                .header("content-type", "application/json")
                .body(body.as_slice())
                .map_err(|error| unusable(&error))
                .map(|request| self.agent.run(request)),
            None => request
                .body(())
                .map_err(|error| unusable(&error))
                .map(|request| self.agent.run(request)),
        }?;
        let mut response = sent.map_err(|error| self.failed(&error))?;
        let body = read_body(&mut response).map_err(|error| self.failed(&error))?;
        Ok((response.status().as_u16(), body))
    }

    fn read<T: DeserializeOwned>(&self, status: u16, body: &[u8]) -> Result<T, Error> {
        let foreign = |detail: String| Error::Foreign {
            url: self.base.clone(),
            detail,
        };
        if (200..300).contains(&status) {
            return serde_json::from_slice(body)
                .map_err(|error| foreign(format!("its answer cannot be read: {error}")));
        }
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(_) => Err(foreign(format!(
                "it answered with status {status} and no problem"
            ))),
        }
    }

    fn failed(&self, error: &ureq::Error) -> Error {
        let url = self.base.clone();
        let unreachable = |detail: &str| Error::Unreachable {
            url: self.base.clone(),
            detail: detail.to_owned(),
        };
        if let Some(detail) = distrusted(error) {
            return unreachable(&detail);
        }
        match error {
            ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
                unreachable("nothing listens there")
            }
            ureq::Error::Io(cause) => Error::Lost {
                url,
                detail: cause.to_string(),
            },
            ureq::Error::HostNotFound => unreachable("the host is not known"),
            ureq::Error::ConnectionFailed => unreachable("the connection failed"),
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                unreachable("connecting took too long")
            }
            ureq::Error::Timeout(_) => Error::Lost {
                url,
                detail: format!("no answer within {} seconds", CALL_TIMEOUT.as_secs()),
            },
            other => Error::Foreign {
                url,
                detail: other.to_string(),
            },
        }
    }

    /// Reads a document that this crate has no type for, such as the `OpenAPI` document.
    ///
    /// # Errors
    /// As every call.
    pub fn read_path(&self, path: &str) -> Result<Value, Error> {
        self.get(path)
    }
}

fn unusable(error: &ureq::http::Error) -> Error {
    Error::Settings {
        detail: format!("the request cannot be sent: {error}"),
    }
}

fn read_body(response: &mut Response<ureq::Body>) -> Result<Vec<u8>, ureq::Error> {
    response
        .body_mut()
        .with_config()
        .limit(REPLY_BYTES_MAX)
        .read_to_vec()
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
