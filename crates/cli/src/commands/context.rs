//! Who asks: the context of resolves and evaluations.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::parse;

/// Who asks, as far as the caller knows.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ContextArgs {
    /// The tenant that asks
    #[arg(long, short, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// The user that asks
    #[arg(long, short, value_name = "ID")]
    pub(crate) user: Option<String>,
    /// What else is known, such as device=mobile; a value may be JSON
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse::pair)]
    attribute: Vec<(String, String)>,
    /// The whole context as JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    context: Option<String>,
}

impl ContextArgs {
    /// The context in the form of the API; options beat what `--context` says.
    pub(crate) fn to_context(&self) -> Result<Map<String, Value>> {
        let mut context = match &self.context {
            Some(text) => parse::object(text)?,
            None => Map::new(),
        };
        if let Some(tenant) = &self.tenant {
            context.insert("tenant".to_owned(), json!(tenant));
        }
        if let Some(user) = &self.user {
            context.insert("user".to_owned(), json!(user));
        }
        parse::once("--attribute", &self.attribute)?;
        if !self.attribute.is_empty() {
            let attributes = context.entry("attributes").or_insert_with(|| json!({}));
            if let Value::Object(attributes) = attributes {
                for (name, value) in &self.attribute {
                    attributes.insert(name.clone(), parse::value(value)?);
                }
            }
        }
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_beat_the_context_and_attributes_are_added() {
        let arguments = ContextArgs {
            tenant: Some("t1".to_owned()),
            user: None,
            attribute: vec![
                ("seats".to_owned(), "5".to_owned()),
                ("os".to_owned(), "ios".to_owned()),
            ],
            context: Some(r#"{"tenant": "t2", "user": "u", "attributes": {"a": 1}}"#.to_owned()),
        };
        assert_eq!(
            Value::Object(arguments.to_context().unwrap()),
            json!({"tenant": "t1", "user": "u", "attributes": {"a": 1, "seats": 5, "os": "ios"}})
        );
    }
}
