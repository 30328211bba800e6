//! The schema against the reader: an editor must not refuse what the reader takes.

use fancy_regex::Regex;
use serde_json::{Value, json};

use super::{json_schema, scalar};
use crate::{
    scalar::Kind,
    yaml::{self, Node, Scalar, ScalarKind},
};

const EVERY_KEY: &str = include_str!("../../tests/every-key.yaml");

fn json_of_scalar(scalar: &Scalar) -> Value {
    match scalar.kind() {
        ScalarKind::Text => json!(scalar.text),
        ScalarKind::Boolean => json!(scalar.text.eq_ignore_ascii_case("true")),
        ScalarKind::Integer | ScalarKind::Number => {
            serde_json::from_str(&scalar.text).unwrap_or_else(|_| json!(0))
        }
    }
}

fn json_of(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Nothing => Value::Null,
        yaml::Value::Scalar(scalar) => json_of_scalar(scalar),
        yaml::Value::List(items) => items.iter().map(json_of).collect(),
        yaml::Value::Mapping(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.value))).collect()
        }
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text).unwrap()
}

/// As much of JSON Schema as the schema uses; a keyword that is not known here fails the test.
fn validate(schema: &Value, value: &Value, place: &str, root: &Value) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if schema == &json!(true) { Ok(()) } else { Err(format!("{place}: refused")) };
    };
    let fail = |what: &str| Err(format!("{place}: {value} breaks {what}"));
    for (keyword, rule) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "examples"
            | "properties" | "patternProperties" => true,
            "$ref" => {
                let name = rule.as_str().unwrap().strip_prefix("#/").unwrap();
                let target = name.split('/').fold(root, |at, part| &at[part]);
                validate(target, value, place, root)?;
                true
            }
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => {
                rule.as_array().unwrap().iter().any(|one| validate(one, value, place, root).is_ok())
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    validate(rule, item, &format!("{place}[]"), root)?;
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.get(name.as_str().unwrap()).is_some()),
            "additionalProperties" => {
                assert_eq!(rule, &json!(false));
                for (name, inner) in value.as_object().into_iter().flatten() {
                    let mut known = false;
                    let mut rules: Vec<&Value> =
                        schema["properties"].get(name).into_iter().collect();
                    for (pattern, rule) in schema["patternProperties"].as_object().unwrap() {
                        if matches(pattern, name) {
                            rules.push(rule);
                        }
                    }
                    for rule in rules {
                        known = true;
                        validate(rule, inner, &format!("{place}.{name}"), root)?;
                    }
                    if !known {
                        return Err(format!("{place}: `{name}` is not known"));
                    }
                }
                true
            }
            "minProperties" => {
                let count = value.as_object().map_or(0, serde_json::Map::len);
                count as u64 >= rule.as_u64().unwrap()
            }
            "minimum" => value.as_u64().is_none_or(|number| number >= rule.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|number| number <= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            other => panic!("the test does not know the keyword {other}"),
        };
        if !holds {
            return fail(keyword);
        }
    }
    Ok(())
}

fn valid(text: &str) -> Result<(), String> {
    let (root, faults) = yaml::parse(text);
    assert!(faults.is_empty(), "{faults:?}");
    let schema = json_schema();
    validate(&schema, &json_of(&root.unwrap()), "", &schema)
}

#[test]
fn the_example_with_every_key_is_valid() {
    assert_eq!(valid(EVERY_KEY), Ok(()));
}

#[test]
fn slips_are_not_valid() {
    for (from, to) in [
        ("project: shop", "projekt: shop"),
        ("project: shop", "project: Shop"),
        ("  db:\n    command", "  DB:\n    command"),
        ("command: ./db", "comand: ./db"),
        ("timeout: 1m", "timeout: 1"),
        ("timeout: 1m", "timeout: 1 minute"),
        ("replicas: 2", "replicas: 0"),
        ("replicas: 2", "replicas: two"),
        ("depends_on: [db]", "depends_on: db"),
        ("path: apps/api", "path: ../api"),
        ("output: target", "output: /target"),
        ("file_size: 16MiB", "file_size: 16MB"),
        ("signal: SIGINT", "signal: INT"),
        ("LOG_LEVEL:\n        type", "LOG-LEVEL:\n        type"),
        ("share: 10%", "share: 110%"),
        ("listen: 8081", "listen: 0"),
        ("blue_green:", "green_blue:"),
        ("proceed", "continue"),
        ("p95 >", "p96 >"),
        ("          - 10%\n", "          - 10\n"),
        ("bake: 30s", "bake: soon"),
    ] {
        let text = EVERY_KEY.replacen(from, to, 1);
        assert_ne!(text, EVERY_KEY, "{from} is not in the example");
        assert!(valid(&text).is_err(), "{from} -> {to}");
        assert!(crate::read(&text, "tidegate.yaml").is_err(), "{from} -> {to}");
    }
}

#[test]
fn what_the_reader_takes_the_schema_takes() {
    let texts = [
        "a",
        "shop-2",
        "true",
        "1",
        "65535",
        "0",
        "1000",
        "0s",
        "30s",
        "1h30m",
        "500ms",
        "1d2h3m4s5ms",
        "10%",
        "0.5%",
        "100%",
        "100.00%",
        "8MiB",
        "1GiB",
        ".",
        "a/b",
        "a..b",
        "./a",
        "...",
        "/",
        "/a/b?c=d",
        "shop.example.com",
        "127.0.0.1:80",
        "[::1]:8080",
        "10.0.0.0/8",
        "2001:DB8::/32",
        "auto",
        "none",
        "text",
        "enum(a, b)",
        "enum (a)",
        "error_rate > 5% for 2m",
        "  p95>5s",
        "restarts >= 3",
        "SIGTERM",
        "é",
        "a b",
        "-",
        "1.5",
    ];
    let kinds = [
        Kind::Text,
        Kind::Command,
        Kind::Name,
        Kind::Boolean,
        Kind::Integer { least: 1, most: 65535 },
        Kind::Duration,
        Kind::PositiveDuration,
        Kind::Share,
        Kind::Size,
        Kind::Path,
        Kind::AbsolutePath,
        Kind::UrlPath,
        Kind::Host,
        Kind::Header,
        Kind::Address,
        Kind::Network,
        Kind::Choice(&["auto", "none"]),
        Kind::Verbatim,
        Kind::VariableType,
        Kind::Guard,
    ];
    for kind in kinds {
        let schema = scalar(kind);
        let mut taken = 0;
        for text in texts {
            let plain = Scalar { text: text.to_owned(), plain: true };
            if kind.check(&plain).is_ok() {
                taken += 1;
                let value = json_of_scalar(&plain);
                assert_eq!(validate(&schema, &value, "", &schema), Ok(()), "{kind:?}");
            }
        }
        assert!(taken > 0, "{kind:?} takes none of the texts");
    }
}

#[test]
fn editors_are_told_meaning_and_default() {
    let schema = json_schema();
    let interval = &schema["properties"]["components"]["patternProperties"][r"^(?!x-)[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"]
        ["properties"]["log"]["properties"]["files"];
    assert_eq!(
        interval,
        &json!({
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": 3,
            "description": "So many log files are kept, the current one included.",
        })
    );
    assert_eq!(schema["$defs"]["strategy"]["default"], "blue_green");
    assert_eq!(schema["properties"]["version"]["default"], 1);
}
