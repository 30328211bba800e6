//! Names that users give and identifiers that Tidegate gives.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name that breaks the rule for names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: use 1 to 40 lower-case letters, digits and `-`, starting with a letter"
)]
pub struct InvalidName(pub String);

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=40).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidName(text.to_owned())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    )*};
}

names! {
    /// One repository with one `tidegate.yaml`.
    ProjectName,
    /// A deployable part of a project.
    ComponentName,
    /// Where releases run.
    EnvironmentName,
}

/// One environment of one project: the unit that is deployed to, one deployment at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope {
    /// The project.
    pub project: ProjectName,
    /// The environment within it.
    pub environment: EnvironmentName,
}

/// Text that is not `project/environment`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not written `project/environment`")]
pub struct InvalidScope(pub String);

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.project, self.environment)
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let invalid = || InvalidScope(text.to_owned());
        let (project, environment) = text.split_once('/').ok_or_else(invalid)?;
        Ok(Self {
            project: project.parse().map_err(|_| invalid())?,
            environment: environment.parse().map_err(|_| invalid())?,
        })
    }
}

impl TryFrom<String> for Scope {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// The number of a deployment, counted from 1 in one store and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeploymentId(pub u64);

impl fmt::Display for DeploymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes text that came from [`Self::as_str`].
            #[must_use]
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }
    )*};
}

opaque! {
    /// A release: `r-` and the first twelve hexadecimal digits of the digest of its contents.
    ReleaseId,
    /// `component@deployment`: the instances of a component that one deployment brought.
    RevisionId,
    /// `component@deployment.n`: the n-th process of a revision, never used again.
    InstanceId,
    /// `sha256-` and 64 hexadecimal digits, fit for a file name.
    Digest,
}

impl RevisionId {
    /// The revision that `deployment` brings of `component`.
    #[must_use]
    pub fn of(component: &ComponentName, deployment: DeploymentId) -> Self {
        Self(format!("{component}@{deployment}"))
    }

    /// The number of the deployment that brought it; none when it was not made by [`Self::of`].
    #[must_use]
    pub fn deployment(&self) -> Option<DeploymentId> {
        self.0.rsplit_once('@')?.1.parse().ok().map(DeploymentId)
    }
}

impl InstanceId {
    /// The `number`-th instance of `revision`, counted from 1.
    #[must_use]
    pub fn of(revision: &RevisionId, number: u32) -> Self {
        Self(format!("{revision}.{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "api", "my-api-2", &"a".repeat(40)] {
            assert!(good.parse::<ComponentName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "2a", "A", "a_b", "a/b", "a.b", &"a".repeat(41), "é"] {
            assert_eq!(bad.parse::<ComponentName>(), Err(InvalidName(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_scope_reads_what_it_writes() {
        let scope: Scope = "shop/production".parse().unwrap();
        assert_eq!(scope.to_string().parse(), Ok(scope));
        assert!("shop".parse::<Scope>().is_err());
        assert!("shop/a/b".parse::<Scope>().is_err());
    }
}
