//! `tidegate.yaml` as a checked value.
//!
//! Reading takes three passes, and each reports all that it finds: `yaml` makes a tree in which
//! every value knows its place, `shape` holds it against the table of keys in `reference`, and
//! `read` fills in defaults and checks what only the whole can tell. The table also
//! makes the JSON Schema, the explanations and the page of documentation, so that none of them
//! says anything that the reader does not do.

mod explain;
mod guard;
mod markdown;
mod model;
mod problem;
mod read;
mod reference;
mod render;
mod scalar;
mod schema;
mod shape;
mod suggest;
mod variable;
mod yaml;

pub use explain::{UnknownKey, explain};
pub use markdown::reference_markdown;
pub use model::{
    Build, Component, Environment, EnvironmentVariable, Manifest, Rollback, Strategy, StrategyStep,
    VariableType, Workload,
};
pub use problem::{Problem, Problems, Severity, Span, printable};
pub use read::{Checked, read, read_bytes};
pub use schema::json_schema;
pub use variable::{VariableFault, resolve};

/// The name of the file in a repository.
pub const FILE_NAME: &str = "tidegate.yaml";
