//! Where Tidegate keeps what it must not forget.
//!
//! # What is kept
//!
//! The unit of consistency is a [scope](tidegate_types::Scope): one row with the whole state of its
//! state machine as JSON that this crate does not look into, and a version that grows by one with
//! each transition. Everything else is around it: the inbox of inputs that were accepted and not yet
//! applied, the journal of events, the deployments, releases and samples.
//!
//! # Who may write
//!
//! * Anybody may [accept](Store::accept) an input or
//!   [request a deployment](Store::request_deployment): both only add to the inbox, under a key that
//!   makes a repetition harmless, and answer when the input is durable.
//! * Only the engine [commits](Store::commit) transitions. A transition names the version it was
//!   computed from; when another one came first nothing of it is kept.
//!
//! # What a crash leaves
//!
//! | killed | after the next start |
//! |---|---|
//! | before an answer | the write happened wholly or not at all; the caller repeats it under its key |
//! | after an answer | the write is there, also after a power failure |
//! | during a migration | the old schema, and a copy of the file from before |
//!
//! An error is not always "did not happen": when the disk fails during the commit itself the outcome
//! is unknown. The caller loads the scope again, and its version tells.
//!
//! # Two stores
//!
//! [`SqliteStore`] is the real one. [`MemoryStore`] keeps the same promises while the process lives
//! and serves the simulation; one suite of tests runs over both and compares them.

mod error;
mod memory;
mod record;
mod sqlite;
mod store;

pub use error::Error;
pub use memory::MemoryStore;
pub use record::{
    Accepted, Committed, Deployment, DeploymentDetail, DeploymentFilter, DeploymentUpdate, Event,
    Input, NewDeployment, NewEvent, NewInput, Project, Requested, Stored, Transition,
};
pub use sqlite::{Options, SqliteStore};
pub use store::Store;
