//! `tidegate.yaml` as a checked value.

mod model;

pub use model::{
    Build, Component, Environment, EnvironmentVariable, Manifest, Rollback, Strategy, StrategyStep,
    VariableType, Workload,
};
