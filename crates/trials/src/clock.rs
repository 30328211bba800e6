//! The engine's clock in a trial: the fleet's.

use std::sync::Arc;

use tidegate_engine::Clock;
use tidegate_types::Timestamp;

use crate::shared::Shared;

pub(crate) struct SimulatedClock(pub(crate) Arc<Shared>);

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.0.fleet().clock()
    }
}
