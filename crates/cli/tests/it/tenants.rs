//! Services that hold tenants as they are asked for, beside one that holds all.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use plane_client::ControlPlane;
use plane_client::sdk::{Context, Source, Tenants, Update};
use serde_json::{Value, json};

use crate::sdk::{Relay, client, telling, wait_for};
use crate::support::Server;

const SURE: Duration = Duration::from_mins(2);

fn of(tenant: &str) -> Context {
    Context::new().with_tenant(tenant)
}

/// Everything that a service can ask for a tenant.
fn answers(plane: &ControlPlane, tenant: &str) -> Value {
    let ctx = of(tenant);
    let agent = match plane.resolve("support", &ctx) {
        Ok(agent) => agent.manifest().clone(),
        Err(error) => error.code_text().into(),
    };
    let flag = plane.evaluate("reasoning", &ctx, Value::Null);
    let temperature = match plane.config("ai.temperature", &ctx) {
        Ok(value) => value,
        Err(error) => error.code_text().into(),
    };
    json!([agent, flag.value, flag.tenant_unknown, temperature])
}

fn revisions(plane: &ControlPlane) -> Receiver<u64> {
    let (told, revisions) = mpsc::channel();
    let tell = move |update: &Update| told.send(update.revision).unwrap_or_default();
    let environment = plane.default_environment().unwrap();
    environment.watch_revision(tell).unwrap().keep();
    revisions
}

fn wait_for_revision(plane: &ControlPlane, revisions: &Receiver<u64>, revision: u64) {
    while plane.snapshot().unwrap().revision() < revision {
        revisions.recv_timeout(SURE).unwrap();
    }
}

#[test]
fn who_holds_tenants_on_demand_answers_as_who_holds_all_of_them() {
    let server = Server::with_platform();
    let eager = client(&server, &server.url).build().unwrap();
    let settings = client(&server, &server.url).tenants(Tenants::OnDemand { max: 1 });
    let demand = settings.build().unwrap();
    let news = [&eager, &demand].map(revisions);
    let mut told = std::collections::BTreeSet::new();
    for change in [
        "pin set flag:beta on -e production --tenant small",
        "pin set agent:support 1.1.0 -e production --tenant small",
        "pin set flag:reasoning off -e production --tenant big",
        "agent kill support -e production --tenant small --reason test",
        "agent revive support -e production --tenant small",
        "pin remove agent:support -e production --tenant small",
    ] {
        let revision = server.json(change)["revision"].as_u64().unwrap();
        for (plane, news) in [&eager, &demand].into_iter().zip(&news) {
            wait_for_revision(plane, news, revision);
        }
        for tenant in ["small", "big", "stranger", "small"] {
            let answers = [&eager, &demand].map(|it| answers(it, tenant));
            assert_eq!(answers[0], answers[1], "{tenant} after {change}");
            told.insert(answers[0].to_string());
        }
    }
    assert!(told.len() > 5, "{told:#?}");
}

#[test]
fn while_its_server_is_away_a_service_answers_for_the_tenants_that_it_holds() {
    let mut server = Server::with_platform();
    server.ok("pin set agent:support 1.1.0 -e production --tenant small");
    server.ok("pin set flag:reasoning off -e production --tenant big");
    let relay = Relay::to(&server);
    let state = server.path("state");
    let settings = client(&server, &relay.url)
        .tenants(Tenants::ON_DEMAND)
        .state_dir(&state);
    let (plane, events) = telling(settings.clone());
    plane.load_tenant("small", SURE).unwrap();
    let before = answers(&plane, "small");
    assert_eq!(before[0]["version"], "1.1.0");

    server.kill();
    wait_for(&events, Some("SERVER_UNREACHABLE"));
    assert_eq!(answers(&plane, "small"), before);
    assert_eq!(answers(&plane, "stranger")[0]["version"], "1.0.0");
    // Its pin says off, which nothing that all share knows.
    let refused = json!(["TENANT_NOT_LOADED", null, false, "TENANT_NOT_LOADED"]);
    assert_eq!(answers(&plane, "big"), refused);
    plane.close();

    server.restart_stopped(false);
    relay.turn(&server);
    let (plane, events) = telling(settings.clone());
    assert_eq!(answers(&plane, "big")[1], json!(false));
    assert_eq!(answers(&plane, "small"), before);
    // What was fetched is kept with the next word of the server.
    let news = revisions(&plane);
    let killed = server.json("flag kill beta -e production --reason test");
    wait_for_revision(&plane, &news, killed["revision"].as_u64().unwrap());
    let killed = server.json("flag revive beta -e production");
    wait_for_revision(&plane, &news, killed["revision"].as_u64().unwrap());
    plane.close();
    drop(events);

    server.kill();
    let (plane, events) = telling(settings);
    plane.wait_ready(SURE).unwrap();
    wait_for(&events, Some("SERVER_UNREACHABLE"));
    assert_eq!(plane.status()[0].source, Source::LastKnownGood);
    assert_eq!(answers(&plane, "small"), before);
    assert_eq!(answers(&plane, "big")[1], json!(false));
}
