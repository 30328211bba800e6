//! Both stores keep the same promises; the one on disk keeps them through crashes as well.

#![expect(clippy::unwrap_used, reason = "a test that unwraps an error says so and where")]

mod conformance;
mod disaster;
mod disk;
mod process;
