//! What is deployed: each strategy with each kind of release.

/// A way to roll out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strategy {
    pub(crate) name: &'static str,
    text: &'static str,
    /// Nobody answers while it replaces the one by the other.
    pub(crate) has_gap: bool,
    /// What served before is there until the end.
    pub(crate) keeps: bool,
}

pub(crate) const STRATEGIES: [Strategy; 5] = [
    Strategy { name: "recreate", text: "{ recreate: { bake: 1s } }", has_gap: true, keeps: false },
    Strategy {
        name: "rolling surge",
        text: "{ rolling: { max_surge: 1, max_unavailable: 0, bake: 1s } }",
        has_gap: false,
        keeps: false,
    },
    Strategy {
        name: "rolling unavailable",
        text: "{ rolling: { max_surge: 0, max_unavailable: 1, bake: 1s } }",
        has_gap: false,
        keeps: false,
    },
    Strategy {
        name: "blue_green",
        text: "{ blue_green: { canary: { share: 20%, bake: 1s }, bake: 1s, keep: 1s } }",
        has_gap: false,
        keeps: true,
    },
    Strategy {
        name: "canary",
        text: "{ canary: { steps: [30%, 100%], bake: 1s, keep: 1s } }",
        has_gap: false,
        keeps: true,
    },
];

/// A second release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Nothing is wrong with it.
    Good,
    /// It answers every other request with an error.
    Failing,
    /// Its health check never passes.
    NeverReady,
    /// Its instances die one after the other from the moment on at which it has traffic.
    Dying,
    /// … at which it has all of it.
    DyingLate,
}

pub(crate) const RELEASES: [Release; 5] =
    [Release::Good, Release::Failing, Release::NeverReady, Release::Dying, Release::DyingLate];

impl Release {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failing => "fails requests",
            Self::NeverReady => "never ready",
            Self::Dying => "dies",
            Self::DyingLate => "dies at 100 %",
        }
    }

    pub(crate) const fn dies(self) -> bool {
        matches!(self, Self::Dying | Self::DyingLate)
    }

    const fn options(self) -> &'static str {
        match self {
            Self::Good => "",
            Self::Failing => "error_percent=50",
            Self::NeverReady => "ready=never",
            Self::Dying | Self::DyingLate => "die_when=POISON",
        }
    }
}

/// One strategy with one kind of release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) strategy: Strategy,
    pub(crate) release: Release,
}

impl Scenario {
    /// The manifest of the release that is there before, and which takes all traffic at once.
    pub(crate) fn first() -> String {
        manifest("version=one", "{ blue_green: { bake: 0s } }", "", "30s")
    }

    /// The manifest of the second release. Whoever of it finds the file `poison` dies of it.
    pub(crate) fn second(&self, poison: &std::path::Path) -> String {
        let poison = poison.to_str().expect("a temporary folder's name is text");
        let options = self.release.options().replace("POISON", poison);
        // Whoever is merely slow today is not taken for one that never comes.
        let deadline = if self.release == Release::NeverReady { "1500ms" } else { "30s" };
        manifest(&format!("version=two {options}"), self.strategy.text, GUARDS, deadline)
    }

    pub(crate) fn name(&self) -> String {
        format!("{}, {}", self.strategy.name, self.release.name())
    }
}

/// Beside the default ones.
const GUARDS: &str = "    rollback:
      when: [{ condition: \"error_rate > 5% for 1s\", min_requests: 10 }]";

/// Two instances, so that the loss of one is no loss of service.
fn manifest(options: &str, strategy: &str, guards: &str, deadline: &str) -> String {
    format!(
        "
project: shop
components:
  api:
    command: exec {} serve {options}
    port: auto
    replicas: 2
    health: {{ path: /health, interval: 100ms, deadline: {deadline} }}
    stop: {{ drain: 5s, timeout: 2s }}
    route: /
environments:
  production:
    strategy: {strategy}
{guards}
",
        tidegate_testapp::executable().display()
    )
}
