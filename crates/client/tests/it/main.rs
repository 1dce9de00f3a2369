//! What the client sends, and what it makes of what it gets, against a server that does as told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use plane_client::{Client, Condition, Error, Settings, Write};
use plane_model::{DocumentKey, Kind};
use serde_json::{Value, json};

/// What a connection is answered with; without an answer it is closed after the request.
type Answer = Option<(u16, &'static str, String)>;

/// Answers one connection after the other, and gives the requests that came.
fn serve(answers: Vec<Answer>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        answers
            .into_iter()
            .map(|answer| {
                let (stream, _) = listener.accept().unwrap();
                let request = read_request(&stream);
                if let Some((status, media_type, body)) = answer {
                    let mut stream = stream;
                    write!(
                        stream,
                        "HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                        body.len()
                    )
                    .unwrap();
                }
                request
            })
            .collect()
    });
    (url, thread)
}

fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        request.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    request.push_str(std::str::from_utf8(&body).unwrap());
    request
}

fn client(url: &str) -> Client {
    let token = Some("cp_secret".to_owned());
    Client::new(Settings {
        url: url.to_owned(),
        token,
        user_agent: "test".to_owned(),
        ..Settings::default()
    })
    .unwrap()
}

fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn committed() -> (u16, &'static str, String) {
    let digest = format!("sha256:{}", "0".repeat(64));
    let body = json!({
        "revision": 4, "hash": digest, "at": "2026-01-01T00:00:00Z", "changed": true, "repeated": false,
        "plan": { "revision": 3, "changes": [], "environments": [], "tenants": [] }
    });
    (200, "application/json", body.to_string())
}

#[test]
fn a_write_that_lost_its_connection_is_sent_once_more_with_the_same_key() {
    let (url, requests) = serve(vec![None, Some(committed())]);
    let key = DocumentKey::new(Kind::Tenant, "", "a:b").unwrap();
    let write = Write {
        reason: Some("été".to_owned()),
        dry_run: false,
        ..Write::default()
    };
    let reply = client(&url)
        .put_document(
            &key,
            &json!({"plan": "free"}),
            Condition::Revision(3),
            &write,
        )
        .unwrap();
    assert_eq!(reply.receipt().unwrap().revision, 4);
    let requests = requests.join().unwrap();
    let [first, second] = requests.as_slice() else {
        panic!("two requests, not {requests:?}")
    };
    assert_eq!(first, second);
    assert!(
        first.starts_with("PUT /v1/tenants/a%3Ab HTTP/1.1\r\n"),
        "{first}"
    );
    assert_eq!(header(first, "idempotency-key").unwrap().len(), 26);
    assert_eq!(header(first, "if-match"), Some("\"3\""));
    assert_eq!(header(first, "control-plane-reason"), Some("%C3%A9t%C3%A9"));
    assert_eq!(header(first, "authorization"), Some("Bearer cp_secret"));
    assert!(first.ends_with("{\"plan\":\"free\"}"), "{first}");
}

#[test]
fn a_write_that_is_lost_twice_says_that_its_outcome_is_unknown() {
    let (url, requests) = serve(vec![None, None]);
    let key = DocumentKey::new(Kind::Tenant, "", "t").unwrap();
    let lost = client(&url).delete_document(&key, Condition::None, &Write::default());
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
    assert_eq!(requests.join().unwrap().len(), 2);
}

#[test]
fn a_problem_is_an_error_with_its_code_and_what_to_do() {
    let body = json!({
        "type": "t", "title": "t", "status": 404, "code": "OF_A_LATER_VERSION", "detail": "gone",
        "next": "look elsewhere", "retryable": false
    });
    let (url, requests) = serve(vec![Some((
        404,
        "application/problem+json",
        body.to_string(),
    ))]);
    let error = client(&url).whoami().unwrap_err();
    assert_eq!(error.problem().unwrap().code, "OF_A_LATER_VERSION");
    assert_eq!(
        (error.to_string(), error.next()),
        ("gone".to_owned(), Some("look elsewhere".to_owned()))
    );
    requests.join().unwrap();
}

#[test]
fn all_pages_of_a_list_are_read() {
    let page = |name: &str, next: Option<&str>| {
        let body = json!({
            "items": [{ "document": name, "has_schema": false, "layers": 1 }],
            "next_cursor": next, "revision": 1
        });
        Some((200, "application/json", body.to_string()))
    };
    let (url, requests) = serve(vec![page("a", Some("c/1")), page("b", None)]);
    let found = client(&url).config_documents(Some("7")).unwrap();
    let names: Vec<&str> = found.iter().map(|it| it.document.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let requests = requests.join().unwrap();
    assert!(
        requests[0].starts_with("GET /v1/config?at=7&limit=1000 "),
        "{}",
        requests[0]
    );
    assert!(
        requests[1].starts_with("GET /v1/config?at=7&limit=1000&cursor=c%2F1 "),
        "{}",
        requests[1]
    );
}

#[test]
fn an_answer_of_something_else_names_the_address() {
    for (status, body) in [(200, "<html>"), (502, "<html>"), (302, "")] {
        let (url, requests) = serve(vec![Some((status, "text/html", body.to_owned()))]);
        let error = client(&url).whoami().unwrap_err();
        assert!(
            matches!(error, Error::Foreign { .. }),
            "{status}: {error:?}"
        );
        assert!(error.to_string().contains(&url), "{error}");
        requests.join().unwrap();
    }
}

#[test]
fn who_cannot_be_reached_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = client(&url)
        .read_path("/healthz")
        .map(|_: Value| ())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { detail, .. } if detail == "nothing listens there")
    );
    assert!(error.next().unwrap().contains("control-plane serve"));
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let refused = |url: &str, token: Option<&str>| {
        let settings = Settings {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            ..Settings::default()
        };
        Client::new(settings).unwrap_err().to_string()
    };
    assert!(refused("127.0.0.1:7400", None).contains("http://127.0.0.1:7400"));
    assert!(refused("ftp://x", None).contains("does not begin with"));
    assert!(refused("http://x/?a=1", None).contains("query"));
    assert!(refused("http://x", Some("a b")).contains("token"));
    assert!(refused("http://x", Some("")).contains("token"));
}

#[test]
fn the_token_is_not_in_what_is_printed_for_debugging() {
    assert!(!format!("{:?}", client("http://x")).contains("cp_secret"));
}
