//! The JSON Schema, for editors.

use serde_json::{Map, Value, json};

use crate::{
    reference::{self, Default, Form, Key, Naming},
    scalar::Kind,
};

/// Strategies are the same in environments and components and are described once.
const STRATEGY: &str = "environments.*.strategy";

/// The schema of the manifest, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tidegate.yaml",
        "description": "How Tidegate builds, deploys and watches a project.",
        "$defs": { "strategy": reference::find(STRATEGY).map(described) },
    });
    if let Value::Object(object) = &mut schema {
        object.append(&mut mapping(""));
    }
    schema
}

/// A mapping whose keys are the children of `path`.
fn mapping(path: &str) -> Map<String, Value> {
    let properties: Map<String, Value> =
        reference::children(path).map(|key| (key.name().to_owned(), property(key))).collect();
    let required: Vec<&str> = reference::children(path)
        .filter(|key| key.default == Default::Required)
        .map(Key::name)
        .collect();
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("object"));
    object.insert("properties".to_owned(), Value::Object(properties));
    object.insert("patternProperties".to_owned(), json!({ "^x-": true }));
    object.insert("additionalProperties".to_owned(), json!(false));
    if !required.is_empty() {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn property(key: &Key) -> Value {
    if matches!(key.path, STRATEGY | "components.*.strategy") {
        return json!({ "$ref": "#/$defs/strategy", "description": key.summary });
    }
    described(key)
}

fn described(key: &Key) -> Value {
    let mut forms: Vec<Value> = key.forms.iter().map(|form| self::form(*form, key)).collect();
    let mut value = match forms.len() {
        1 => forms.remove(0),
        _ => json!({ "anyOf": forms }),
    };
    if let Value::Object(object) = &mut value {
        let description = if key.details.is_empty() {
            key.summary.to_owned()
        } else {
            format!("{} {}", key.summary, key.details)
        };
        object.insert("description".to_owned(), json!(description));
        if let Default::Text(text) = key.default {
            object.insert("default".to_owned(), default(text, key));
        }
    }
    value
}

fn default(text: &str, key: &Key) -> Value {
    if key.forms.contains(&Form::List) {
        let items: Vec<&str> =
            text.trim_matches(['[', ']']).split(", ").filter(|item| !item.is_empty()).collect();
        return json!(items);
    }
    let typed = key.kinds().any(|kind| matches!(kind, Kind::Boolean | Kind::Integer { .. }));
    match serde_json::from_str::<Value>(text) {
        Ok(value) if typed => value,
        _ => json!(text),
    }
}

fn form(form: Form, key: &Key) -> Value {
    match form {
        Form::Scalar(kind) => scalar(kind),
        Form::Mapping => Value::Object(mapping(key.path)),
        Form::Nothing => json!({ "type": "null" }),
        Form::List => json!({ "type": "array", "items": item(key) }),
        Form::Named(naming) => {
            let pattern = match naming {
                Naming::Name => NAME,
                Naming::Variable => "^(?!TIDEGATE_)[A-Za-z_][A-Za-z0-9_]{0,99}$",
            };
            // A name that starts with `x-` is ignored, so the pattern for names leaves it out.
            let pattern = pattern.replacen('^', "^(?!x-)", 1);
            let least = usize::from(matches!(key.path, "components" | "environments"));
            json!({
                "type": "object",
                "patternProperties": { "^x-": true, pattern: item(key) },
                "additionalProperties": false,
                "minProperties": least,
            })
        }
    }
}

fn item(key: &Key) -> Value {
    reference::find(&format!("{}.*", key.path)).map_or(Value::Bool(true), property)
}

const NAME: &str = "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$";
const DURATION: &str = "^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const SHARE: &str = "^(100(\\.0{1,2})?|[0-9]{1,2}(\\.[0-9]{1,2})?)%$";

fn scalar(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Command => json!({ "type": "string", "pattern": "\\S" }),
        Kind::Name => json!({ "type": "string", "pattern": NAME }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Kind::Duration | Kind::PositiveDuration => {
            json!({ "type": "string", "pattern": DURATION, "examples": ["500ms", "30s", "5m", "1h30m"] })
        }
        Kind::Share => json!({ "type": "string", "pattern": SHARE, "examples": ["10%", "0.5%"] }),
        Kind::Size => {
            json!({ "type": "string", "pattern": "^[0-9]+(KiB|MiB|GiB)$", "examples": ["8MiB"] })
        }
        Kind::Path => {
            json!({ "type": "string", "pattern": "^(?!/|~)(?!(.*/)?\\.\\.(/|$))[^\\\\]+$" })
        }
        Kind::AbsolutePath => json!({ "type": "string", "pattern": "^/[^\\x00-\\x1f]+$" }),
        Kind::UrlPath => json!({ "type": "string", "pattern": "^/[^\\s#]*$" }),
        Kind::Host => json!({ "type": "string", "pattern": "^[a-z0-9-]+(\\.[a-z0-9-]+)*$" }),
        Kind::Header => json!({
            "type": "string",
            "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$",
            "examples": ["X-User-Id"],
        }),
        Kind::Address => {
            json!({ "type": "string", "pattern": ":[0-9]+$", "examples": ["127.0.0.1:8080"] })
        }
        Kind::Network => json!({
            "type": "string",
            "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$",
            "examples": ["10.0.0.0/8", "127.0.0.1"],
        }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Verbatim => json!({ "type": ["string", "number", "boolean"] }),
        Kind::VariableType => json!({
            "type": "string",
            "pattern": "^(text|integer|number|boolean|url|port|duration|enum *\\(.+\\))$",
        }),
        Kind::Guard => json!({
            "type": "string",
            "pattern": "^\\s*(error_rate|p50|p95|p99|health_check_failures|restarts)\\s*>",
            "examples": ["error_rate > 5% for 2m", "p95 > 500ms", "restarts >= 3"],
        }),
    }
}

#[cfg(test)]
mod tests;
