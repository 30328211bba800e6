//! The loop around the state machine.
//!
//! Each environment has one task, its `actor`: it takes an input, looks at the target,
//! asks [`tidegate_core::step`] what follows, stores the answer in one transaction, and only then
//! lets the `performer` act on it. A wish that is stored and not yet fulfilled is
//! published again after a restart; nothing else has to be remembered.
//!
//! The performer, the `sampler` and the preparation of a release run in tasks of
//! their own, so that a proxy, a metric or a build that hangs never delays an abort.

mod actor;
mod clock;
mod earlier;
mod engine;
mod error;
pub mod evidence;
mod performer;
mod preparation;
mod record;
mod request;
mod sampler;
mod view;

pub use clock::{Anchor, Clock, SteadyClock};
pub use earlier::current;
pub use engine::Engine;
pub use error::Error;
pub use preparation::{Current, Prepare, Preparer, Progress};
pub use request::{Command, DeploymentRequest, Verb, Wish};
pub use sampler::PERIOD as SAMPLING_PERIOD;
pub use view::{
    ComponentView, DeploymentView, EnvironmentView, GuardView, RevisionView, RolloutView,
    StepState, StepView, TrafficView,
};
