//! What every store and every target promises, as tests that any of them can run.
//!
//! A promise is an async function whose name says it. It takes a place in which the
//! implementation lives (a [`store::Place`], a [`target::Harness`]) and panics when the promise is
//! broken. The macros [`store_suite`] and [`target_suite`] make a test of each.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "all of this is tests: one that panics says what was broken and where"
)]

pub mod store;
pub mod target;

/// Every promise of `modules` is named by the macro in `suite`.
#[cfg(test)]
fn every_promise_is_listed(suite: &str, modules: &[(&str, &str)]) {
    let mut promises = 0;
    for (module, text) in modules {
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
            let name = rest.split('(').next().unwrap_or(rest);
            assert!(suite.contains(&format!("{module}::{name},")), "{module}::{name}");
            promises += 1;
        }
    }
    assert!(promises > 20, "{promises}");
}
