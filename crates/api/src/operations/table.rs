//! The table itself: documents, the registry, commits and access.

use plane_model::{Code, documents};
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::ofrep::ofrep_operations;
use super::runtime::{runtime_operations, server_operations};
use super::{
    AT, CURSOR, DOCUMENT_CODES, LIMIT, Operation, Query, REGISTRY_CODES, Reply, delete, get, json,
    post, put, text,
};
use crate::{
    ArtifactSummary, BucketingRequest, CommitRecord, CommitReply, CommitRequest, ConfigSummary,
    DocumentReply, List, PublishReply, RecordReply, RevertReply, RevertRequest, StaleFlag,
    TokenReply, TokenRequest, TreeReply, TreeRequest, TreesReply, UsesReply, VersionReply,
    VersionSummary, Whoami,
};

pub(super) fn table() -> Vec<Operation> {
    let mut table = Vec::new();
    document_operations(&mut table);
    registry_operations(&mut table);
    command_operations(&mut table);
    runtime_operations(&mut table);
    ofrep_operations(&mut table);
    server_operations(&mut table);
    table
}

fn document_operations(table: &mut Vec<Operation>) {
    Family::new(
        "Environment",
        "Environments",
        "environments",
        "/v1/environments",
        "{environment}",
    )
    .operations::<documents::Environment>(table);
    table.push(
        put(
            "putBucketing",
            "/v1/environments/{environment}/bucketing",
            "environments",
            "Has units hashed in another way in an environment; the answer says which tenants move.",
        )
        .write()
        .request(json::<BucketingRequest>)
        .reply(Reply::Json(json::<CommitReply>))
        .codes(DOCUMENT_CODES),
    );
    Family::new("Tenant", "Tenants", "tenants", "/v1/tenants", "{tenant}")
        .operations::<documents::Tenant>(table);
    Family::new("Segment", "Segments", "flags", "/v1/segments", "{segment}")
        .operations::<documents::Segment>(table);
    Family::new(
        "ExclusionGroup",
        "ExclusionGroups",
        "flags",
        "/v1/exclusion-groups",
        "{group}",
    )
    .operations::<documents::ExclusionGroup>(table);
    Family::new("Flag", "Flags", "flags", "/v1/flags", "{flag}")
        .operations::<documents::Flag>(table);
    Family::new(
        "Targeting",
        "Targetings",
        "flags",
        "/v1/environments/{environment}/targeting",
        "{flag}",
    )
    .operations::<documents::Targeting>(table);
    let days = Query {
        kind: "integer",
        ..text("days", "how many days to look back, 1 to 90; 30 if absent")
    };
    table.push(
        get(
            "listStaleFlags",
            "/v1/environments/{environment}/stale-flags",
            "flags",
            "Lists the flags that should be gone, or are gone and still asked for, and what to do about each.",
        )
        .query(&[days, LIMIT, CURSOR])
        .reply(Reply::Json(json::<List<StaleFlag>>))
        .codes(&[Code::EnvironmentNotFound, Code::StoreUnavailable]),
    );
    let tenant = "/v1/environments/{environment}/tenants/{tenant}";
    Family::new(
        "Pin",
        "Pins",
        "tenants",
        &format!("{tenant}/pins"),
        "{subject}",
    )
    .operations::<documents::Pin>(table);
    Family::new(
        "Kill",
        "Kills",
        "kills",
        "/v1/environments/{environment}/kills",
        "{subject}",
    )
    .kills(table);
    Family::new(
        "TenantKill",
        "TenantKills",
        "kills",
        &format!("{tenant}/kills"),
        "{subject}",
    )
    .kills(table);
    Family::new(
        "Schedule",
        "Schedules",
        "schedules",
        "/v1/environments/{environment}/schedules",
        "{schedule}",
    )
    .operations::<documents::Schedule>(table);
    Family::new(
        "ConfigLayer",
        "ConfigLayers",
        "config",
        "/v1/config/{document}/layers",
        "{selector}",
    )
    .operations::<Map<String, Value>>(table);
    let schema = Family::new(
        "ConfigSchema",
        "",
        "config",
        "/v1/config/{document}",
        "schema",
    );
    schema.item_operations::<Value>(table);
    table.push(
        get(
            "listConfig",
            "/v1/config",
            "config",
            "Lists the config documents.",
        )
        .query(&[AT, LIMIT, CURSOR])
        .reply(Reply::Json(json::<List<ConfigSummary>>)),
    );
    table.push(
        get(
            "getUses",
            "/v1/environments/{environment}/uses/{kind}/{name}",
            "environments",
            "Says which documents refer to an environment, a tenant, a segment, a flag, an agent or a tool, and where.",
        )
        .query(&[AT])
        .reply(Reply::Json(json::<UsesReply>))
        .codes(&[
            Code::EnvironmentNotFound,
            Code::KindUnknown,
            Code::RevisionNotFound,
        ]),
    );
    Family::new(
        "Channel",
        "Channels",
        "registry",
        "/v1/environments/{environment}/channels",
        "{agent}",
    )
    .operations::<documents::Channel>(table);
    Family::new("Trust", "Trusts", "registry", "/v1/trust", "{namespace}")
        .operations::<documents::Trust>(table);
    Family::new(
        "RoleBinding",
        "RoleBindings",
        "access",
        "/v1/role-bindings",
        "{id}",
    )
    .operations::<documents::RoleBinding>(table);
}

