//! Requests for views and streams, over the network or, in tests, by a script.

use std::io::Read as _;
use std::time::Duration;

use plane_api::{AckReply, AckRequest, KeysReply, Problem, UsageReply, UsageRequest, headers};
use plane_model::{EnvironmentName, TenantId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, StatusCode};

use crate::authorities::{Authorities, distrusted};
use crate::path::path;
use crate::sse::{EventDecoder, ServerEvent};

/// The largest view that is read, decoded.
const VIEW_BYTES_MAX: u64 = 1 << 30;
/// The largest event that is read; servers tell what is larger to fetch the view.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// The largest problem that is read.
const PROBLEM_BYTES_MAX: u64 = 1 << 20;
/// The largest list of keys that is read.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// How long an answer of a few bytes may take.
const SHORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing may come: three times as long as a stream is quiet.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a view may take as a whole, beside the time that a long poll waits.
const VIEW_TIMEOUT: Duration = Duration::from_mins(2);

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) environment: EnvironmentName,
    /// Whether views are asked for without the parts of tenants.
    pub(crate) is_on_demand: bool,
}

/// What a server answers who asks for a view.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// It is the one that is held.
    Unchanged { head: Option<String> },
    /// It is another.
    View {
        bytes: Vec<u8>,
        etag: Option<String>,
        /// The signed head, as it stands in the header.
        head: Option<String>,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) why: Why,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// Nothing could be sent.
    Unreachable(String),
    /// The connection was lost.
    Lost(String),
    /// It was asked, and nothing came for too long.
    Silent(String),
    /// The server says no.
    Refused(Box<Problem>),
    /// Something answered that is not this API.
    Foreign(String),
}

impl From<Why> for Failure {
    fn from(why: Why) -> Self {
        Self {
            why,
            retry_after: None,
        }
    }
}

/// Sends requests.
pub(crate) trait Transport: Send {
    /// Asks for the view; waits up to `wait` for another one than that of `etag`.
    fn view(&self, target: &Target, etag: Option<&str>, wait: Duration) -> Result<Answer, Failure>;

    /// Asks for the public keys that the server signs with.
    fn keys(&self, target: &Target) -> Result<KeysReply, Failure>;

    /// Opens the stream of what changed after the event `last_id`.
    fn stream(&self, target: &Target, last_id: &str) -> Result<Box<dyn Events>, Failure>;
}

/// Tells servers what this instance holds and does.
pub(crate) trait Tells: Send + Sync {
    /// Tells it within `timeout`.
    fn tell(
        &self,
        target: &Target,
        request: &AckRequest,
        timeout: Duration,
    ) -> Result<AckReply, Failure>;

    /// Tells how often what was evaluated, within `timeout`.
    fn count(
        &self,
        target: &Target,
        request: &UsageRequest,
        timeout: Duration,
    ) -> Result<UsageReply, Failure>;
}

/// Asks for the parts of tenants, one by one.
pub(crate) trait Parts: std::fmt::Debug + Send + Sync {
    /// Asks for a tenant's part of a view at a revision or a later one, within `timeout`.
    fn part(
        &self,
        target: &Target,
        tenant: &TenantId,
        revision: u64,
        timeout: Duration,
    ) -> Result<Vec<u8>, Failure>;
}

/// An open stream.
pub(crate) trait Events: Send {
    /// Waits for something to come, and reads the events that end in it.
    fn read(&mut self) -> Result<Vec<ServerEvent>, Failure>;
}

/// How long an answer is waited for.
#[derive(Debug, Clone, Copy, Default)]
struct Patience {
    /// As a whole; none for what never ends.
    whole: Option<Duration>,
    /// How long the server was asked to wait: so much longer nothing may come.
    wait: Duration,
}

impl Patience {
    fn of(whole: Duration) -> Self {
        Self {
            whole: Some(whole),
            wait: Duration::ZERO,
        }
    }
}

/// Sends requests over the network.
#[derive(Debug)]
pub(crate) struct Http {
    agent: ureq::Agent,
    /// How long nothing may come, beside the time that a request asks to wait.
    idle: Duration,
}

impl Http {
    pub(crate) fn new(authorities: &Authorities) -> Self {
        Self::patient(authorities, IDLE_TIMEOUT)
    }

    fn patient(authorities: &Authorities, idle: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .tls_config(authorities.tls())
            .user_agent(concat!("control-plane-rust/", env!("CARGO_PKG_VERSION")));
        Self {
            agent: config.build().into(),
            idle,
        }
    }

    /// What ends all requests at once.
    pub(crate) fn agent(&self) -> ureq::Agent {
        self.agent.clone()
    }

    fn get(
        &self,
        target: &Target,
        mut request: ureq::http::request::Builder,
        names: &[(&str, &str)],
        patience: Patience,
    ) -> Result<Response<ureq::Body>, Failure> {
        for (name, value) in names {
            request = request.header(*name, *value);
        }
        self.send(target, request.body(()), patience)
    }

