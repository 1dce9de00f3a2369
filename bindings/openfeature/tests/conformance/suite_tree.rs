//! The flags of the suite, as a tree of ours.

use std::path::Path;

use serde_json::{Map, Value, json};

/// What an expression of the suite serves, and when. One that is not here fails the run: there is no guessing.
fn rule(expression: &str) -> Value {
    let ballmer = json!({"attribute": "email", "equals": "ballmer@macrosoft.com"});
    let (serve, when) = match expression {
        "email == 'ballmer@macrosoft.com' ? 'zero' : ''" => ("zero", ballmer),
        "!customer && email == 'ballmer@macrosoft.com' && age > 10 ? 'internal' : ''" => (
            "internal",
            json!({"all": [
                {"attribute": "customer", "equals": false},
                ballmer,
                {"attribute": "age", "gt": 10},
            ]}),
        ),
        other => panic!("an expression that is not known: {other}"),
    };
    json!({"name": serve, "if": when, "serve": serve})
}

/// Writes a tree whose environment `test` has the flags of the suite.
pub(crate) fn write(flags: &Path, tree: &Path) {
    let text = std::fs::read_to_string(flags).unwrap_or_else(|it| panic!("{flags:?}: {it}"));
    let flags: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let put = |path: String, body: Value| {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body.to_string()).unwrap();
    };
    put(
        "environments/test.yaml".to_owned(),
        json!({"description": "for the suite"}),
    );
    for (key, flag) in flags {
        let variants = &flag["variants"];
        let first = variants
            .as_object()
            .and_then(|it| it.values().next())
            .unwrap();
        let kind = match first {
            Value::Bool(_) => "boolean",
            Value::String(_) => "string",
            Value::Number(number) if number.is_f64() => "float",
            Value::Number(_) => "integer",
            _ => "object",
        };
        let default = match &flag["defaultVariant"] {
            Value::Null => json!({"caller_default": true}),
            name => name.clone(),
        };
        let rules: Vec<Value> = flag["contextEvaluator"]
            .as_str()
            .map(rule)
            .into_iter()
            .collect();
        let state = if flag["disabled"] == true {
            "disabled"
        } else {
            "enabled"
        };
        let targeting = json!({"state": state, "default": default, "rules": rules});
        let body = json!({
            "key": key, "type": kind, "variants": variants, "environments": {"test": targeting},
            "metadata": flag["flagMetadata"].as_object().cloned().unwrap_or_default(),
        });
        put(format!("feature_flags/{key}.yaml"), body);
    }
}
