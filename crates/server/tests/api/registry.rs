use serde_json::{Value, json};

use crate::harness::Server;

pub(crate) fn tool(version: &str) -> Value {
    json!({
        "name": "crm_tool",
        "version": version,
        "created_at": "2026-01-02T00:00:00Z",
        "owner": "platform-team",
        "metadata": {
            "description": "Customer records",
            "category": "data",
            "inputs_schema": { "type": "object" },
            "timeout_ms": 5000,
        },
    })
}

pub(crate) fn agent(version: &str) -> Value {
    json!({
        "name": "support",
        "version": version,
        "created_at": "2026-01-02T00:00:00Z",
        "owner": "team-cx",
        "metadata": {
            "description": "Answers customers",
            "capabilities": ["faq_handling"],
            "temperature": 0.7,
            "model": "large",
            "tools": ["crm_tool"],
            "system_prompt": "You help.",
        },
    })
}

impl Server {
    /// A platform with an agent, its tool and a channel in production.
    pub(crate) async fn given_an_agent(&self) {
        self.given_a_platform().await;
        let trust = json!({ "signing": "optional" });
        self.put("/v1/trust/default", trust).await.ok();
        self.post("/v1/tools", tool("1.2.0")).await.ok();
        self.post("/v1/agents", agent("1.0.0")).await.ok();
        let channel = json!({ "default": { "version": "1.0.0" } });
        self.put("/v1/environments/production/channels/support", channel)
            .await
            .ok();
    }
}

