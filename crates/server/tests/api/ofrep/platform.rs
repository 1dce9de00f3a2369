//! A platform with flags, and how to ask for them by OFREP.

use serde_json::{Value, json};

use crate::harness::{Call, Reply, Server};

pub(crate) const ALL: &str = "/ofrep/v1/evaluate/flags";
pub(crate) const IN_PRODUCTION: &str = "/v1/environments/production/ofrep/v1/evaluate/flags";

impl Server {
    /// A platform with a flag of each kind of outcome.
    pub(crate) async fn given_flags(&self) {
        self.given_a_platform().await;
        let enabled = |more: Value| {
            let mut body = json!({ "state": "enabled" });
            let members = more.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(members);
            body
        };
        let theme = json!({
            "type": "string", "variants": { "dark": "#000", "light": "#fff" },
            "metadata": { "team \"ui\"": "shop", "ticket": 7, "weight": 0.5, "beta": true },
        });
        let ratio = json!({ "type": "float", "variants": { "whole": 1.0, "half": 0.5 } });
        let limits = json!({ "type": "object", "variants": { "small": { "rows": 10 } } });
        let by_country = json!({
            "rules": [{
                "name": "germany",
                "if": { "attribute": "country", "equals": "DE" },
                "serve": "dark",
            }],
            "default": "light",
        });
        let half = json!({ "default": { "percent": { "on": 50 } } });
        self.given(&[
            ("flag", "", "theme", theme.clone()),
            ("targeting", "production", "theme", enabled(by_country)),
            ("flag", "", "ratio", ratio),
            (
                "targeting",
                "production",
                "ratio",
                enabled(json!({ "default": "whole" })),
            ),
            ("flag", "", "limits", limits),
            (
                "targeting",
                "production",
                "limits",
                enabled(json!({ "default": "small" })),
            ),
            ("flag", "", "half", json!({ "type": "boolean" })),
            ("targeting", "production", "half", enabled(half)),
            ("flag", "", "unset", theme),
        ])
        .await;
    }

    /// Asks for one flag, or with an empty key for all, in production.
    pub(crate) async fn ofrep(&self, key: &str, context: Value) -> Reply {
        let path = format!("{IN_PRODUCTION}/{key}");
        self.post(&path, json!({ "context": context })).await
    }
}

impl Call<'_> {
    /// Asks for a context.
    pub(crate) fn asks(self, context: Value) -> Self {
        self.json(&Value::from_iter([("context", context)]))
    }
}
