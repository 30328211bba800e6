//! What each number means, and where it is checked.

/// One of the 27.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// 1 to 27.
    pub number: u8,
    /// What always holds, as one sentence.
    pub meaning: &'static str,
    /// How far it is checked.
    pub status: Status,
    /// Where.
    pub levels: &'static [Level],
}

/// How far an invariant is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All of it.
    Checked,
    /// A part; the rest and why it is left out.
    Partly(&'static str),
    /// It is about something that does not exist; what holds already.
    Ahead(&'static str),
}

/// Where an invariant is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The state machine with thousands of random plans and events.
    Properties,
    /// Every state that the state machine can reach in small configurations.
    Search,
    /// The real engine on a paused clock, with faults.
    Loop,
    /// The real binary with real processes and SIGKILL.
    Binary,
    /// Tests of the crate that is concerned.
    Crate,
}

impl Level {
    /// As the documentation names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Properties => "properties",
            Self::Search => "search",
            Self::Loop => "loop",
            Self::Binary => "binary",
            Self::Crate => "crate",
        }
    }
}

use Level::{Binary, Crate, Loop, Properties, Search};
use Status::{Ahead, Checked, Partly};

const STATES: &[Level] = &[Properties, Search];
const MACHINE: &[Level] = &[Properties, Search, Loop];
const EVERYWHERE: &[Level] = &[Properties, Search, Loop, Binary];

const fn one(
    number: u8,
    status: Status,
    levels: &'static [Level],
    meaning: &'static str,
) -> Invariant {
    Invariant { number, meaning, status, levels }
}

/// All of them, in order.
pub const INVARIANTS: [Invariant; 27] = [
    one(
        1,
        Checked,
        MACHINE,
        "The shares of every route add up to 100 % or there are none, only revisions that are \
         wanted have one, and no two routes claim the same requests.",
    ),
    one(
        2,
        Checked,
        MACHINE,
        "A revision is given traffic only while an instance of it is ready; when the last one \
         dies, its traffic goes to another one that is ready.",
    ),
    one(
        3,
        Checked,
        STATES,
        "A component that takes requests has somebody to answer them whenever an instance that \
         was not condemned is ready; only a removal leaves a gap, and a plan that stops all of the \
         old first.",
    ),
    one(
        4,
        Checked,
        STATES,
        "A candidate gets a share only with the instances to carry it, and the stable revision \
         gives instances up only after its smaller share was confirmed.",
    ),
    one(
        5,
        Checked,
        STATES,
        "A rolling update never wants more than `max_surge` instances too many or \
         `max_unavailable` too few.",
    ),
    one(
        6,
        Checked,
        EVERYWHERE,
        "An instance is stopped only when the table in force gives its revision no traffic or \
         others of it serve on, and its last request has ended or the drain time is over.",
    ),
    one(
        7,
        Checked,
        STATES,
        "The candidate never has more traffic than its step allows, and never less than before \
         except on the way back.",
    ),
    one(
        8,
        Checked,
        STATES,
        "A release succeeds only through every step of its plan, each finished as the plan says \
         or passed by a person's recorded word.",
    ),
    one(
        9,
        Checked,
        MACHINE,
        "A bake ends well only with the evidence of every guard; missing evidence is never a pass \
         unless the manifest says to go on, and then the journal says so.",
    ),
    one(
        10,
        Checked,
        MACHINE,
        "What has failed never moves forward again: no share of a failed candidate grows, and its \
         release is not verified.",
    ),
    one(
        11,
        Checked,
        MACHINE,
        "The decision to go back gives every component whose stable revision is warm all of its \
         traffic back in that very transition, whatever hangs.",
    ),
    one(
        12,
        Checked,
        STATES,
        "The same word twice is the word once, and a word for another deployment or a step that \
         is over is refused.",
    ),
    one(
        13,
        Checked,
        STATES,
        "To abort without a deployment changes nothing, and an abort never stops the stable \
         revision.",
    ),
    one(
        14,
        Partly("that a rollback by hand goes to a verified release is held by the engine's tests"),
        STATES,
        "Going back leads to what served before; only a release that finished its bake is \
         verified.",
    ),
    one(
        15,
        Checked,
        STATES,
        "A deployment goes back at most once and begins no other; one that changes nothing \
         touches nothing.",
    ),
    one(
        16,
        Checked,
        MACHINE,
        "Instances of a candidate that failed are not started again by a look, a restart or a \
         repeated word.",
    ),
    one(
        17,
        Checked,
        MACHINE,
        "Every deployment that has not ended has a time to wake at, waits for a person, or names \
         what it waits for; when faults stop, it ends or waits for a person.",
    ),
    one(
        18,
        Checked,
        MACHINE,
        "Deadlines survive a restart unchanged, time spent paused does not count, and nothing is \
         over before its time.",
    ),
    one(
        19,
        Checked,
        MACHINE,
        "Two tables with one epoch and two lists of revisions with one generation are the same, \
         and a smaller one never comes into force after a larger; a crash changes no outcome.",
    ),
    one(
        20,
        Checked,
        MACHINE,
        "At most one deployment is under way in an environment, and it ends before the next \
         begins.",
    ),
    one(
        21,
        Checked,
        MACHINE,
        "What has ended stays as it is: looking again changes nothing but to stop what was warm \
         for its time.",
    ),
    one(
        22,
        Checked,
        MACHINE,
        "The routing is a pure function of the state, and the same state, input, sight and time \
         always give the same decision.",
    ),
    one(23, Checked, &[Crate], "Mirrored traffic changes no answer, no share and no verdict."),
    one(
        24,
        Checked,
        &[Crate],
        "A sticky session moves to the candidate at most once, and back only with the way back.",
    ),
    one(
        25,
        Partly(
            "verdicts are a function of the stored samples alone, looked at as often as anybody \
             likes; limits are compared as they are, without a test of significance",
        ),
        &[Crate],
        "Evidence is a function of what was counted, not of when anybody looked, and a repeated \
         reading gives the same verdict.",
    ),
    one(
        26,
        Ahead("the number of instances changes only through a deployment"),
        &[],
        "Changing the number of instances during a rollout gives the same end in any order.",
    ),
    one(
        27,
        Checked,
        MACHINE,
        "Every change of the state is stored with an event that says why, and a decision by \
         itself carries its evidence.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_numbered_from_1_to_27() {
        for (index, invariant) in INVARIANTS.iter().enumerate() {
            assert_eq!(usize::from(invariant.number), index + 1);
            assert!(invariant.meaning.ends_with('.'), "{}", invariant.number);
            let unchecked = matches!(invariant.status, Ahead(_));
            assert_eq!(invariant.levels.is_empty(), unchecked, "{}", invariant.number);
        }
    }
}
