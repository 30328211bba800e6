//! What is counted, as text for Prometheus.

mod serve;
mod text;

pub(crate) use serve::serve;
pub(crate) use text::Reading;
