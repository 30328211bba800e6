//! What a plan would do if the new version were bad.
//!
//! The real plan, the real state machine and the real guards are run on a [`crate::world::Fleet`]
//! some hundred times for each [`Fault`]. There is no store, no network and no waiting: time goes
//! from one moment at which something can change to the next.

#[cfg(test)]
mod agreement_tests;
mod answer;
mod change;
mod fault;
mod hint;
mod life;
mod rate;
mod subject;
mod work;

pub use answer::{FaultForecast, Forecast, Harm, Outcomes, Spread};
pub use fault::{Fault, UnknownFault};
pub use hint::{Better, Hint, hints};
pub use rate::{InvalidRate, Rate};
pub use subject::{Error, Question};
pub use work::forecast;
