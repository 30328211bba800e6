//! The real engine in a world in which everything goes wrong.
//!
//! A [`Scenario`] is data: components, releases and how they behave, what people do and when, and
//! what goes wrong with which call. [`run`] lives it with the real engine, on a clock that moves only
//! when told, and answers with a [`Verdict`]: every numbered invariant that did not hold. The same
//! scenario gives the same verdict. [`generate`] makes scenarios from numbers, [`shrink`] makes one
//! that fails small, and [`crash_points`] are all the places where a given one can be killed.

mod clock;
mod crashes;
mod generate;
mod life;
mod oracle;
mod place;
mod preparer;
mod project;
mod scenario;
mod shared;
mod shrink;
mod store;
mod target;

pub use crashes::{crash_points, with_crash};
pub use generate::generate;
pub use life::{Verdict, run};
pub use oracle::{Breach, Routing};
pub use place::{Place, Visitors};
pub use project::{release_id, scope};
pub use scenario::{Act, Call, Fault, How, Kind, Made, Part, Scenario, Timed};
pub use shrink::{Trouble, shrink, trouble};
