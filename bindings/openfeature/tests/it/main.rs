//! The provider through `OpenFeature`'s own SDK.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use control_plane_openfeature::Provider;
use open_feature::provider::{FeatureProvider, ProviderStatus};
use open_feature::{
    Client, EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationReason,
    FlagMetadataValue, OpenFeature, StructValue, Value as SdkValue,
};
use plane_client::ControlPlane;
use plane_client::sdk::InMemory;
use serde_json::json;

/// A client of the SDK whose provider reads from `memory`.
async fn client(memory: &InMemory) -> Client {
    let provider = Provider::new(&memory.control_plane()).unwrap();
    let mut api = OpenFeature::default();
    api.set_provider(provider).await;
    api.create_client()
}

/// A tree whose flag `beta` is for one tenant, and for people who use a device with iOS.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let flag = json!({
        "key": "beta", "type": "boolean",
        "metadata": {"team": "ml", "ticket": 17, "weight": 0.5, "beta": true},
        "environments": {"test": {"state": "enabled", "default": "off", "rules": [
            {"name": "acme", "if": {"attribute": "tenant.id", "equals": "acme"}, "serve": "on"},
            {"name": "ios", "if": {"attribute": "device.os", "equals": "ios"}, "serve": "on"},
        ]}}
    });
    for (path, body) in [
        (
            "environments/test.yaml",
            json!({"description": "for a test"}),
        ),
        ("feature_flags/beta.yaml", flag),
    ] {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body.to_string()).unwrap();
    }
    dir
}

#[tokio::test]
async fn flags_of_every_type_have_a_value_a_variant_a_reason_and_metadata() {
    let memory = ControlPlane::in_memory();
    memory.flag("b", true).unwrap();
    memory.flag("i", 7).unwrap();
    memory.flag("f", 0.5).unwrap();
    memory.flag("s", "hi").unwrap();
    memory.flag("o", json!({"n": [1, 0.5, "x", true]})).unwrap();
    let client = client(&memory).await;

    let details = client.get_bool_details("b", None, None).await.unwrap();
    assert!(details.value);
    assert_eq!(details.variant.as_deref(), Some("on"));
    assert_eq!(details.reason, Some(EvaluationReason::Static));
    let metadata = &details.flag_metadata.values;
    assert_eq!(
        metadata["bucketing"],
        FlagMetadataValue::String("flagd-v3".to_owned())
    );
    assert!(matches!(metadata["revision"], FlagMetadataValue::Int(revision) if revision > 0));

    assert_eq!(client.get_int_value("i", None, None).await, Ok(7));
    assert_eq!(client.get_float_value("f", None, None).await, Ok(0.5));
    assert_eq!(client.get_float_value("i", None, None).await, Ok(7.0));
    assert_eq!(
        client.get_string_value("s", None, None).await,
        Ok("hi".to_owned())
    );
    let object: StructValue = client.get_struct_value("o", None, None).await.unwrap();
    let items = vec![
        SdkValue::Int(1),
        SdkValue::Float(0.5),
        SdkValue::String("x".to_owned()),
        SdkValue::Bool(true),
    ];
    assert_eq!(object.fields["n"], SdkValue::Array(items));
}

#[tokio::test]
async fn what_cannot_be_evaluated_has_the_code_of_openfeature() {
    let memory = ControlPlane::in_memory();
    memory.flag("s", "hi").unwrap();
    memory.flag("f", 0.5).unwrap();
    memory.flag("with-null", json!({"a": null})).unwrap();
    let client = client(&memory).await;
    let unknown = client.get_bool_value("none", None, None).await.unwrap_err();
    assert_eq!(unknown.code, EvaluationErrorCode::FlagNotFound);
    for found in [
        client.get_bool_value("s", None, None).await.map(drop),
        client.get_int_value("f", None, None).await.map(drop),
        client
            .get_struct_value::<StructValue>("with-null", None, None)
            .await
            .map(drop),
    ] {
        assert_eq!(found.unwrap_err().code, EvaluationErrorCode::TypeMismatch);
    }
    let wrong = EvaluationContext::default().with_custom_field("tenant", 7);
    let wrong = client
        .get_string_value("s", Some(&wrong), None)
        .await
        .unwrap_err();
    assert_eq!(wrong.code, EvaluationErrorCode::InvalidContext);
    let opaque = EvaluationContextFieldValue::new_struct(Duration::ZERO);
    let opaque = EvaluationContext::default().with_custom_field("x", opaque);
    let opaque = client
        .get_string_value("s", Some(&opaque), None)
        .await
        .unwrap_err();
    assert_eq!(opaque.code, EvaluationErrorCode::InvalidContext);
}