    fn send<B: ureq::AsSendBody>(
        &self,
        target: &Target,
        request: Result<Request<B>, ureq::http::Error>,
        patience: Patience,
    ) -> Result<Response<ureq::Body>, Failure> {
        let request = request.map_err(|error| Why::Foreign(error.to_string()))?;
        let mut config = self
            .agent
            .configure_request(request)
            .timeout_global(patience.whole)
            .timeout_per_read(Some(self.idle + patience.wait));
        if is_loopback(&target.url) {
            // What runs on this machine is not reached through a proxy.
            config = config.proxy(None);
        }
        let response = self
            .agent
            .run(config.build())
            .map_err(|error| failed(&error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            Ok(response)
        } else {
            Err(refused(response))
        }
    }
}

impl Transport for Http {
    fn view(&self, target: &Target, etag: Option<&str>, wait: Duration) -> Result<Answer, Failure> {
        let mut names = vec![("accept", "application/json"), ("accept-encoding", "zstd")];
        names.extend(etag.map(|etag| ("if-none-match", etag)));
        let mut query = Vec::new();
        query.extend((!wait.is_zero()).then(|| format!("wait={}", wait.as_secs())));
        query.extend(target.is_on_demand.then(|| "on_demand=true".to_owned()));
        let rest = if query.is_empty() {
            "/view".to_owned()
        } else {
            format!("/view?{}", query.join("&"))
        };
        let request = begun(Method::GET, target, &in_environment(target, &rest));
        let patience = Patience {
            whole: Some(VIEW_TIMEOUT + wait),
            wait,
        };
        let mut response = self.get(target, request, &names, patience)?;
        let head = header(&response, headers::HEAD).map(str::to_owned);
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged { head });
        }
        let etag = header(&response, "etag").map(str::to_owned);
        let bytes = decoded(&mut response)?;
        Ok(Answer::View { bytes, etag, head })
    }

    fn keys(&self, target: &Target) -> Result<KeysReply, Failure> {
        let request = begun(Method::GET, target, &path(&["keys"]));
        let names = [("accept", "application/json")];
        let mut response = self.get(target, request, &names, Patience::of(SHORT_TIMEOUT))?;
        let reader = response.body_mut().as_reader().take(KEYS_BYTES_MAX);
        Ok(serde_json::from_reader(reader).map_err(|error| Why::Foreign(error.to_string()))?)
    }

    fn stream(&self, target: &Target, last_id: &str) -> Result<Box<dyn Events>, Failure> {
        let names = [("accept", "text/event-stream"), ("last-event-id", last_id)];
        let request = begun(Method::GET, target, &in_environment(target, "/stream"));
        let response = self.get(target, request, &names, Patience::default())?;
        let media = header(&response, "content-type").unwrap_or_default();
        if !media.starts_with("text/event-stream") {
            let detail = format!("the stream is answered with `{media}`");
            return Err(Why::Foreign(detail).into());
        }
        Ok(Box::new(HttpEvents {
            reader: response.into_body().into_reader(),
            decoder: EventDecoder::new(EVENT_BYTES_MAX).after(last_id),
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
        }))
    }
}

impl Parts for Http {
    fn part(
        &self,
        target: &Target,
        tenant: &TenantId,
        revision: u64,
        timeout: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let environment = target.environment.as_str();
        let path = path(&[
            "environments",
            environment,
            "view",
            "tenants",
            tenant.as_str(),
        ]);
        let request = begun(Method::GET, target, &path);
        let revision = revision.to_string();
        let names = [
            ("accept", "application/json"),
            (headers::MIN_REVISION, revision.as_str()),
        ];
        decoded(&mut self.get(target, request, &names, Patience::of(timeout))?)
    }
}

impl Tells for Http {
    fn tell(
        &self,
        target: &Target,
        request: &AckRequest,
        timeout: Duration,
    ) -> Result<AckReply, Failure> {
        self.post(target, "/acks", request, timeout)
    }

    fn count(
        &self,
        target: &Target,
        request: &UsageRequest,
        timeout: Duration,
    ) -> Result<UsageReply, Failure> {
        self.post(target, "/usage", request, timeout)
    }
}

