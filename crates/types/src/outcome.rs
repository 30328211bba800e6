//! How a request ended, and whose doing that was.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::BTreeMap;

/// How a request ended. Each has exactly one outcome.
///
/// The names are stored and shown to people; they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered with 100 to 199: the connection became something else, as a `WebSocket` does.
    #[serde(rename = "1xx")]
    Informational,
    /// Answered with 200 to 299.
    #[serde(rename = "2xx")]
    Success,
    /// Answered with 300 to 399.
    #[serde(rename = "3xx")]
    Redirect,
    /// Answered with 400 to 499.
    #[serde(rename = "4xx")]
    ClientError,
    /// Answered with 500 and more.
    #[serde(rename = "5xx")]
    ServerError,
    /// The client broke off before its request was sent or its answer was whole.
    ClientReset,
    /// The client stopped in the middle of its request.
    ClientTimeout,
    /// No connection to any instance could be made.
    EndpointConnect,
    /// No connection to any instance was made in time.
    EndpointConnectTimeout,
    /// The instance did not answer in time.
    EndpointTimeout,
    /// The instance broke off before its answer was whole.
    EndpointReset,
    /// What the instance answered is no answer.
    EndpointMalformed,
    /// Too many requests were waiting for the revision's instances.
    ProxyOverloaded,
    /// A file of a static site could not be read to its end.
    ProxyFailed,
    /// The proxy ended before the answer did.
    ProxyEnded,
}

/// Whose doing it was that a request has no whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Who asked.
    Client,
    /// Who was to answer.
    Endpoint,
    /// Who stands between them.
    Proxy,
}

impl Blame {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Endpoint => "endpoint",
            Self::Proxy => "proxy",
        }
    }
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Informational,
        Self::Success,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::ClientReset,
        Self::ClientTimeout,
        Self::EndpointConnect,
        Self::EndpointConnectTimeout,
        Self::EndpointTimeout,
        Self::EndpointReset,
        Self::EndpointMalformed,
        Self::ProxyOverloaded,
        Self::ProxyFailed,
        Self::ProxyEnded,
    ];

    /// A whole answer with this status.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            0..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::ClientReset => "client_reset",
            Self::ClientTimeout => "client_timeout",
            Self::EndpointConnect => "endpoint_connect",
            Self::EndpointConnectTimeout => "endpoint_connect_timeout",
            Self::EndpointTimeout => "endpoint_timeout",
            Self::EndpointReset => "endpoint_reset",
            Self::EndpointMalformed => "endpoint_malformed",
            Self::ProxyOverloaded => "proxy_overloaded",
            Self::ProxyFailed => "proxy_failed",
            Self::ProxyEnded => "proxy_ended",
        }
    }

    /// Whose doing it was; none when there was a whole answer.
    #[must_use]
    pub const fn blame(self) -> Option<Blame> {
        match self {
            Self::Informational
            | Self::Success
            | Self::Redirect
            | Self::ClientError
            | Self::ServerError => None,
            Self::ClientReset | Self::ClientTimeout => Some(Blame::Client),
            Self::EndpointConnect
            | Self::EndpointConnectTimeout
            | Self::EndpointTimeout
            | Self::EndpointReset
            | Self::EndpointMalformed => Some(Blame::Endpoint),
            Self::ProxyOverloaded | Self::ProxyFailed | Self::ProxyEnded => Some(Blame::Proxy),
        }
    }

    /// Whether it counts against the revision: status 500 and more, or no whole answer for a reason
    /// that is neither the client's nor an end of the proxy.
    #[must_use]
    pub const fn is_error(self) -> bool {
        match self {
            Self::ServerError => true,
            Self::ProxyEnded => false,
            other => matches!(other.blame(), Some(Blame::Endpoint | Blame::Proxy)),
        }
    }
}

/// How many requests ended how. Written as a map of those outcomes that there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// How many ended so.
    #[must_use]
    pub const fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// So many more ended so.
    pub const fn add(&mut self, outcome: Outcome, count: u64) {
        let counted = &mut self.0[outcome as usize];
        *counted = counted.saturating_add(count);
    }

    /// Each outcome with its number, without those that there were not.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Those that count against the revision.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let errors = self.iter().filter(|(outcome, _)| outcome.is_error());
        errors.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (outcome, count) in other.iter() {
            self.add(outcome, count);
        }
    }

    /// What was added since `earlier`; none when one of the numbers fell.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let mut difference = self.clone();
        for (counted, before) in difference.0.iter_mut().zip(earlier.0) {
            *counted = counted.checked_sub(before)?;
        }
        Some(difference)
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut outcomes = Self::default();
        for (outcome, count) in BTreeMap::<Outcome, u64>::deserialize(deserializer)? {
            if count == 0 {
                return Err(D::Error::custom("an outcome that there was not is left out"));
            }
            outcomes.add(outcome, count);
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_place_and_the_name_it_is_written_with() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
            let by = outcome.blame().map(|blame| serde_json::to_value(blame).unwrap());
            assert_eq!(by, outcome.blame().map(|blame| blame.name().into()));
        }
    }

    #[test]
    fn only_what_the_revision_can_help_counts_against_it() {
        let errors: Vec<&str> = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.is_error())
            .map(Outcome::name)
            .collect();
        assert_eq!(
            errors,
            [
                "5xx",
                "endpoint_connect",
                "endpoint_connect_timeout",
                "endpoint_timeout",
                "endpoint_reset",
                "endpoint_malformed",
                "proxy_overloaded",
                "proxy_failed",
            ]
        );
    }

    #[test]
    fn a_status_has_its_class() {
        for (status, class) in [(101, "1xx"), (200, "2xx"), (304, "3xx"), (499, "4xx")] {
            assert_eq!(Outcome::of_status(status).name(), class);
        }
        assert_eq!(Outcome::of_status(500), Outcome::ServerError);
        assert_eq!(Outcome::of_status(999), Outcome::ServerError);
    }

    #[test]
    fn they_are_written_sparsely() {
        let mut outcomes = Outcomes::default();
        outcomes.add(Outcome::Success, 2);
        outcomes.add(Outcome::EndpointReset, 1);
        let text = serde_json::to_string(&outcomes).unwrap();
        assert_eq!(text, r#"{"2xx":2,"endpoint_reset":1}"#);
        assert_eq!(serde_json::from_str::<Outcomes>(&text).unwrap(), outcomes);
        assert_eq!((outcomes.total(), outcomes.errors()), (3, 1));
        assert!(serde_json::from_str::<Outcomes>(r#"{"luck":2}"#).is_err());
    }
}
