//! Limits on how many requests are in flight, which routes and environments have alike.

use tidegate_types::Concurrency;

use super::fields::Fields;

/// Reads `concurrency` of whatever has one.
pub(super) fn read(of: &Fields<'_>) -> Option<Concurrency> {
    of.node("concurrency")?;
    let fields = of.child("concurrency");
    Some(Concurrency {
        // The short form is the limit alone.
        limit: of.given("concurrency").or_else(|| fields.given("limit"))?,
        queue: fields.value("queue"),
        wait: fields.value("wait"),
    })
}