fn registry_operations(table: &mut Vec<Operation>) {
    for (kind, kinds, one) in [("Agent", "agents", "an agent"), ("Tool", "tools", "a tool")] {
        let param = kind.to_ascii_lowercase();
        let all = format!("/v1/{kinds}");
        let versions = format!("{all}/{{{param}}}/versions");
        let version = format!("{versions}/{{version}}");
        table.push(
            get(
                &format!("list{kind}s"),
                &all,
                "registry",
                &format!("Lists the {kinds}, and finds them."),
            )
            .query(&[
                AT,
                LIMIT,
                CURSOR,
                text("q", "only those whose name or description has this text"),
                text("category", "only those of this category"),
                text("capability", "only those with this capability"),
                text("owner", "only those of this owner"),
                text("status", "only those with a version of this status"),
            ])
            .reply(Reply::Json(json::<List<ArtifactSummary>>)),
        );
        table.push(
            post(
                &format!("publish{kind}"),
                &all,
                "registry",
                &format!("Publishes a version of {one}."),
            )
            .write()
            .request(json::<Map<String, Value>>)
            .reply(Reply::Json(json::<PublishReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
        table.push(
            get(
                &format!("list{kind}Versions"),
                &versions,
                "registry",
                &format!("Lists the versions of {one}."),
            )
            .query(&[AT, LIMIT, CURSOR])
            .reply(Reply::Json(json::<List<VersionSummary>>))
            .codes(&[Code::VersionNotFound]),
        );
        table.push(
            get(
                &format!("get{kind}Version"),
                &version,
                "registry",
                &format!("Reads one version of {one}."),
            )
            .query(&[AT])
            .reply(Reply::Json(json::<VersionReply>))
            .codes(&[
                Code::VersionNotFound,
                Code::ManifestMissing,
                Code::DigestMismatch,
            ]),
        );
        table.push(
            put(
                &format!("put{kind}Version"),
                &version,
                "registry",
                &format!("Publishes this version of {one}."),
            )
            .write()
            .request(json::<Map<String, Value>>)
            .reply(Reply::Json(json::<PublishReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
        let family = Family::new(&format!("{kind}Status"), "", "registry", &version, "status");
        family.get_and_put::<documents::Status>(table);
    }
}

fn command_operations(table: &mut Vec<Operation>) {
    table.push(
        post(
            "commit",
            "/v1/commits",
            "commits",
            "Changes documents of any kinds, all or none.",
        )
        .write()
        .request(json::<CommitRequest>)
        .reply(Reply::Json(json::<CommitReply>))
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        get(
            "listCommits",
            "/v1/commits",
            "commits",
            "Lists commits, the newest first.",
        )
        .query(&[
            text("since", "only from this revision or time on"),
            text("until", "only up to this revision or time"),
            text("actor", "only by this principal"),
            text("tenant", "only those that changed documents of this tenant"),
            text("kind", "only those that changed documents of this kind"),
            text("scope", "only those that changed documents of this scope"),
            text("name", "only those that changed documents of this name"),
            LIMIT,
            CURSOR,
        ])
        .reply(Reply::Json(json::<List<CommitRecord>>))
        .codes(&[Code::KindUnknown, Code::StoreUnavailable]),
    );
    table.push(
        get(
            "getCommit",
            "/v1/commits/{revision}",
            "commits",
            "Reads one commit and what it changed.",
        )
        .reply(Reply::Json(json::<RecordReply>))
        .codes(&[Code::RevisionNotFound, Code::StoreUnavailable]),
    );
    table.push(
        post(
            "revert",
            "/v1/reverts",
            "commits",
            "Puts documents back to what they were before commits.",
        )
        .write()
        .request(json::<RevertRequest>)
        .reply(Reply::Json(json::<RevertReply>))
        .codes(&[Code::NotRevertible, Code::RevisionNotFound])
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        post(
            "applyTree",
            "/v1/trees",
            "trees",
            "Makes the documents be what a tree says.",
        )
        .write()
        .request(json::<TreeRequest>)
        .reply(Reply::Json(json::<TreeReply>))
        .codes(DOCUMENT_CODES)
        .codes(REGISTRY_CODES),
    );
    table.push(
        get(
            "exportTree",
            "/v1/trees",
            "trees",
            "Reads everything that a tree can hold.",
        )
        .query(&[AT])
        .reply(Reply::Json(json::<TreesReply>))
        .codes(&[Code::RevisionNotFound, Code::ManifestMissing]),
    );
    table.push(
        post(
            "createToken",
            "/v1/tokens",
            "access",
            "Makes a token; its text is in the reply only.",
        )
        .write()
        .without("dry_run")
        .without("impact_tenants")
        .request(json::<TokenRequest>)
        .reply(Reply::Json(json::<TokenReply>))
        .codes(DOCUMENT_CODES),
    );
    table.push(
        get(
            "listTokens",
            "/v1/tokens",
            "access",
            "Lists the tokens, without their secrets.",
        )
        .query(&[AT, LIMIT, CURSOR])
        .reply(Reply::Json(json::<List<DocumentReply<TokenRequest>>>)),
    );
    table.push(
        delete(
            "deleteToken",
            "/v1/tokens/{id}",
            "access",
            "Withdraws a token, at once.",
        )
        .write()
        .reply(Reply::Json(json::<CommitReply>)),
    );
    table.push(
        get(
            "whoami",
            "/v1/whoami",
            "access",
            "Says who the caller is and what the token covers.",
        )
        .reply(Reply::Json(json::<Whoami>)),
    );
}

/// The operations of one kind of document.
struct Family {
    one: String,
    many: &'static str,
    tag: &'static str,
    collection: String,
    item: String,
}

impl Family {
    fn new(one: &str, many: &'static str, tag: &'static str, collection: &str, item: &str) -> Self {
        Self {
            one: one.to_owned(),
            many,
            tag,
            collection: collection.to_owned(),
            item: format!("{collection}/{item}"),
        }
    }

    /// What the documents are called in sentences.
    fn noun(&self) -> String {
        let mut noun = String::new();
        for character in self.one.chars() {
            if character.is_ascii_uppercase() && !noun.is_empty() {
                noun.push(' ');
            }
            noun.push(character.to_ascii_lowercase());
        }
        noun
    }

    fn operations<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.list::<T>(table);
        self.item_operations::<T>(table);
    }

    fn list<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        let summary = format!("Lists documents of the kind {}.", self.noun());
        table.push(
            get(
                &format!("list{}", self.many),
                &self.collection,
                self.tag,
                &summary,
            )
            .query(&[AT, LIMIT, CURSOR])
            .reply(Reply::Json(json::<List<DocumentReply<T>>>)),
        );
    }

    fn get<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        let summary = format!("Reads one {}.", self.noun());
        table.push(
            get(&format!("get{}", self.one), &self.item, self.tag, &summary)
                .query(&[AT])
                .reply(Reply::Json(json::<DocumentReply<T>>))
                .codes(&[Code::RevisionNotFound]),
        );
    }

    fn get_and_put<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.get::<T>(table);
        let summary = format!("Creates or replaces one {}.", self.noun());
        table.push(
            put(&format!("put{}", self.one), &self.item, self.tag, &summary)
                .write()
                .conditional()
                .request(json::<T>)
                .reply(Reply::Json(json::<CommitReply>))
                .codes(DOCUMENT_CODES)
                .codes(REGISTRY_CODES),
        );
    }

    fn item_operations<T: JsonSchema>(&self, table: &mut Vec<Operation>) {
        self.get_and_put::<T>(table);
        let summary = format!("Deletes one {}.", self.noun());
        table.push(
            delete(
                &format!("delete{}", self.one),
                &self.item,
                self.tag,
                &summary,
            )
            .write()
            .conditional()
            .reply(Reply::Json(json::<CommitReply>))
            .codes(DOCUMENT_CODES)
            .codes(REGISTRY_CODES),
        );
    }

    /// Kills are given and cleared without conditions: nothing may stand in their way.
    fn kills(&self, table: &mut Vec<Operation>) {
        self.list::<documents::Kill>(table);
        self.get::<documents::Kill>(table);
        let what = if self.one == "Kill" {
            "for everybody"
        } else {
            "for one tenant"
        };
        table.push(
            put(
                &format!("put{}", self.one),
                &self.item,
                self.tag,
                &format!("Stops a flag, an agent or a tool {what}."),
            )
            .write()
            .request(json::<documents::Kill>)
            .reply(Reply::Json(json::<CommitReply>))
            .codes(DOCUMENT_CODES)
            .codes(&[Code::VersionNotFound]),
        );
        table.push(
            delete(
                &format!("delete{}", self.one),
                &self.item,
                self.tag,
                &format!("Revives what was stopped {what}."),
            )
            .write()
            .reply(Reply::Json(json::<CommitReply>)),
        );
    }
}