impl Http {
    fn post<T: DeserializeOwned>(
        &self,
        target: &Target,
        rest: &str,
        request: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, Failure> {
        let foreign = |error: &dyn std::fmt::Display| Why::Foreign(error.to_string());
        let body = serde_json::to_vec(request).map_err(|error| foreign(&error))?;
        let begun = begun(Method::POST, target, &in_environment(target, rest))
            .header("content-type", "application/json");
        let mut response = self.send(target, begun.body(&*body), Patience::of(timeout))?;
        let reader = response.body_mut().as_reader().take(PROBLEM_BYTES_MAX);
        Ok(serde_json::from_reader(reader).map_err(|error| foreign(&error))?)
    }
}

/// A path below that of the environment.
fn in_environment(target: &Target, rest: &str) -> String {
    path(&["environments", target.environment.as_str()]) + rest
}

/// A request, as whom it is asked.
fn begun(method: Method, target: &Target, path: &str) -> ureq::http::request::Builder {
    let url = target.url.trim_end_matches('/');
    let request = Request::builder()
        .method(method)
        .uri(format!("{url}{path}"));
    match &target.token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

struct HttpEvents {
    reader: ureq::BodyReader<'static>,
    decoder: EventDecoder,
    buffer: Box<[u8]>,
}

impl Events for HttpEvents {
    fn read(&mut self) -> Result<Vec<ServerEvent>, Failure> {
        let read = self.reader.read(&mut self.buffer);
        let count = read.map_err(|error| match ureq::Error::from(error) {
            ureq::Error::Timeout(which) => Why::Silent(which.to_string()),
            error => Why::Lost(error.to_string()),
        })?;
        if count == 0 {
            return Err(Why::Lost("the server ended the stream".to_owned()).into());
        }
        let arrived = self.buffer.get(..count).unwrap_or_default();
        let events = self.decoder.push(arrived);
        Ok(events.map_err(|error| Why::Foreign(error.to_string()))?)
    }
}

/// Reads the body of a view or a part of one.
fn decoded(response: &mut Response<ureq::Body>) -> Result<Vec<u8>, Failure> {
    let is_zstd = header(response, "content-encoding") == Some("zstd");
    let mut bytes = Vec::new();
    let reader = response.body_mut().as_reader();
    let read = if is_zstd {
        let decoder = zstd::stream::read::Decoder::new(reader);
        decoder.and_then(|decoder| decoder.take(VIEW_BYTES_MAX + 1).read_to_end(&mut bytes))
    } else {
        reader.take(VIEW_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| Why::Lost(error.to_string()))?;
    if bytes.len() as u64 > VIEW_BYTES_MAX {
        return Err(Why::Foreign("the view is larger than any can be".to_owned()).into());
    }
    Ok(bytes)
}

fn header<'r>(response: &'r Response<ureq::Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn refused(mut response: Response<ureq::Body>) -> Failure {
    let retry_after = header(&response, "retry-after")
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let read = response
        .body_mut()
        .as_reader()
        .take(PROBLEM_BYTES_MAX)
        .read_to_end(&mut body);
    let why = match read
        .ok()
        .and_then(|_| serde_json::from_slice::<Problem>(&body).ok())
    {
        Some(problem) => Why::Refused(Box::new(problem)),
        None => Why::Foreign(format!("it answers with status {status} and no problem")),
    };
    Failure { why, retry_after }
}

fn failed(error: &ureq::Error) -> Failure {
    if let Some(detail) = distrusted(error) {
        return Why::Unreachable(detail).into();
    }
    let why = match error {
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => {
            Why::Unreachable("nothing listens there".to_owned())
        }
        ureq::Error::HostNotFound => Why::Unreachable("the host is not known".to_owned()),
        ureq::Error::ConnectionFailed => Why::Unreachable("the connection failed".to_owned()),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Why::Unreachable("connecting took too long".to_owned())
        }
        ureq::Error::Timeout(_) => Why::Silent(error.to_string()),
        ureq::Error::Io(_) => Why::Lost(error.to_string()),
        other => Why::Foreign(other.to_string()),
    };
    why.into()
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<ureq::http::Uri>().ok();
    uri.and_then(|uri| uri.host().map(crate::transport::is_loopback))
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::thread::JoinHandle;

    use super::*;

    /// How long nothing may come in tests.
    const IDLE: Duration = Duration::from_millis(200);

    const UNCHANGED: &str = "HTTP/1.1 304 Not Modified\r\n\r\n";
    const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

    /// A server that takes one request and says something at once, and `after` so long that nothing changed,
    /// unless the test is over by then.
    fn server(at_once: &'static str, after: Duration) -> (Target, Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (over, is_over) = channel();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]).unwrap();
            stream.write_all(at_once.as_bytes()).unwrap();
            if is_over.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                drop(stream.write_all(UNCHANGED.as_bytes()));
            }
        });
        let target = Target {
            url,
            token: None,
            environment: EnvironmentName::new("production").unwrap(),
            is_on_demand: false,
        };
        (target, over, serving)
    }

    #[test]
    fn a_long_poll_outlasts_the_time_in_which_nothing_may_come() {
        let (target, over, serving) = server("", 3 * IDLE);
        let http = Http::patient(&Authorities::default(), IDLE);
        let answer = http.view(&target, Some("\"5\""), Duration::from_mins(1));
        assert!(matches!(answer, Ok(Answer::Unchanged { .. })), "{answer:?}");
        drop(over);
        serving.join().unwrap();
    }

    #[test]
    fn a_stream_in_which_nothing_comes_is_told_from_one_that_was_lost() {
        for at_once in ["", STREAM] {
            let (target, over, serving) = server(at_once, Duration::from_mins(1));
            let http = Http::patient(&Authorities::default(), IDLE);
            let opened = http.stream(&target, "5.01234567");
            assert_eq!(opened.is_ok(), at_once == STREAM);
            let failure = opened.and_then(|mut it| it.read()).err().unwrap();
            assert!(matches!(failure.why, Why::Silent(_)), "{failure:?}");
            over.send(()).unwrap();
            serving.join().unwrap();
        }
    }
}
