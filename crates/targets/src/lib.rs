//! Where revisions run.
//!
//! A [`Target`] is told what should be, as often as anybody likes, and makes it so. It holds no
//! opinion about deployments: which revision is the candidate, when traffic moves and what a
//! failure means is decided above. Every call is idempotent, so that a control plane that was
//! killed in the middle of one repeats it.

mod process;

use async_trait::async_trait;
use tidegate_types::{
    Epoch, Generation, LogLine, Observation, RevisionId, RouteTable, Scope, WantedRevision,
    data_plane::Traffic,
};
use tokio::sync::watch;

#[doc(hidden)]
pub use process::fuzzing;
pub use process::{Options, ProcessTarget, inherited_environment};

/// What runs revisions and moves traffic between them.
///
/// Each scope stands for itself. Calls may be made at once; then they happen in some order. All of
/// this is tried by the suite of `tidegate-conformance`, which every target has to pass.
#[async_trait]
pub trait Target: Send + Sync {
    /// Makes `wanted` the whole of what runs in `scope`: starts, shrinks and stops instances until
    /// it is so. Returns when the wish is taken, not when it is fulfilled; [`Self::observe`] tells
    /// how far it is. From then on a route table may name these revisions. Revisions that are not
    /// named are drained, stopped and forgotten: first no new request comes to them, then those in
    /// flight are waited for as long as the revision says.
    ///
    /// A list with a smaller generation than the one that is followed is refused for good and
    /// changes nothing; one with the same generation takes its place, whatever it says.
    /// [`Observation::generation`] tells which is followed. A target that was just made over a
    /// place where something runs follows the list of its predecessor, or says that it follows
    /// none; then it starts and retires nothing, and takes the first list that it is told.
    ///
    /// Dropped before its end, a call may have taken effect or not, and never takes effect after a
    /// later call of the same kind for the same scope has succeeded. The same holds for
    /// [`Self::route`], and for calls that failed with [`Effect::Maybe`].
    async fn apply(
        &self,
        scope: &Scope,
        generation: Generation,
        wanted: &[WantedRevision],
    ) -> Result<(), TargetError>;

    /// Puts the table in force and returns when every new request follows it.
    /// Instances that were observed ready before it was told get requests from then on; those that
    /// become ready later do a moment after that is observed.
    ///
    /// A table with a smaller epoch than the one in force is refused for good and changes nothing,
    /// also by a target that was just made, as long as the data plane lives. One that names a
    /// revision of which no list speaks, or which was forgotten since, changes nothing and may be
    /// tried again. When the data plane does not answer, the table may be in force; what is true is
    /// found out without anybody asking, and observed.
    async fn route(&self, table: &RouteTable) -> Result<Epoch, TargetError>;

    /// Looks at a scope. Never waits for an instance or a network. What another call answered is
    /// seen by every look after it.
    async fn observe(&self, scope: &Scope) -> Result<Observation, TargetError>;

    /// What was counted for each revision of a scope. Counters do not fall as long as the data plane
    /// lives and the revision is wanted.
    async fn traffic(&self, scope: &Scope) -> Result<Traffic, TargetError>;

    /// The last `lines` lines of output of each instance of these revisions, oldest first.
    async fn logs(
        &self,
        scope: &Scope,
        revisions: &[RevisionId],
        lines: usize,
    ) -> Result<Vec<LogLine>, TargetError>;

    /// A number that changes whenever [`Self::observe`] would answer something new for `scope`.
    fn changes(&self, scope: &Scope) -> watch::Receiver<u64>;
}

/// A call that did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not {operation}: {reason}")]
pub struct TargetError {
    /// What was tried, as in `publish the route table`.
    pub operation: String,
    /// Why it failed.
    pub reason: String,
    /// Whether trying again may help.
    pub retry: bool,
    /// Whether it took effect all the same.
    pub effect: Effect,
}

/// Whether a failed call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Certainly not.
    None,
    /// Unknown: look before acting on it.
    Maybe,
}
