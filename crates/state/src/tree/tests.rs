use expect_test::{Expect, expect};
use plane_model::documents::{ExclusionGroup, Targeting};
use plane_model::{Code, Document, Kind};
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

fn read_texts(files: &[(&str, &str)]) -> Tree {
    let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
    read(&files)
}

fn check_errors(files: &[(&str, &str)], expected: &Expect) {
    let tree = read_texts(files);
    let lines: Vec<_> = tree.errors.iter().map(|it| format!("{it}\n")).collect();
    expected.assert_eq(&lines.concat());
}

fn check_documents(files: &[(&str, &str)], expected: &Expect) {
    let tree = read_texts(files);
    assert_eq!(tree.errors, []);
    let lines: Vec<_> = tree
        .documents
        .iter()
        .map(|it| {
            format!(
                "{} {}#{}\n  {}\n",
                it.key,
                tree.path(it.file),
                it.pointer,
                it.body
            )
        })
        .collect();
    expected.assert_eq(&lines.concat());
}

const TOOL: &str = "name: crm_tool\nversion: 1.2.0\nmetadata:\n  inputs_schema: {type: object}\n";

#[test]
fn every_folder_gives_its_documents() {
    check_documents(
        &[
            ("environments/production.yaml", "order: 2\n"),
            (
                "tenants/a%40b.yaml",
                "plan: free\npins:\n  production:\n    flag:dark: {variant: 'on'}\n    agent:bot: {version: 1.0.0}\n",
            ),
            ("segments/early.json", r#"{"include": ["t1"]}"#),
            (
                "feature_flags/dark.yml",
                "$schema: https://a.example/flag\nkey: dark\ntype: boolean\nenvironments:\n  production: {state: disabled}\n",
            ),
            (
                "configs/ai.schema.yaml",
                "$schema: https://json-schema.org/draft/2020-12/schema\ntype: object\n",
            ),
            ("configs/ai/base.yaml", "model: small\n"),
            ("configs/ai/production.plan=free.yaml", "model: tiny\n"),
            ("configs/ai/production.tenant=a%40b.yaml", "# nothing yet\n"),
            ("registries/tools/whatever.yaml", TOOL),
            (
                "registries/channels/production.yaml",
                "bot: 1.0.0\nacme/bot: {version: 1.1.0, split: {percent: {1.2.0: 10}, by: tenant.id}}\n\
                 full: {default: {version: 2.0.0}}\n",
            ),
            ("registries/trust/default.yaml", "signing: optional\n"),
            (
                "registries/status.yaml",
                "tool:crm_tool@1.2.0: {status: active}\n",
            ),
        ],
        &expect![[r#"
            environment `production` environments/production.yaml#
              {"order":2}
            tenant `a@b` tenants/a%40b.yaml#
              {"plan":"free"}
            segment `early` segments/early.json#
              {"include":["t1"]}
            flag `dark` feature_flags/dark.yml#
              {"type":"boolean"}
            targeting `dark` in `production` feature_flags/dark.yml#/environments/production
              {"state":"disabled"}
            pin `agent:bot` in `production/a@b` tenants/a%40b.yaml#/pins/production/agent:bot
              {"version":"1.0.0"}
            pin `flag:dark` in `production/a@b` tenants/a%40b.yaml#/pins/production/flag:dark
              {"variant":"on"}
            schema `ai` configs/ai.schema.yaml#
              {"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}
            config `ai` in `base` configs/ai/base.yaml#
              {"model":"small"}
            config `ai` in `production.plan=free` configs/ai/production.plan=free.yaml#
              {"model":"tiny"}
            config `ai` in `production.tenant=a@b` configs/ai/production.tenant=a%40b.yaml#
              {}
            trust `default` registries/trust/default.yaml#
              {"signing":"optional"}
            tool `crm_tool@1.2.0` registries/tools/whatever.yaml#
              {"metadata":{"inputs_schema":{"type":"object"}},"name":"crm_tool","version":"1.2.0"}
            status `tool:crm_tool@1.2.0` registries/status.yaml#/tool:crm_tool@1.2.0
              {"status":"active"}
            channel `acme/bot` in `production` registries/channels/production.yaml#/acme~1bot
              {"default":{"version":"1.1.0"},"split":{"by":"tenant.id","percent":{"1.2.0":10}}}
            channel `bot` in `production` registries/channels/production.yaml#/bot
              {"default":{"version":"1.0.0"}}
            channel `full` in `production` registries/channels/production.yaml#/full
              {"default":{"version":"2.0.0"}}
        "#]],
    );
}

#[test]
fn a_broken_tree_says_all_that_is_wrong_with_file_and_line() {
    check_errors(
        &[
            ("environments/base.yaml", ""),
            ("tenants/acme%zz.yaml", "plan: free\n"),
            (
                "tenants/t1.yaml",
                "plan: free\nregion: 3\ncolour: red\npins:\n  production:\n    tool:x: {}\n",
            ),
            (
                "feature_flags/dark.yaml",
                "key: bright\ntype: boolean\nkilled: true\nenvironments:\n  production:\n    state: enabled\n    rules:\n      \
                 - name: some\n        if: {attribute: tenant.plan, is: free}\n        serve: 'on'\n    default: {percent: {'on': 60, 'off': 60}}\n  \
                 staging:\n    state: enabled\n    default: maybe\n",
            ),
            ("feature_flags/dark.yml", "type: boolean\n"),
            ("feature_flags/Dark.yaml", "type: boolean\n"),
            ("feature_flags/nested/x.yaml", "type: boolean\n"),
            ("configs/settings.yaml", "a: 1\n"),
            ("configs/ai/plan=free.production.yaml", "a: 1\n"),
            (
                "configs/ai/base.yaml",
                "a: 1\nb: {$file: prompts/none.md}\na: 2\n",
            ),
            (
                "configs/ai/staging.yaml",
                "a: {$file: ../secret}\nb: {$file: prompts/none.md}\n",
            ),
            (
                "registries/tools/crm.yaml",
                "name: crm_tool\nversion: 1.2\nmetadata:\n  inputs_schema: 3\n",
            ),
            ("registries/tools/a.yaml", TOOL),
            ("registries/tools/b/c.yaml", TOOL),
            (
                "registries/channels/production.yaml",
                "bot: 1.0\nother:\n  split: {}\n  version: one\n",
            ),
            ("kills/production.yaml", "flag:dark: {reason: broken}\n"),
            ("segments/list.json", "[1,\n 2,]"),
        ],
        &expect![[r#"
            configs/ai/base.yaml:3:1: /a: the key `a` appears twice in one mapping; the first is on line 1 [TEXT_INVALID]; keep one of the two entries
            configs/ai/plan=free.production.yaml:1:1: `plan=free.production` is not a valid config layer: write `base`, or ENVIRONMENT, `region=`, `service=`, `plan=` and `tenant=` in this order, joined by `.` [NAME_INVALID]; rename the file
            configs/ai/staging.yaml:1:5: /a/$file: `../secret` is not a path inside the tree [FIELD_INVALID]; write the path from the tree's root, with `/` and without `.` and `..`
            configs/ai/staging.yaml:2:5: /b/$file: the tree has no file `prompts/none.md` [REFERENCE_MISSING]; add the file, or correct the path: it begins at the tree's root
            configs/settings.yaml:1:1: no such file may stand here [NAME_INVALID]; move it to configs/DOCUMENT.schema.yaml or configs/DOCUMENT/SELECTOR.yaml, or out of the tree
            environments/base.yaml:1:1: `base` names the config layer below all environments [NAME_INVALID]; rename the file
            feature_flags/dark.yaml:1:1: the flag `dark` differs only in case from `Dark` in feature_flags/Dark.yaml [NAME_COLLISION]; rename one of them, or write both alike
            feature_flags/dark.yaml:1:1: /key: the flag's key is `bright`, but the file is called `dark` [FIELD_INVALID]; write `key: dark`, or rename the file to `bright`
            feature_flags/dark.yaml:3:1: /killed: a kill cannot stand in a tree [COMMAND_REQUIRED]; run `control-plane flag kill KEY`, `control-plane agent kill NAME` or `control-plane tool kill NAME`
            feature_flags/dark.yaml:9:9: /environments/production/rules/0/if: `is` is not an operator [EXPRESSION_INVALID]; use one of `equals`, `in`, `contains`, `starts_with`, `ends_with`, `exists`, `lt`, `le`, `gt`, `ge`, `matches`, `semver_equals`, `semver_lt`, `semver_le`, `semver_gt`, `semver_ge`, `semver_same_major`, `semver_same_minor`, `before`, `after`, `cidr`, `segment`
            feature_flags/dark.yaml:14:5: /environments/staging/default: the flag has no variant `maybe` [VARIANT_UNKNOWN]; use one of `off`, `on`, or add the variant to the flag
            feature_flags/dark.yml:1:1: the flag `dark` stands in the tree twice: also in feature_flags/dark.yaml, line 1 [DOCUMENT_REPEATED]; keep one of the two
            feature_flags/nested/x.yaml:1:1: no such file may stand here [NAME_INVALID]; move it to feature_flags/KEY.yaml, or out of the tree
            kills/production.yaml:1:1: a kill cannot stand in a tree [COMMAND_REQUIRED]; run `control-plane flag kill KEY`, `control-plane agent kill NAME` or `control-plane tool kill NAME`
            registries/channels/production.yaml:1:1: /bot: a channel is a version or an object [FIELD_INVALID]; write a version as MAJOR.MINOR.PATCH, in quotes
            registries/channels/production.yaml:3:3: /other/split: it must say one thing that is served [SPLIT_INVALID]; write a variant's name, one of `percent`, `ranges` and `ramp`, or `caller_default: true`
            registries/channels/production.yaml:4:3: /other/version: unexpected character 'o' while parsing major version number [FIELD_INVALID]; correct the value
            registries/tools/b/c.yaml:1:1: the tool `crm_tool@1.2.0` stands in the tree twice: also in registries/tools/a.yaml, line 1 [DOCUMENT_REPEATED]; keep one of the two
            registries/tools/crm.yaml:2:1: /version: `version` must be a string, not a number [FIELD_INVALID]; put the value in quotes: "1.2"
            registries/tools/crm.yaml:4:3: /metadata/inputs_schema: `inputs_schema` must be an object, not a number [FIELD_INVALID]; write an object
            segments/list.json:2:4: /2: a comma may not stand before `]` [TEXT_INVALID]; correct the text at this place
            tenants/acme%zz.yaml:1:1: `acme%zz` has a `%` that encodes no character [NAME_INVALID]; rename the file: `%` and two hex digits stand for a byte, such as `%3A` for `:`
            tenants/t1.yaml:2:1: /region: invalid type: integer `3`, expected a string [FIELD_INVALID]; write a string
            tenants/t1.yaml:3:1: /colour: unknown field `colour` [FIELD_UNKNOWN]; remove it or correct its spelling
            tenants/t1.yaml:6:5: /pins/production/tool:x: `tool:x` is not a valid pin name [NAME_INVALID]; write `flag:KEY` or `agent:NAME`
        "#]],
    );
}

#[test]
fn strangers_are_passed_over_with_a_note() {
    let tree = read_texts(&[
        ("README.md", "hello"),
        ("configs/__init__.py", ""),
        ("configs/settings.py", "import os"),
        ("registries/agents/notes.txt", ""),
        (".git/config", ""),
        (".git/HEAD", ""),
        ("configs/.DS_Store", ""),
        ("deploy/a.yaml", ""),
        ("deploy/b.yaml", ""),
        ("prompts/used.md", "text"),
        ("prompts/unused.md", "text"),
        ("signing.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n"),
        ("configs/ai/base.yaml", "a: {$file: prompts/used.md}"),
    ]);
    assert_eq!(tree.errors, []);
    assert_eq!(tree.documents.len(), 1);
    let notes: Vec<_> = tree.notes.iter().map(|it| format!("{it}\n")).collect();
    expect![["
        .git/: passed over: hidden
        README.md: passed over: at the root of the tree there are only folders
        configs/.DS_Store: passed over: hidden
        configs/__init__.py: passed over: not a YAML or JSON file
        configs/settings.py: passed over: not a YAML or JSON file
        deploy/: passed over: not a folder of the tree
        prompts/: passed over: not a folder of the tree
        registries/agents/notes.txt: passed over: not a YAML or JSON file
        signing.pem: passed over; it looks like a private key, which must never be in a tree: move it out, and replace the key if the tree was shared
    "]].assert_eq(&notes.concat());
}

#[test]
fn a_finding_about_a_document_is_found_in_its_file() {
    let tree = read_texts(&[
        (
            "feature_flags/dark.yaml",
            "type: boolean\nenvironments:\n  production:\n    state: enabled\n    rules:\n      - name: some\n        if: {all: []}\n        serve: 'on'\n",
        ),
        (
            "registries/channels/production.yaml",
            "bot:\n  version: 1.0.0\nsmall: 1.0.0\nfull:\n  default:\n    version: 1.0.0\n",
        ),
    ]);
    assert_eq!(tree.errors, []);
    let place = |name: &str, kind: Kind, pointer: &str| {
        let index = tree
            .documents
            .iter()
            .position(|it| it.key.name() == name && it.key.kind() == kind);
        tree.locate(index.unwrap(), pointer).to_string()
    };
    let flags = "feature_flags/dark.yaml";
    assert_eq!(place("dark", Kind::Flag, "/type"), format!("{flags}:1:1"));
    assert_eq!(
        place("dark", Kind::Targeting, "/rules/0/serve"),
        format!("{flags}:8:9")
    );
    assert_eq!(
        place("dark", Kind::Targeting, "/rules/7"),
        format!("{flags}:5:5")
    );
    assert_eq!(place("dark", Kind::Targeting, ""), format!("{flags}:3:3"));
    let channels = "registries/channels/production.yaml";
    assert_eq!(
        place("bot", Kind::Channel, "/default/version"),
        format!("{channels}:2:3")
    );
    assert_eq!(
        place("small", Kind::Channel, "/default/version"),
        format!("{channels}:3:1")
    );
    assert_eq!(
        place("full", Kind::Channel, "/default/version"),
        format!("{channels}:6:5")
    );
}

#[test]
fn the_text_of_a_file_takes_the_place_of_its_name() {
    let long = "x".repeat(plane_model::limits::COMMIT_BYTES_MAX / 2 + 1);
    let files = |second: &str| {
        vec![
            file("prompts/a.md", "one\r\ntwo\n"),
            file("big.txt", &long),
            file("latin.txt", "x"),
            file("configs/ai/base.yaml", second),
        ]
    };
    let tree = read(&files(
        "list: [{$file: prompts/a.md}]\nbig: {$file: big.txt}\n",
    ));
    assert_eq!(tree.errors, []);
    assert_eq!(tree.documents[0].body["list"], json!(["one\ntwo\n"]));
    for (text, code) in [
        ("a: {$file: /etc/passwd}", Code::FieldInvalid),
        ("a: {$file: prompts/../big.txt}", Code::FieldInvalid),
        ("a: {$file: 'prompts\\a.md'}", Code::FieldInvalid),
        ("a: {$file: ''}", Code::FieldInvalid),
        ("a: {$file: 3}", Code::FieldInvalid),
        ("a: {$file: prompts/a.md, b: 1}", Code::FieldInvalid),
        ("a: {$file: prompts/A.md}", Code::ReferenceMissing),
        (
            "a: {$file: big.txt}\nb: {$file: big.txt}",
            Code::LimitExceeded,
        ),
    ] {
        let tree = read(&files(text));
        let codes: Vec<_> = tree.errors.iter().map(|it| it.violation.code).collect();
        assert_eq!(codes, [code], "{text}");
    }
    let mut files = files("a: {$file: latin.txt}");
    files[2].bytes = vec![0xe9];
    assert_eq!(read(&files).errors[0].violation.code, Code::TextInvalid);
}

#[test]
fn a_schema_may_describe_a_field_that_is_called_like_a_file() {
    let text = "type: object\nproperties:\n  $file: {type: string}\n";
    let tree = read_texts(&[("configs/ai.schema.yaml", text)]);
    assert_eq!(tree.errors, []);
    assert_eq!(
        tree.documents[0].body["properties"]["$file"],
        json!({"type": "string"})
    );
    let text = "name: cat\nversion: 1.0.0\nmetadata:\n  inputs_schema: {properties: {$file: {type: string}}}\n";
    let tree = read_texts(&[("registries/tools/cat.yaml", text)]);
    assert_eq!(tree.errors, []);
    let (tool, body) = (&tree.documents[0].key, &tree.documents[0].body);
    assert_eq!(
        body["metadata"]["inputs_schema"]["properties"]["$file"],
        json!({"type": "string"})
    );
    write([(tool, body.clone())], Locks::Keep).unwrap();
}

/// The files of the example platform, as a caller of the reader lists them.
fn example_files() -> Vec<File> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aiaas");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let parts = path.strip_prefix(&root).unwrap().iter();
                let parts: Vec<_> = parts.map(|part| part.to_str().unwrap()).collect();
                let bytes = std::fs::read(&path).unwrap();
                files.push(File {
                    path: parts.join("/"),
                    bytes,
                });
            }
        }
    }
    files
}

#[test]
fn the_example_platform_is_a_good_tree_and_comes_back_from_an_export() {
    let tree = read(&example_files());
    let errors: Vec<_> = tree.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, Vec::<String>::new());
    let count = |kind| {
        let documents = tree.documents.iter();
        documents.filter(|it| it.key.kind() == kind).count()
    };
    assert_eq!(count(Kind::Environment), 3);
    assert_eq!(count(Kind::Tenant), 12);
    assert_eq!(count(Kind::Targeting), 3 * count(Kind::Flag));
    assert_eq!(count(Kind::Channel), 3 * 2);
    assert_eq!((count(Kind::Agent), count(Kind::Tool)), (3, 6));
    let notes: Vec<_> = tree.notes.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(notes, ["README.md"]);

    let bodies = tree.documents.iter().map(|it| (&it.key, it.body.clone()));
    let again = read(&write(bodies, Locks::LeaveOut).unwrap());
    assert_eq!((&again.errors, &again.notes), (&vec![], &vec![]));
    let plain = |tree: &Tree| -> Vec<_> {
        let documents = tree.documents.iter();
        documents
            .map(|it| (it.key.clone(), it.body.clone()))
            .collect()
    };
    assert_eq!(plain(&again), plain(&tree));
}

fn key(kind: Kind, scope: &str, name: &str) -> DocumentKey {
    DocumentKey::new(kind, scope, name).unwrap()
}

fn written(documents: &[(DocumentKey, Value)], locks: Locks) -> Vec<File> {
    write(
        documents.iter().map(|(key, body)| (key, body.clone())),
        locks,
    )
    .unwrap()
}

#[test]
fn documents_are_written_for_people() {
    let lock = format!("sha256:{}", "0".repeat(64));
    let targeting = json!({
        "state": "enabled",
        "rules": [{
            "serve": "on", "name": "paying",
            "if": {"all": [{"attribute": "tenant.plan", "in": ["pro", "enterprise"]}]},
        }],
        "default": {"ranges": [{"variant": "on", "start": 0, "end": 12_500}], "by": "user.id"},
    });
    let moved = json!({
        "state": "enabled",
        "default": {"ranges": [{"variant": "on", "start": 1, "end": 12_501}]},
    });
    let documents = [
        (
            key(Kind::Flag, "", "dark"),
            json!({"type": "boolean", "owner": "team", "archived": false}),
        ),
        (key(Kind::Targeting, "production", "dark"), targeting),
        (key(Kind::Targeting, "staging", "dark"), moved),
        (
            key(Kind::Tenant, "", "a:b"),
            json!({"plan": "free", "labels": {"on": "no"}}),
        ),
        (
            key(Kind::Pin, "production/a:b", "agent:bot"),
            json!({"version": "1.0.0", "lock": lock}),
        ),
        (
            key(Kind::Config, "production.tenant=a:b", "ai"),
            json!({"text": "one\ntwo\n", "x": 0.7}),
        ),
        (
            key(Kind::Channel, "production", "bot"),
            json!({"default": {"version": "1.0.0", "lock": lock}}),
        ),
        (
            key(Kind::Channel, "production", "acme/bot"),
            json!({
                "default": {"version": "1.0.0", "lock": lock},
                "split": {"ranges": [{"variant": "1.1.0", "start": 0, "end": 10_000}]},
                "locks": {"1.1.0": lock},
            }),
        ),
        (
            key(Kind::Kill, "production", "flag:dark"),
            json!({"reason": "broken"}),
        ),
    ];
    let text = |locks| {
        let files = written(&documents, locks);
        let texts: Vec<_> = files
            .iter()
            .map(|it| format!("# {}\n{}", it.path, String::from_utf8_lossy(&it.bytes)))
            .collect();
        texts.concat()
    };
    expect![[r#"
        # configs/ai/production.tenant=a%3Ab.yaml
        text: |
          one
          two
        x: 0.7
        # feature_flags/dark.yaml
        key: dark
        type: boolean
        owner: team
        archived: false
        environments:
          production:
            state: enabled
            rules:
              - name: paying
                if:
                  all:
                    - attribute: tenant.plan
                      in:
                        - pro
                        - enterprise
                serve: "on"
            default:
              percent:
                "on": 12.5
              by: user.id
          staging:
            state: enabled
            default:
              ranges:
                - variant: "on"
                  start: 1
                  end: 12501
        # registries/channels/production.yaml
        acme/bot:
          version: 1.0.0
          split:
            percent:
              1.1.0: 10
        bot: 1.0.0
        # tenants/a%3Ab.yaml
        plan: free
        labels:
          "on": "no"
        pins:
          production:
            agent:bot:
              version: 1.0.0
    "#]]
    .assert_eq(&text(Locks::LeaveOut));
    let kept = text(Locks::Keep);
    assert_eq!(kept.matches(&lock).count(), 4);
}

#[test]
fn what_a_tree_cannot_hold_is_refused() {
    let flag = key(Kind::Flag, "", "dark");
    let config = key(Kind::Config, "base", "ai");
    let fails = |key: &DocumentKey, body: Value| {
        write([(key, body)], Locks::Keep)
            .unwrap_err()
            .violation()
            .to_string()
    };
    expect!["/a/$file: the config `ai` in `base` has a field `$file`, which means something else in a tree [FIELD_INVALID]; rename the field: `$file` is reserved in trees"]
        .assert_eq(&fails(&config, json!({"a": {"$file": "x"}})));
    expect!["/$schema: the config `ai` in `base` has a field `$schema`, which means something else in a tree [FIELD_INVALID]; rename the field: `$schema` is reserved in trees"]
        .assert_eq(&fails(&config, json!({"$schema": "x"})));
    expect![
        "the flag `dark` is not an object [FIELD_INVALID]; write the document again as an object"
    ]
    .assert_eq(&fails(&flag, json!([])));
    let targeting = key(Kind::Targeting, "production", "dark");
    expect!["the targeting `dark` in `production` has no flag to stand in the file of [FIELD_INVALID]; export it together with its flag"]
        .assert_eq(&fails(&targeting, json!({})));
}

/// Any JSON value that the strict readers accept.
pub(super) fn json_value() -> impl Strategy<Value = Value> {
    let text = "(\\PC|[\n\t \"':#-]){0,12}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        (-1_000_000_i32..1_000_000).prop_map(|it| json!(it).clone()),
        (1_i32..1_000).prop_map(|it| json!(f64::from(it) + 0.25)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..5)
                .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-z~/ ]{1,6}", json_value(), 0..4)
        .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into())
}

fn percent_split() -> impl Strategy<Value = Value> {
    (0_u32..=40_000, 0_u32..=60_000, any::<bool>()).prop_map(|(on, off, by)| {
        let share = |it: u32| json!(f64::from(it) / 1_000.0);
        let mut split = json!({"percent": {"on": share(on), "off": share(off)}});
        if by {
            split["by"] = "user.id".into();
        }
        split
    })
}

/// A targeting as it is stored: its splits are ranges, fresh or grown out of others.
fn targeting() -> impl Strategy<Value = Value> {
    (
        percent_split(),
        percent_split(),
        percent_split(),
        any::<bool>(),
    )
        .prop_map(|(first, second, third, grown)| {
            let authored = |serve: &Value, default: &Value| {
                let rule =
                    json!({"name": "r", "if": {"attribute": "a", "equals": 1}, "serve": serve});
                let body = json!({"state": "enabled", "rules": [rule], "default": default});
                serde_json::from_value::<Targeting>(body).unwrap()
            };
            let before = authored(&first, &second).settled(None);
            let after = authored(&third, &first).settled(grown.then_some(&before));
            serde_json::to_value(after).unwrap()
        })
}

/// A group as it is stored: laid out anew, or grown from another one.
fn exclusion_group() -> impl Strategy<Value = Value> {
    let shares = || prop::collection::btree_map("[a-c]", 0..30_u32, 1..3);
    (shares(), shares(), any::<bool>()).prop_map(|(before, after, grown)| {
        let group = |shares| -> ExclusionGroup {
            serde_json::from_value(json!({"percent": shares, "holdout": 5})).unwrap()
        };
        let before = group(before).settled(None);
        let after = group(after).settled(grown.then_some(&before));
        serde_json::to_value(after).unwrap()
    })
}

fn documents() -> impl Strategy<Value = Vec<(DocumentKey, Value)>> {
    let flags = prop::collection::btree_map(
        "[a-z_][a-z0-9._-]{0,6}",
        prop::collection::btree_map("[a-z0-9]{1,5}", targeting(), 0..3),
        0..3,
    );
    let tenants = prop::collection::btree_map("[a-z0-9][a-z0-9.:@=+-]{0,8}", "[a-z]{1,5}", 0..3);
    let configs = prop::collection::btree_map(
        (
            "[a-z]{1,4}",
            "(base|prod|region=eu|prod[.]plan=no|tenant=[a-z][a-z.:@=+]{0,6})",
        ),
        object(),
        0..4,
    );
    let schemas = prop::collection::btree_map("[a-z]{1,4}", object(), 0..2);
    let channels = prop::collection::btree_map(
        "([a-z]{1,3}/)?[a-z]{1,4}",
        (0_u64..3, prop::option::of(1_u32..100), any::<bool>()),
        0..4,
    );
    (
        flags,
        tenants,
        configs,
        schemas,
        channels,
        exclusion_group(),
    )
        .prop_map(|(flags, tenants, configs, schemas, channels, group)| {
            let mut documents = vec![(key(Kind::ExclusionGroup, "", "g"), group)];
            for (flag, environments) in flags {
                documents.push((key(Kind::Flag, "", &flag), json!({"type": "boolean"})));
                for (environment, body) in environments {
                    documents.push((key(Kind::Targeting, &environment, &flag), body));
                }
            }
            for (tenant, plan) in tenants {
                let scope = format!("prod/{tenant}");
                documents.push((key(Kind::Tenant, "", &tenant), json!({"plan": plan})));
                documents.push((key(Kind::Pin, &scope, "flag:x"), json!({"variant": "on"})));
            }
            for ((document, selector), body) in configs {
                documents.push((key(Kind::Config, &selector, &document), body));
            }
            for (document, body) in schemas {
                documents.push((key(Kind::Schema, "", &document), body));
            }
            let lock = format!("sha256:{}", "a".repeat(64));
            for (agent, (minor, split, locked)) in channels {
                let version = format!("1.{minor}.0");
                let mut body = json!({"default": {"version": version}});
                if locked {
                    body["default"]["lock"] = lock.clone().into();
                }
                if let Some(share) = split {
                    let range = json!({"variant": "2.0.0-rc.1", "start": 0, "end": share});
                    body["split"] = json!({"ranges": [range]});
                    body["locks"] = json!({"2.0.0-rc.1": lock});
                }
                documents.push((key(Kind::Channel, "prod", &agent), body));
                let status = key(Kind::Status, "", &format!("agent:{agent}@{version}"));
                documents.push((status, json!({"status": "active"})));
            }
            documents.push((key(Kind::Environment, "", "prod"), json!({"order": 1})));
            documents.push((key(Kind::Segment, "", "s"), json!({"include": ["on", "1"]})));
            documents.push((
                key(Kind::Trust, "", "default"),
                json!({"signing": "optional"}),
            ));
            for (kind, name) in [
                (Kind::Tool, "acme/t@1.0.0"),
                (Kind::Agent, "b@2.0.0-rc.1+x"),
            ] {
                let (id, version) = name.split_once('@').unwrap();
                let metadata = json!({"inputs_schema": {}, "system_prompt": "a\n  b\n"});
                let body = json!({"name": id, "version": version, "metadata": metadata});
                documents.push((key(kind, "", name), body));
            }
            documents.sort_by(|left, right| left.0.cmp(&right.0));
            documents
        })
}

/// The body with its percentages settled, as a commit settles them.
fn settled(key: &DocumentKey, body: &Value) -> Value {
    match key.kind() {
        Kind::Targeting | Kind::ExclusionGroup | Kind::Channel => {
            let document = Document::decode(key.kind(), body.to_string().as_bytes()).unwrap();
            document.settled(None).to_value()
        }
        _ => body.clone(),
    }
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_the_same_documents(documents in documents()) {
        let files = written(&documents, Locks::Keep);
        let tree = read(&files);
        prop_assert_eq!(&tree.errors, &[]);
        prop_assert_eq!(&tree.notes, &[]);
        let again: Vec<_> = tree
            .documents
            .iter()
            .map(|it| (it.key.clone(), settled(&it.key, &it.body)))
            .collect();
        prop_assert_eq!(&again, &documents);
        // Writing what was read gives the same bytes: an export that changed nothing shows no diff.
        let bodies = tree.documents.iter().map(|it| (&it.key, it.body.clone()));
        prop_assert_eq!(write(bodies, Locks::Keep).unwrap(), files);
    }

    #[test]
    fn no_files_make_the_reader_panic(
        files in prop::collection::vec(
            (
                "(environments|tenants|segments|exclusion_groups|feature_flags|configs|configs/a|registries|registries/(agents|tools|channels|trust)|\\PC{1,4})/(a|b|status|a[.]schema|%4|\\PC{0,4})[.](yaml|json|py)",
                prop_oneof![
                    json_value().prop_map(|it| it.to_string()),
                    "(key|environments|pins|name|version|metadata|default|split|[$]file|a|: |\n  |- |1){0,12}",
                ],
            ),
            0..6,
        ),
    ) {
        let files: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        let tree = read(&files);
        for index in 0..tree.documents.len() {
            prop_assert!(!tree.locate(index, "/default/version").file.is_empty());
        }
    }
}

#[test]
fn a_folder_that_is_nearly_called_like_one_of_a_tree_is_named() {
    for (path, meant) in [
        ("feature-flags/a.yaml", Some("feature_flags")),
        ("flags/a.yaml", Some("feature_flags")),
        ("Tenant/a.json", Some("tenants")),
        ("enviroments/a.yml", Some("environments")),
        ("prompts/a.yaml", None),
        ("flags/README.md", None),
        ("k8s/values.yaml", None),
    ] {
        let tree = read_texts(&[(path, "")]);
        assert_eq!(tree.notes.len(), 1, "{path}");
        assert_eq!(tree.notes[0].meant, meant, "{path}");
    }
}
