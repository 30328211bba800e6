//! Why the engine did not do what it was asked.

use tidegate_core::Rejected;
use tidegate_targets::TargetError;
use tidegate_types::Scope;

/// Why the engine did not do what it was asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] tidegate_store::Error),
    /// The target could not be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is nothing to go back to.
    #[error("{why}")]
    NoTarget {
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
    },
    /// Nothing was ever deployed there.
    #[error("nothing was deployed to {scope} yet")]
    UnknownScope {
        /// Where.
        scope: Scope,
    },
    /// The release could not be prepared.
    #[error("{}", .0.what)]
    Preparation(Box<tidegate_core::Failure>),
    /// The stored state is not one that this version reads.
    #[error("the stored state of {scope} cannot be read by this version: {reason}")]
    State {
        /// Where.
        scope: Scope,
        /// Why.
        reason: String,
    },
    /// The engine is ending.
    #[error("the control plane is stopping; ask again when it is up")]
    Stopping,
}
