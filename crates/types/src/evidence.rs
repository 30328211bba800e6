//! What was counted, and what a guard read from it.

use serde::{Deserialize, Serialize};

use crate::{Counters, Timestamp};

/// What one revision did between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The earlier look.
    pub from: Timestamp,
    /// The later look.
    pub to: Timestamp,
    /// What was counted between them.
    pub counters: Counters,
}

/// What a guard says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Enough evidence, and the limit holds.
    Pass,
    /// Enough evidence, and the limit is breached.
    Fail,
    /// Not enough evidence to say either. Never a pass.
    InsufficientEvidence,
}

/// A guard's verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardReading {
    /// The guard as the user wrote it.
    pub guard: String,
    /// What it says.
    pub verdict: Verdict,
    /// The numbers behind it, as a sentence: `8.1 % of 310 requests failed in 5s; the limit is 5 %`.
    pub evidence: String,
}
