//! Variables of components: their types, and their values in an environment.

use std::collections::{BTreeMap, HashSet};

use tidegate_types::Duration;

use crate::{
    model::{Component, Environment, EnvironmentVariable, VariableType},
    scalar::Fault,
    suggest,
};

/// Why a variable has no usable value in an environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableFault {
    /// It must have a value and has none.
    #[error("`{name}` has neither a value nor a default")]
    Missing {
        /// The variable.
        name: String,
    },
    /// Its value is none of those that its type takes.
    #[error("`{name}` is {kind}, and `{value}` is not")]
    WrongType {
        /// The variable.
        name: String,
        /// The value.
        value: String,
        /// What it should be.
        kind: String,
    },
}

impl VariableFault {
    /// The variable.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Missing { name } | Self::WrongType { name, .. } => name,
        }
    }
}

/// The variables of a component in an environment: its value there, or else its default. A
/// variable without either is left out, or is a fault when it is required.
pub fn resolve(
    component: &Component,
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Vec<VariableFault>> {
    let mut values = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, variable) in &component.environment {
        let value = environment.values.get(name).or(variable.default.as_ref());
        match value {
            Some(value) if variable.kind.takes(value) => {
                values.insert(name.clone(), value.clone());
            }
            Some(value) => faults.push(wrong_type(name, variable, value)),
            None if variable.required => faults.push(VariableFault::Missing { name: name.clone() }),
            None => {}
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

fn wrong_type(name: &str, variable: &EnvironmentVariable, value: &str) -> VariableFault {
    VariableFault::WrongType {
        name: name.to_owned(),
        value: value.to_owned(),
        kind: variable.kind.noun(),
    }
}

impl VariableType {
    /// Whether a value is of this type.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        match self {
            Self::Text => true,
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::Number => {
                value.parse::<f64>().is_ok_and(f64::is_finite)
                    && value.ends_with(|c: char| c.is_ascii_digit() || c == '.')
            }
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Url => is_url(value),
            Self::Port => value.parse::<u16>().is_ok_and(|port| port != 0),
            Self::Duration => value.parse::<Duration>().is_ok(),
            Self::Enum(values) => values.iter().any(|one| one == value),
        }
    }

    /// What a value of this type is called: `a whole number`, ``one of `debug` and `info` ``.
    #[must_use]
    pub fn noun(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Integer => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Boolean => "`true` or `false`".to_owned(),
            Self::Url => "a URL such as `https://example.com/`".to_owned(),
            Self::Port => "a port from 1 to 65535".to_owned(),
            Self::Duration => "a duration such as `30s`".to_owned(),
            Self::Enum(values) => suggest::list(values.iter().map(String::as_str), "or"),
        }
    }
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && !host.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

pub(crate) const TYPES: [&str; 8] =
    ["text", "integer", "number", "boolean", "url", "port", "duration", "enum"];

/// Reads a type: a word, or `enum(a, b)`.
pub(crate) fn parse_type(text: &str) -> Result<VariableType, Fault> {
    let fault = Fault::new("unknown-value", format!("`{text}` is not the type of a variable"));
    if let Some(rest) = text.trim().strip_prefix("enum") {
        let values: Option<Vec<String>> = rest
            .trim()
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .map(|inside| inside.split(',').map(|one| one.trim().to_owned()).collect());
        return match values {
            Some(values) if values.iter().all(|one| !one.is_empty()) => {
                let mut known = HashSet::new();
                match values.iter().find(|one| !known.insert(one.as_str())) {
                    Some(twice) => Err(fault.help(format!("`{twice}` is listed twice"))),
                    None => Ok(VariableType::Enum(values)),
                }
            }
            _ => Err(fault.help("list the values: \"enum(debug, info, warn)\"")),
        };
    }
    Ok(match text {
        "text" => VariableType::Text,
        "integer" => VariableType::Integer,
        "number" => VariableType::Number,
        "boolean" => VariableType::Boolean,
        "url" => VariableType::Url,
        "port" => VariableType::Port,
        "duration" => VariableType::Duration,
        _ => {
            let meant = match text.to_ascii_lowercase().as_str() {
                "string" | "str" => Some("text"),
                "int" => Some("integer"),
                "float" | "double" | "decimal" => Some("number"),
                "bool" => Some("boolean"),
                "uri" => Some("url"),
                other => suggest::nearest(other, TYPES),
            };
            return Err(match meant {
                Some(meant) => fault.help(format!("did you mean `{meant}`?")),
                None => fault.help(format!("known are {}", suggest::list(TYPES, "and"))),
            });
        }
    })
}

/// Whether a process can be given a variable of this name.
pub(crate) fn is_variable_name(text: &str) -> bool {
    text.len() <= 100
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
