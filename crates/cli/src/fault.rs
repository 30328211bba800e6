//! What the user is told when something did not work.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use tidegate_release::GitError;
use tidegate_server::{Problem, client};

use crate::{exit::Exit, style::Style, teardown};

/// Where, what, why, what serves now, and what to do. Every failing command ends with one. Boxed,
/// because it is large and rare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Fault(Box<Parts>);

/// The parts of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Parts {
    /// How the command ends.
    pub(crate) exit: Exit,
    /// The kind, as a stable word.
    pub(crate) code: String,
    /// What happened, as a sentence without a full stop.
    pub(crate) what: String,
    /// Where.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// Why, with the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// The last lines of what failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) log: Vec<String>,
    /// What serves now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) state: Vec<String>,
    /// What to do about it, and the commands for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) next: Vec<String>,
}

impl Deref for Fault {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl Fault {
    /// A fault with nothing but a sentence.
    pub(crate) fn new(exit: Exit, code: &str, what: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            exit,
            code: code.to_owned(),
            what: what.into(),
            place: None,
            cause: None,
            log: Vec::new(),
            state: Vec::new(),
            next: Vec::new(),
        }))
    }

    /// The same with where it happened.
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// The same with why.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The same with one more thing to do.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// The fault as lines for a terminal.
    pub(crate) fn render(&self, style: Style) -> Vec<String> {
        let mut lines =
            vec![format!("{} {}", style.red(&format!("error[{}]", self.code)), self.what)];
        let mut part = |name: &str, values: &[String]| {
            let values = values.iter().flat_map(|value| value.lines());
            for (index, value) in values.enumerate() {
                let name = if index == 0 { name } else { "" };
                lines.push(format!("  {} {value}", style.dim(&format!("{name:<7}"))));
            }
        };
        part("where", self.place.as_slice());
        part("cause", self.cause.as_slice());
        part("log", &self.log);
        part("state", &self.state);
        part("next", &self.next);
        lines
    }
}

impl From<client::Error> for Fault {
    fn from(error: client::Error) -> Self {
        match error {
            client::Error::Unreachable { ref socket, .. } => {
                let home = socket.parent().unwrap_or(socket);
                let serves = teardown::proxy_process(home).is_some();
                let mut fault = Self::new(
                    Exit::Unreachable,
                    "unreachable",
                    "the control plane does not answer",
                )
                .because(error.to_string());
                if serves {
                    let state = "instances and proxy do not need it to serve what they serve";
                    fault.state = vec![state.to_owned()];
                }
                fault.next("tidegate up")
            }
            client::Error::Answer { .. } => {
                Self::new(Exit::Unreachable, "answer", error.to_string()).next("tidegate doctor")
            }
            client::Error::Problem(problem) => Self::from(*problem),
        }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            400 | 404 | 422 => Exit::Usage,
            409 => Exit::Refused,
            503 => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let mut fault = Self::new(exit, &problem.code, problem.detail);
        fault.place = problem.component.map(|component| format!("component {component}"));
        fault.log = problem.log;
        fault.next = problem.mend.into_iter().chain(problem.next).collect();
        fault
    }
}

impl From<GitError> for Fault {
    fn from(error: GitError) -> Self {
        Self::new(Exit::Usage, "git", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_where_what_why_and_what_to_do() {
        let mut fault = Fault::new(Exit::RolledBack, "guard", "api fails its guard")
            .at("production, component api")
            .because("8.1 % of 310 requests failed in 5s; the limit is 5 %")
            .next("tidegate logs api");
        fault.log = vec!["first".to_owned(), "second".to_owned()];
        fault.state = vec!["api: v1 serves 100%".to_owned()];
        insta::assert_snapshot!(fault.render(Style::plain()).join("\n"), @r"
        error[guard] api fails its guard
          where   production, component api
          cause   8.1 % of 310 requests failed in 5s; the limit is 5 %
          log     first
                  second
          state   api: v1 serves 100%
          next    tidegate logs api
        ");
    }
}
