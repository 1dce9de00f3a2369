//! What must never be in a log, whatever is asked and however much is logged.

use crate::http::Connection;
use crate::support::Server;

#[test]
fn no_token_and_nothing_of_a_body_is_in_the_log_at_any_level() {
    let environment = vec![("RUST_LOG".to_owned(), "trace".to_owned())];
    let server = Server::start_with(tempfile::tempdir().unwrap(), false, environment);
    let token = std::fs::read_to_string(server.path("data/admin-token")).unwrap();
    let token = token.trim();
    let mut admin = Connection::open(&server.url, token).unwrap();
    let made = r#"{"principal":"svc","kind":"service","role":"viewer"}"#;
    let made = admin.ask("POST", "/v1/tokens", "", made).unwrap().body;
    let second = made["token"].as_str().unwrap().to_owned();
    let asked = [
        (
            "PUT",
            "/v1/tenants/marked-a",
            r#"{"labels":{"note":"marked-b"}}"#,
            200,
        ),
        ("PUT", "/v1/flags/marked-c", r#"{"type":"marked-d"}"#, 422),
        ("PUT", "/v1/flags/x", r#"{"marked-e":"#, 400),
        ("GET", "/v1/flags/marked-f?marked-g=marked-h", "", 400),
        ("GET", "/marked-i", "", 404),
        (
            "POST",
            "/v1/tokens",
            r#"{"principal":"marked-j","kind":"marked-k"}"#,
            422,
        ),
        (
            "POST",
            "/v1/environments/marked-l/evaluate",
            r#"{"context":{"user":"marked-m"}}"#,
            404,
        ),
    ];
    for (method, path, body, status) in asked {
        let headers = "cookie: marked-n\r\n";
        let reply = admin.ask(method, path, headers, body).unwrap();
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
    }
    for token in ["cp_marked-o", "marked-p", second.as_str()] {
        let mut other = Connection::open(&server.url, token).unwrap();
        let status = other.get("/v1/whoami").unwrap().status;
        assert_eq!(status, if token == second { 200 } else { 401 });
    }
    let log = server.log();
    assert!(log.lines().filter(|line| line.contains("status=")).count() > asked.len());
    for secret in [token, &second, "marked-"] {
        let found = log.lines().find(|line| line.contains(secret));
        assert_eq!(found, None);
    }
}
