//! Tenants that are held as they are asked for.

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};

use plane_model::{Digest, TenantId};
use plane_state::delivery::{Name, Part};

use super::super::super::answer::{Detail, FlagError};
use super::super::super::builder::Tenants;
use super::super::super::http::Parts;
use super::double::{read, signed};
use super::*;

/// A server that has parts, or says why not.
#[derive(Debug)]
struct Server {
    parts: Mutex<Vec<Result<Vec<u8>, Failure>>>,
    asked: Mutex<Vec<String>>,
    /// Told before each answer, and waited for, where a test wants that.
    gate: Option<Mutex<(Sender<()>, Receiver<()>)>>,
}

impl Parts for Server {
    fn part(
        &self,
        _: &Target,
        tenant: &TenantId,
        revision: u64,
        _: Duration,
    ) -> Result<Vec<u8>, Failure> {
        self.asked
            .lock()
            .unwrap()
            .push(format!("{tenant} {revision}"));
        if let Some(gate) = &self.gate {
            let gate = gate.lock().unwrap();
            gate.0.send(()).unwrap();
            gate.1.recv().unwrap();
        }
        let mut parts = self.parts.lock().unwrap();
        assert!(!parts.is_empty(), "nobody should ask for more");
        parts.remove(0)
    }
}

impl Server {
    fn of(parts: Vec<Result<Vec<u8>, Failure>>) -> Arc<Self> {
        Arc::new(Self {
            parts: Mutex::new(parts),
            asked: Mutex::default(),
            gate: None,
        })
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// A tenant with a pin of its own, as documents of a part.
fn documents(tenant: &str, revision: u64, variant: &str) -> Value {
    json!([
        { "kind": "pin", "scope": format!("production/{tenant}"), "name": "flag:f",
          "revision": revision, "body": { "variant": variant } },
        { "kind": "tenant", "scope": "", "name": tenant, "revision": 2, "body": { "plan": "free" } },
    ])
}

fn bytes(tenant: &str, documents: &Value) -> Vec<u8> {
    let part = json!({ "tenant": tenant, "documents": documents });
    part.to_string().into_bytes()
}

fn part(tenant: &str, revision: u64, variant: &str) -> Vec<u8> {
    bytes(tenant, &documents(tenant, revision, variant))
}

fn digest(documents: &Value) -> Digest {
    let mut part = Part::default();
    for document in documents.as_array().unwrap() {
        let [kind, scope, name] =
            ["kind", "scope", "name"].map(|field| document[field].as_str().unwrap());
        let body = document["body"].to_string();
        let revision = document["revision"].as_u64().unwrap();
        part.put(Name { kind, scope, name }, revision, Some(body.as_bytes()));
    }
    part.digest()
}

/// A view in which these tenants have a pin to a variant since revision 5.
fn naming(revision: u64, tenants: &[(&str, &str)]) -> Value {
    let parts = tenants.iter().map(|(tenant, variant)| {
        let digest = digest(&documents(tenant, 5, variant)).to_string();
        ((*tenant).to_owned(), Value::from(digest))
    });
    with(
        view(revision, "off"),
        "tenants",
        Value::Object(parts.collect()),
    )
}

fn asking(test: &Test, source: &Arc<Server>) {
    test.process.fetches.ask(source.clone());
    // Its threads are those of the test.
    test.process.progress().is_started = true;
}

/// A test that holds such a view, and whose server has these parts.
fn demanding(max: usize, view: &Value, source: &Arc<Server>, events: Reads) -> Test {
    let mut test = Test::new();
    let settings = Builder::clone(&test.core.settings).tenants(Tenants::OnDemand { max });
    test.core = Core::new(test.core.name.clone(), Arc::new(settings));
    test.process = test.core.own_process();
    test.follower = Follower::new(Box::new(test.script.clone()), &test.core);
    asking(&test, source);
    test.view(view).stream(events);
    test.steps(1);
    test
}

fn ask(core: &Arc<Core>, tenant: &str) -> Detail {
    let ctx = Context::new().with_tenant(tenant);
    core.detail_now("f", &ctx, Value::Null)
}

/// The flag for a tenant; none if there is no answer.
fn is_on(test: &Test, tenant: &str) -> Option<bool> {
    let detail = ask(&test.core, tenant);
    assert_eq!(detail.value.is_null(), detail.error.is_some(), "{detail:?}");
    detail.value.as_bool()
}

fn held(test: &Test) -> BTreeSet<String> {
    let held = test.core.peek().unwrap();
    let parts = held.on_demand.as_ref().unwrap().holding.parts().unwrap();
    parts.keys().map(ToString::to_string).collect()
}

#[test]
fn a_tenant_is_fetched_when_it_is_first_asked_for_and_one_that_has_nothing_never() {
    let source = Server::of(vec![Ok(part("acme", 5, "on"))]);
    let test = demanding(9, &naming(5, &[("acme", "on")]), &source, vec![]);
    assert_eq!(test.is_on(), Some(false));
    for _ in 0..3 {
        assert_eq!(is_on(&test, "acme"), Some(true));
        assert_eq!(is_on(&test, "stranger"), Some(false));
    }
    assert_eq!(source.asked(), ["acme 5"]);
    assert_eq!(test.status().counters.tenant_loads, 1);
}

#[test]
fn where_a_tenant_cannot_be_had_what_all_share_is_no_answer_for_it() {
    let gone = || Err(Why::Unreachable("nothing listens there".to_owned()).into());
    let source = Server::of(vec![gone(), Ok(part("acme", 5, "on"))]);
    let view = naming(5, &[("acme", "on"), ("zeta", "on")]);
    let test = demanding(9, &view, &source, vec![]);
    let detail = ask(&test.core, "acme");
    assert_eq!(detail.error, Some(FlagError::TenantNotLoaded));
    let ctx = Context::new().with_tenant("acme");
    assert!(test.core.is_enabled_now("f", &ctx, true.into()));
    assert!(!test.core.is_enabled_now("f", &ctx, false.into()));
    let error = test.core.snapshot_for(&ctx).unwrap_err();
    assert_eq!(error.code_text(), "TENANT_NOT_LOADED");
    // Callers do not wait one after the other for a server that does not answer.
    assert_eq!(is_on(&test, "zeta"), None);
    assert_eq!(source.asked(), ["acme 5"]);
    test.clock.advance(Duration::from_secs(2));
    assert_eq!(is_on(&test, "acme"), Some(true));
    let counters = test.status().counters;
    assert_eq!((counters.tenant_loads, counters.tenant_failures), (2, 5));
}

#[test]
fn a_snapshot_has_the_tenants_that_were_held_when_it_was_taken() {
    let source = Server::of(vec![Ok(part("acme", 5, "on"))]);
    let test = demanding(9, &naming(5, &[("acme", "on")]), &source, vec![]);
    let ctx = Context::new().with_tenant("acme");
    let before = test.core.snapshot().unwrap();
    let with = test.core.snapshot_for(&ctx).unwrap();
    assert!(with.is_enabled("f", &ctx, false));
    let detail = before.evaluate("f", &ctx, false);
    assert_eq!(detail.error, Some(FlagError::TenantNotLoaded));
    let refused = before.config("ai", &ctx).unwrap_err();
    assert_eq!(refused.code_text(), "TENANT_NOT_LOADED");
    assert!(before.resolve("support", &ctx).is_err());
}

#[test]
fn a_part_that_the_signed_root_does_not_name_is_not_held() {
    let other = documents("acme", 5, "off");
    let mut fewer = documents("acme", 5, "on");
    fewer.as_array_mut().unwrap().pop();
    for forged in [
        bytes("acme", &other),
        bytes("acme", &fewer),
        bytes("zeta", &documents("zeta", 5, "on")),
        b"{".to_vec(),
    ] {
        let source = Server::of(vec![Ok(forged)]);
        let test = demanding(9, &naming(5, &[("acme", "on")]), &source, vec![]);
        let asked = test.core.load_tenant("acme", Duration::from_millis(1));
        let code = asked.map_err(|it| it.code_text().to_owned());
        assert_eq!(code.unwrap_err(), "TENANT_NOT_LOADED");
        assert!(held(&test).is_empty());
    }
}

#[test]
fn tenants_that_are_held_follow_the_stream_and_the_others_are_only_named() {
    let pin = |tenant: &str, revision: u64, variant: &str| {
        documents(tenant, revision, variant)[0].clone()
    };
    let told = |revision: u64, tenants: &[(&str, &str)]| {
        let changed: Vec<_> = tenants.iter().map(|it| pin(it.0, revision, it.1)).collect();
        let parts = tenants.iter().map(|(tenant, variant)| {
            let digest = digest(&documents(tenant, revision, variant)).to_string();
            ((*tenant).to_owned(), Value::from(digest))
        });
        let parts = Value::Object(parts.collect());
        let data = json!({ "revision": revision, "documents": changed, "parts": parts });
        event("change", revision, &data)
    };
    let source = Server::of(vec![Ok(part("acme", 5, "on")), Ok(part("zeta", 6, "off"))]);
    let mut test = demanding(
        9,
        &naming(5, &[("acme", "on"), ("zeta", "on")]),
        &source,
        vec![Ok(vec![told(6, &[("acme", "off"), ("zeta", "off")])])],
    );
    assert_eq!(is_on(&test, "acme"), Some(true));
    test.steps(1);
    assert_eq!((is_on(&test, "acme"), test.revision()), (Some(false), 6));
    assert_eq!(source.asked(), ["acme 5"]);
    assert_eq!(is_on(&test, "zeta"), Some(false));
    assert_eq!(source.asked(), ["zeta 6"]);
}

#[test]
fn a_change_of_a_tenant_that_is_not_named_has_the_view_fetched() {
    let changed = documents("zeta", 6, "off")[0].clone();
    let data = json!({ "revision": 6, "documents": [changed] });
    let source = Server::of(vec![Ok(part("acme", 5, "on"))]);
    let view = naming(5, &[("acme", "on"), ("zeta", "on")]);
    let mut test = demanding(9, &view, &source, vec![Ok(vec![event("change", 6, &data)])]);
    assert_eq!(is_on(&test, "acme"), Some(true));
    test.view(&naming(6, &[("acme", "on"), ("zeta", "off")]));
    test.steps(1);
    // What did not change goes over into the new view.
    assert_eq!((is_on(&test, "acme"), test.revision()), (Some(true), 6));
    assert_eq!(source.asked(), ["acme 5"]);
}

#[test]
fn who_keeps_back_a_change_of_a_tenant_that_is_held_is_found_out() {
    let source = Server::of(vec![Ok(part("acme", 5, "on"))]);
    let mut test = demanding(9, &naming(5, &[("acme", "on")]), &source, vec![]);
    assert_eq!(is_on(&test, "acme"), Some(true));
    let truth = read(naming(6, &[("acme", "off")]).to_string().as_bytes()).unwrap();
    let statement = test.script.0.lock().unwrap().statement(&truth);
    let head: Value = serde_json::from_str(&signed(statement, &key(1))).unwrap();
    let data = json!({ "revision": 6, "documents": [targeting(6, "off")], "signed": head });
    test.follower.stream = None;
    test.stream(vec![Ok(vec![event("change", 6, &data)])]);
    test.steps(1);
    assert!(matches!(test.step(), Next::After(_)));
    assert_eq!(test.error(), "VIEW_UNVERIFIED");
    assert_eq!((is_on(&test, "acme"), test.revision()), (Some(true), 5));
}

#[test]
fn the_tenant_that_was_not_asked_for_the_longest_goes_first() {
    let tenants = ["a", "b", "c"];
    let source = Server::of(tenants.iter().map(|it| Ok(part(it, 5, "on"))).collect());
    let test = demanding(
        2,
        &naming(5, &tenants.map(|it| (it, "on"))),
        &source,
        vec![],
    );
    for tenant in ["a", "b", "a", "c"] {
        test.clock.advance(Duration::from_millis(10));
        assert_eq!(is_on(&test, tenant), Some(true));
    }
    assert_eq!(held(&test), ["a", "c"].map(str::to_owned).into());
    source.parts.lock().unwrap().push(Ok(part("b", 5, "on")));
    assert_eq!(is_on(&test, "b"), Some(true));
    assert_eq!(source.asked(), ["a 5", "b 5", "c 5", "b 5"]);
}

#[test]
fn a_part_that_is_newer_than_the_view_waits_for_the_news() {
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let source = Arc::new(Server {
        parts: Mutex::new(vec![Ok(part("acme", 6, "off")), Ok(part("acme", 6, "off"))]),
        asked: Mutex::default(),
        gate: Some(Mutex::new((tell, wait))),
    });
    let parts = json!({ "acme": digest(&documents("acme", 6, "off")) });
    let changed = documents("acme", 6, "off")[0].clone();
    let data = json!({ "revision": 6, "documents": [changed], "parts": parts });
    let events = vec![Ok(vec![event("change", 6, &data)])];
    let mut test = demanding(9, &naming(5, &[("acme", "on")]), &source, events);
    let core = test.core.clone();
    let asked = std::thread::spawn(move || {
        let detail = ask(&core, "acme");
        (detail.value, detail.revision)
    });
    told.recv().unwrap();
    go_on.send(()).unwrap();
    test.steps(1);
    // Asked again, for the part that is named now; at once if the news was quicker.
    go_on.send(()).unwrap();
    assert_eq!(asked.join().unwrap(), (json!(false), 6));
}

#[test]
fn many_who_ask_for_one_tenant_fetch_it_once() {
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel();
    let source = Arc::new(Server {
        parts: Mutex::new(vec![Ok(part("acme", 5, "on"))]),
        asked: Mutex::default(),
        gate: Some(Mutex::new((tell, wait))),
    });
    let test = demanding(9, &naming(5, &[("acme", "on")]), &source, vec![]);
    let core = &test.core;
    std::thread::scope(|scope| {
        let asked = [(); 8].map(|()| scope.spawn(|| ask(core, "acme").value));
        told.recv().unwrap();
        go_on.send(()).unwrap();
        for asked in asked {
            assert_eq!(asked.join().unwrap(), json!(true));
        }
    });
    assert_eq!(source.asked(), ["acme 5"]);
}

#[test]
fn tenants_that_are_held_are_kept_for_a_start_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let on_demand = |settings: Builder| {
        let settings = settings.tenants(Tenants::ON_DEMAND);
        settings.start_timeout(Duration::ZERO)
    };
    let source = Server::of(vec![Ok(part("acme", 5, "on"))]);
    let mut first = starting_with(dir.path(), on_demand);
    asking(&first, &source);
    first.view(&naming(5, &[("acme", "on"), ("zeta", "on")]));
    let changed = documents("acme", 7, "off")[0].clone();
    let parts = json!({ "acme": digest(&documents("acme", 7, "off")) });
    let data = json!({ "revision": 7, "documents": [changed], "parts": parts });
    first.stream(vec![
        Ok(vec![change(6, "on")]),
        Ok(vec![event("change", 7, &data)]),
    ]);
    first.steps(1);
    assert_eq!(is_on(&first, "acme"), Some(true));
    first.steps(2);
    assert_eq!((is_on(&first, "acme"), first.revision()), (Some(false), 7));
    drop(first);

    let gone = || Err(Why::Unreachable("nothing listens there".to_owned()).into());
    let source = Server::of(vec![gone()]);
    let test = starting_with(dir.path(), on_demand);
    asking(&test, &source);
    assert_eq!(test.status().source, Source::LastKnownGood);
    assert_eq!((test.is_on(), test.revision()), (Some(true), 7));
    assert_eq!(is_on(&test, "acme"), Some(false));
    assert_eq!(is_on(&test, "zeta"), None);
    assert_eq!(source.asked(), ["zeta 7"]);

    // Who holds all of them from now on fetches the view.
    let mut eager = starting(dir.path());
    assert_eq!((eager.is_on(), eager.revision()), (Some(true), 7));
    eager.view(&view(8, "off")).stream(vec![]);
    eager.steps(1);
    assert!(eager.core.peek().unwrap().on_demand.is_none());
    assert_eq!((eager.is_on(), eager.revision()), (Some(false), 8));
}
