//! What a target has to bring along, so that its promises can be tried.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tidegate_targets::Target;
use tidegate_types::{Duration, InstanceId, RevisionId, RevisionSpec};

/// A place of its own in which a target lives, with one in it.
///
/// The target is the control plane's half: it dies and is made anew. Instances and the data plane
/// belong to the place. Nothing here needs real time: whoever waits does so through
/// [`Self::pause`].
#[async_trait]
pub trait Harness: Send + Sync {
    /// The target that lives now.
    fn target(&self) -> Arc<dyn Target>;

    /// The control plane dies without a word to anybody. Instances and data plane go on.
    async fn crash(&mut self);

    /// Another control plane comes up over the same place.
    async fn start(&mut self);

    /// A specification of instances that behave so. All are of the component `api`, take every
    /// path, and may drain for longer than any test takes.
    fn specification(&self, behaviour: Behaviour) -> RevisionSpec;

    /// Who sends requests.
    fn visitor(&self) -> Visitor;

    /// How many instances of a revision were ever started.
    fn starts(&self, revision: &RevisionId) -> u32;

    /// Every instance dies.
    async fn kill_instances(&self);

    /// Every instance and the data plane die, and whatever else is not the control plane.
    async fn kill_everything(&self);

    /// The data plane takes calls and does not answer them, or does so again. Whether it then does
    /// what it was asked is its own business. False when this cannot be had here.
    async fn silence(&self, silent: bool) -> bool;

    /// Lets a little time go by.
    async fn pause(&self) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }

    /// Ends everything; nothing may be left.
    async fn end(&mut self);
}

/// Sends a request to an address that an observation told. The instance that gets it answers after
/// so long.
pub type Visitor = Arc<dyn Fn(&str, Duration) -> BoxFuture<'static, Answer> + Send + Sync>;

/// How the instances of a revision behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Ready at once, and answers.
    Good,
    /// Ready a moment after its start, and answers.
    Slow,
    /// Exits by itself soon after its start.
    Dying,
}

/// What came back for a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 0 when nothing came back.
    pub status: u16,
    /// The instance that answered.
    pub instance: Option<InstanceId>,
    /// Its revision.
    pub revision: Option<RevisionId>,
}
