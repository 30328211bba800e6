//! From counters to verdicts.
//!
//! Pure: what is judged comes in, what was found goes out, and no clock is read. A verdict that
//! rests on too little is [`Verdict::InsufficientEvidence`](tidegate_types::Verdict), never a pass,
//! and each one comes with the numbers behind it as a sentence for people.

mod guard;
mod sentence;
mod summary;
mod window;

pub use guard::{Evidence, Judgement, judge, read};
pub use summary::{Summary, summary};
