//! The ways in which a new version can be bad.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::world::Behaviour;

/// What is wrong with the new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[expect(missing_docs, reason = "`meaning` says it")]
pub enum Fault {
    CrashLoop,
    NeverReady,
    Errors50,
    Errors8,
    Errors2,
    P95Doubled,
    Leak20m,
    IncidentBoth,
    Healthy,
}

/// A name that is no fault's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fault: there are {list}", list = Fault::ALL.map(Fault::name).join(", "))]
pub struct UnknownFault(pub String);

/// What a component has to have for a fault to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Instances,
    Requests,
    Either,
}

/// A leak shows after so long …
const LEAK_SHOWS: u64 = 20 * 60_000;
/// … with this share of failed requests …
const LEAK_ERRORS: f64 = 0.3;
/// … and an exit this much later.
const LEAK_EXITS: u64 = 60_000;
/// An instance that crashes lives so long after it became ready.
const CRASH_AFTER: u64 = 2_000;
/// An incident lasts so long …
pub(crate) const INCIDENT: u64 = 2 * 60_000;
/// … with this share of failed requests.
pub(crate) const INCIDENT_ERRORS: f64 = 0.3;

impl Fault {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::CrashLoop,
        Self::NeverReady,
        Self::Errors50,
        Self::Errors8,
        Self::Errors2,
        Self::P95Doubled,
        Self::Leak20m,
        Self::IncidentBoth,
        Self::Healthy,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash-loop",
            Self::NeverReady => "never-ready",
            Self::Errors50 => "errors-50%",
            Self::Errors8 => "errors-8%",
            Self::Errors2 => "errors-2%",
            Self::P95Doubled => "p95-doubled",
            Self::Leak20m => "leak-20m",
            Self::IncidentBoth => "incident-both",
            Self::Healthy => "healthy",
        }
    }

    /// What it is, as a sentence without a full stop.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::CrashLoop => "each instance exits 2s after it became ready, again and again",
            Self::NeverReady => "no instance ever passes its check",
            Self::Errors50 => "50% of the new version's requests fail, besides the usual",
            Self::Errors8 => "8% of the new version's requests fail, besides the usual",
            Self::Errors2 => "2% of the new version's requests fail, besides the usual",
            Self::P95Doubled => "the new version takes twice as long for every request",
            Self::Leak20m => {
                "20m after its start an instance fails 30% of its requests, and exits a minute later"
            }
            Self::IncidentBoth => {
                "30% of the requests fail for 2m, whichever version answers; the new one is innocent"
            }
            Self::Healthy => "nothing is wrong",
        }
    }

    /// Whether going back is right.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        !matches!(self, Self::Healthy | Self::IncidentBoth)
    }

    pub(crate) const fn needs(self) -> Needs {
        match self {
            Self::CrashLoop | Self::NeverReady | Self::Leak20m => Needs::Instances,
            Self::Errors50
            | Self::Errors8
            | Self::Errors2
            | Self::P95Doubled
            | Self::IncidentBoth => Needs::Requests,
            Self::Healthy => Needs::Either,
        }
    }

    /// Whether every request that the new version answers is slower for it.
    pub(crate) const fn slows(self) -> bool {
        matches!(self, Self::P95Doubled)
    }

    /// How the instances of a new version with this fault behave, where others do as `usual`.
    pub(crate) fn behaviour(self, usual: &Behaviour) -> Behaviour {
        let usual = usual.clone();
        let besides = |errors: f64| 1.0 - (1.0 - usual.errors) * (1.0 - errors);
        match self {
            Self::Healthy | Self::IncidentBoth => usual,
            Self::CrashLoop => {
                let ready = usual.ready_after.unwrap_or(0);
                Behaviour { exits_after: Some(ready + CRASH_AFTER), ..usual }
            }
            Self::NeverReady => Behaviour { ready_after: None, ..usual },
            Self::Errors50 => Behaviour { errors: besides(0.5), ..usual },
            Self::Errors8 => Behaviour { errors: besides(0.08), ..usual },
            Self::Errors2 => Behaviour { errors: besides(0.02), ..usual },
            Self::P95Doubled => Behaviour { latency: usual.latency * 2.0, ..usual },
            Self::Leak20m => Behaviour {
                old_after: Some(LEAK_SHOWS),
                errors_when_old: besides(LEAK_ERRORS),
                exits_after: Some(LEAK_SHOWS + LEAK_EXITS),
                ..usual
            },
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

impl TryFrom<String> for Fault {
    type Error = UnknownFault;

    fn try_from(text: String) -> Result<Self, UnknownFault> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.name().to_owned()
    }
}