#[tokio::test]
async fn a_manifest_is_published_once_and_read_back_whole() {
    let server = Server::start().await;
    server
        .put("/v1/trust/default", json!({ "signing": "optional" }))
        .await
        .ok();
    let planned = server
        .post("/v1/tools?dry_run=true", tool("1.2.0"))
        .await
        .ok();
    let published = server.post("/v1/tools", tool("1.2.0")).await.ok();
    assert_eq!(planned["digest"], published["digest"]);
    assert_eq!(
        (&published["name"], &published["version"]),
        (&json!("crm_tool"), &json!("1.2.0"))
    );
    let again = server
        .put("/v1/tools/crm_tool/versions/1.2.0", tool("1.2.0"))
        .await
        .ok();
    assert_eq!(
        (&again["changed"], &again["digest"]),
        (&json!(false), &published["digest"])
    );

    let read = server.get("/v1/tools/crm_tool/versions/1.2.0").await.ok();
    assert_eq!(read["digest"], published["digest"]);
    assert_eq!(read["signature"]["state"], "unsigned");
    assert_eq!(read["status"]["status"], "active");
    let checksum = read["manifest"]["checksum_sha256"].as_str().unwrap();
    assert_eq!(
        format!("sha256:{checksum}"),
        read["digest"].as_str().unwrap()
    );
    assert_eq!(read["manifest"]["metadata"]["timeout_ms"], 5000);
    // What was read can be published again as it is.
    server
        .post("/v1/tools", read["manifest"].clone())
        .await
        .ok();

    let mut other = tool("1.2.0");
    other["metadata"]["timeout_ms"] = json!(1);
    server
        .post("/v1/tools", other)
        .await
        .problem(409, "VERSION_EXISTS");
    let elsewhere = server
        .put("/v1/tools/crm_tool/versions/2.0.0", tool("1.2.0"))
        .await;
    elsewhere.problem(422, "NAME_INVALID");
    let delete = server
        .call("DELETE", "/v1/tools/crm_tool/versions/1.2.0")
        .send()
        .await;
    assert_eq!(delete.header("allow"), "GET, PUT");
    delete.problem(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn findings_about_a_manifest_point_into_it() {
    let server = Server::start().await;
    server
        .put("/v1/trust/default", json!({ "signing": "optional" }))
        .await
        .ok();
    let mut wrong = agent("1.0.0");
    wrong["metadata"]["temperature"] = json!(9);
    let problem = server.post("/v1/agents", wrong).await.json();
    assert_eq!(
        problem["errors"][0]["pointer"], "/metadata/temperature",
        "{problem}"
    );
    let problem = server.post("/v1/agents", agent("1.0.0")).await;
    let problem = problem.problem(422, "DEPENDENCY_UNSATISFIED");
    let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
    assert!(pointer.starts_with("/metadata/tools"), "{problem}");
}

#[tokio::test]
async fn agents_and_tools_are_found_by_what_their_manifests_say() {
    let server = Server::start().await;
    server.given_an_agent().await;
    server.post("/v1/tools", tool("1.3.0")).await.ok();
    let names = |path: &'static str| async {
        let list = server.get(path).await.ok();
        let items = list["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("/v1/agents").await, ["support"]);
    assert_eq!(names("/v1/agents?q=ANSWERS").await, ["support"]);
    assert_eq!(
        names("/v1/agents?capability=faq_handling").await,
        ["support"]
    );
    assert_eq!(
        names("/v1/agents?capability=billing").await,
        Vec::<String>::new()
    );
    assert_eq!(
        names("/v1/tools?category=data&owner=platform-team").await,
        ["crm_tool"]
    );
    assert_eq!(
        names("/v1/tools?category=other").await,
        Vec::<String>::new()
    );
    assert_eq!(
        names("/v1/tools?status=deprecated").await,
        Vec::<String>::new()
    );
    server
        .get("/v1/tools?status=odd")
        .await
        .problem(400, "REQUEST_INVALID");

    let versions = server.get("/v1/tools/crm_tool/versions").await.ok();
    let numbers: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["version"].clone())
        .collect();
    assert_eq!(numbers, ["1.3.0", "1.2.0"]);
    let page = server.get("/v1/tools/crm_tool/versions?limit=1").await.ok();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = server
        .get(&format!("/v1/tools/crm_tool/versions?cursor={cursor}"))
        .await
        .ok();
    assert_eq!(rest["items"][0]["version"], "1.2.0");
    server
        .get("/v1/tools/none/versions")
        .await
        .problem(404, "VERSION_NOT_FOUND");
    server
        .get("/v1/tools/crm_tool/versions/9.9.9")
        .await
        .problem(404, "VERSION_NOT_FOUND");
    server
        .get("/v1/tools/crm_tool/versions/latest")
        .await
        .problem(422, "VERSION_INVALID");
}

#[tokio::test]
async fn an_agent_version_comes_with_its_lock() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let read = server.get("/v1/agents/support/versions/1.0.0").await.ok();
    assert_eq!(read["lock"]["tools"][0]["name"], "crm_tool");
    assert_eq!(read["lock"]["tools"][0]["version"], "1.2.0");
    assert!(read["lock_digest"].as_str().unwrap().starts_with("sha256:"));
}

#[tokio::test]
async fn a_status_governs_a_version_and_is_warned_of_and_counted() {
    let server = Server::start().await;
    server.given_an_agent().await;
    let status = json!({ "status": "deprecated", "message": "use 2.0.0" });
    server
        .put("/v1/agents/support/versions/1.0.0/status", status)
        .await
        .ok();
    let read = server.get("/v1/agents/support/versions/1.0.0/status").await;
    let etag = read.header("etag").to_owned();
    assert_eq!(read.ok()["body"]["status"], "deprecated");
    let resolved = server
        .get("/v1/environments/production/agents/support/resolve?tenant=acme")
        .await
        .ok();
    assert_eq!(resolved["warnings"][0]["subject"], "agent:support@1.0.0");
    let metrics = server.bare("GET", "/metrics").send().await;
    let text = String::from_utf8(metrics.bytes.to_vec()).unwrap();
    let line = "control_plane_asset_deprecated_uses_total{kind=\"agent\",asset=\"support\",version=\"1.0.0\"} 1";
    assert!(text.contains(line), "{text}");
    assert!(
        text.contains("asset=\"support\",version=\"1.0.0\",lifecycle=\"deprecated\"} 2"),
        "{text}"
    );

    let revoked = json!({ "status": "revoked", "message": "leaks" });
    let call = server.call("PUT", "/v1/agents/support/versions/1.0.0/status");
    call.header("if-match", &etag)
        .json(&revoked)
        .send()
        .await
        .ok();
    let resolve = server
        .get("/v1/environments/production/agents/support/resolve")
        .await;
    resolve.problem(409, "VERSION_REVOKED");
}

#[tokio::test]
async fn names_with_a_namespace_are_encoded_in_paths() {
    let server = Server::start().await;
    server
        .put("/v1/trust/acme", json!({ "signing": "optional" }))
        .await
        .ok();
    let mut manifest = tool("1.0.0");
    manifest["name"] = json!("acme/crm_tool");
    server
        .put("/v1/tools/acme%2Fcrm_tool/versions/1.0.0", manifest)
        .await
        .ok();
    let read = server
        .get("/v1/tools/acme%2Fcrm_tool/versions/1.0.0")
        .await
        .ok();
    assert_eq!(read["name"], "acme/crm_tool");
    let tree = server.get("/v1/trees").await.ok();
    let found = tree["documents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["kind"] == "tool");
    assert!(found.unwrap()["body"]["checksum_sha256"].is_string());
}