#[tokio::test]
async fn the_context_reaches_rules_by_the_names_of_the_control_plane() {
    let tree = tree();
    let memory = InMemory::from_tree(tree.path()).unwrap();
    let client = client(&memory).await;
    let device = HashMap::from([("os".to_owned(), "ios".to_owned())]);
    let structure = StructValue {
        fields: HashMap::from([("id".to_owned(), SdkValue::String("acme".to_owned()))]),
    };
    let field = EvaluationContextFieldValue::new_struct::<StructValue>;
    for (ctx, rule) in [
        (
            EvaluationContext::default().with_custom_field("tenant", "acme"),
            Some("acme"),
        ),
        (
            EvaluationContext::default().with_custom_field("tenant", field(structure)),
            Some("acme"),
        ),
        (
            EvaluationContext::default()
                .with_custom_field("device", EvaluationContextFieldValue::new_struct(device)),
            Some("ios"),
        ),
        (
            EvaluationContext::default().with_custom_field(
                "device",
                EvaluationContextFieldValue::new_struct(json!({"os": "ios"})),
            ),
            Some("ios"),
        ),
        (
            EvaluationContext::default().with_targeting_key("acme"),
            None,
        ),
    ] {
        let details = client
            .get_bool_details("beta", Some(&ctx), None)
            .await
            .unwrap();
        let named = details.flag_metadata.values.get("rule").cloned();
        assert_eq!(named, rule.map(Into::into), "{ctx:?}");
        assert_eq!(details.value, rule.is_some());
    }
}

#[tokio::test]
async fn a_flag_s_own_metadata_are_told_beside_ours_or_alone() {
    let tree = tree();
    let memory = InMemory::from_tree(tree.path()).unwrap();
    let told = async |provider: Provider| {
        let mut api = OpenFeature::default();
        api.set_provider(provider).await;
        let client = api.create_client();
        let details = client.get_bool_details("beta", None, None).await.unwrap();
        let values = details.flag_metadata.values.into_iter();
        values.collect::<BTreeMap<_, _>>()
    };
    let own = [
        ("team", FlagMetadataValue::from("ml")),
        ("ticket", 17.into()),
        ("weight", 0.5.into()),
        ("beta", true.into()),
    ];
    let mut own: BTreeMap<_, _> = own.map(|(name, it)| (name.to_owned(), it)).into();
    let provider = || Provider::new(&memory.control_plane()).unwrap();
    assert_eq!(told(provider().only_flag_metadata()).await, own);
    let both = told(provider()).await;
    own.insert("revision".to_owned(), both["revision"].clone());
    own.insert("bucketing".to_owned(), "flagd-v3".into());
    assert_eq!(both, own);
}

#[tokio::test]
async fn a_change_is_in_the_next_answer() {
    let memory = ControlPlane::in_memory();
    memory.flag("b", false).unwrap();
    let client = client(&memory).await;
    assert_eq!(client.get_bool_value("b", None, None).await, Ok(false));
    memory.flag("b", true).unwrap();
    assert_eq!(client.get_bool_value("b", None, None).await, Ok(true));
}

#[tokio::test]
async fn a_provider_says_how_it_stands() {
    let memory = ControlPlane::in_memory();
    memory.flag("b", true).unwrap();
    let mut provider = Provider::new(&memory.control_plane()).unwrap();
    let ctx = EvaluationContext::default();
    assert_eq!(provider.metadata().name, "control-plane");
    assert_eq!(provider.status(), ProviderStatus::NotReady);
    let early = provider.resolve_bool_value("b", &ctx).await.unwrap_err();
    assert_eq!(early.code, EvaluationErrorCode::ProviderNotReady);
    provider.initialize(&ctx).await;
    assert_eq!(provider.status(), ProviderStatus::Ready);

    let nowhere = ControlPlane::builder()
        .tree("/no/such/tree")
        .environment("test");
    let nowhere = nowhere.build().unwrap();
    let mut provider = Provider::new(&nowhere)
        .unwrap()
        .timeout(Duration::from_millis(1));
    provider.initialize(&ctx).await;
    assert_eq!(provider.status(), ProviderStatus::Error);
    let failed = provider.resolve_bool_value("b", &ctx).await.unwrap_err();
    assert_eq!(failed.code, EvaluationErrorCode::ProviderNotReady);
    assert!(failed.message.unwrap().contains("/no/such/tree"));
}

#[tokio::test]
async fn a_provider_that_is_dropped_leaves_the_client_open() {
    let memory = ControlPlane::in_memory();
    memory.flag("b", true).unwrap();
    let plane = memory.control_plane();
    let mut api = OpenFeature::default();
    api.set_provider(Provider::new(&plane).unwrap()).await;
    api.shutdown().await;
    assert!(plane.is_enabled("b", &plane_client::sdk::Context::new(), false));
}
