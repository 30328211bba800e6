//! Who answers: which revision by share, which endpoint by load.

use std::cell::Cell;

use crate::health::Rank;

/// Picks a revision by share. One that is not ready gives its share to the others pro rata.
/// `roll` is any random number.
pub(crate) fn revision(
    choices: impl Iterator<Item = (u32, bool)> + Clone,
    roll: u64,
) -> Option<usize> {
    let ready_share = |(share, ready): (u32, bool)| if ready { u64::from(share) } else { 0 };
    let total: u64 = choices.clone().map(ready_share).sum();
    let mut left = roll.checked_rem(total)?;
    for (index, choice) in choices.enumerate() {
        let share = ready_share(choice);
        if left < share {
            return Some(index);
        }
        left -= share;
    }
    None
}

/// What is known of a revision when it is picked for a visitor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) share: u32,
    pub(crate) ready: bool,
    /// Visitors move to it while its share grows.
    pub(crate) candidate: bool,
}

/// Picks a revision for a visitor whose place is this, anywhere between 0 and the largest number:
/// the candidate has the places from 0 up to its share, and the others divide the rest. So who is
/// at the candidate stays there as long as its share does not shrink. One that is not ready gives
/// its share to the others, as it does without visitors.
pub(crate) fn revision_for(
    choices: impl Iterator<Item = Choice> + Clone,
    place: u64,
) -> Option<usize> {
    // In hundredths of a percent: less than 10,000.
    let hundredth = (u128::from(place) * 10_000) >> 64;
    let of_candidate = |choice: &Choice| choice.candidate && choice.ready;
    if let Some(index) = choices.clone().position(|choice| of_candidate(&choice))
        && choices.clone().nth(index).is_some_and(|choice| hundredth < u128::from(choice.share))
    {
        return Some(index);
    }
    let others = choices.clone().map(|choice| (choice.share, choice.ready && !choice.candidate));
    revision(others, place)
        .or_else(|| revision(choices.map(|choice| (choice.share, choice.ready)), place))
}

/// What is known of an endpoint when it is picked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) rank: Rank,
    pub(crate) in_flight: u32,
    /// It takes no more requests at the moment.
    pub(crate) full: bool,
    /// This very request was tried there already.
    pub(crate) tried: bool,
}

/// Who was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    This(usize),
    /// Whoever this request should go to takes no more at the moment.
    Full,
    /// The same, and there is one with room where it was tried already.
    FullForThis,
    /// There is nobody who was not tried.
    Nobody,
}

/// Picks among so many endpoints the best and of these the one with the fewest requests in flight,
/// beginning at `turn` so that equals take turns. Those that are out are picked when there are no
/// others: all out is no reason to answer nothing. A request does not go to one that is out because
/// the others are full.
pub(crate) fn endpoint(
    count: usize,
    turn: usize,
    mut candidate: impl FnMut(usize) -> Candidate,
) -> Pick {
    let mut best: Option<(Rank, u32, usize)> = None;
    let mut anybody = false;
    let mut any_in = false;
    let mut room_where_tried = false;
    for step in 0..count {
        let index = (turn % count + step) % count;
        let Candidate { rank, in_flight, full, tried } = candidate(index);
        if tried {
            room_where_tried |= !full;
            continue;
        }
        anybody = true;
        any_in |= !rank.is_out();
        if !full && best.is_none_or(|(other, least, _)| (rank, in_flight) < (other, least)) {
            best = Some((rank, in_flight, index));
        }
    }
    match best {
        Some((rank, _, index)) if !(any_in && rank.is_out()) => Pick::This(index),
        _ if !anybody => Pick::Nobody,
        _ if room_where_tried => Pick::FullForThis,
        _ => Pick::Full,
    }
}

/// A small generator of random numbers (xorshift64*), one to a worker.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        // The upper bits are the good ones, and the remainder is taken from the lower ones.
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn shares_hold_within_the_sampling_error(
            first in 0_u32..=10_000,
            second in 0_u32..=10_000,
            ready in proptest::array::uniform3(any::<bool>()),
            seed in any::<u64>(),
        ) {
            let second = second.min(10_000 - first);
            let shares = [first, second, 10_000 - first - second];
            let total: u32 = (0..3).filter(|i| ready[*i]).map(|i| shares[i]).sum();
            let random = Random::new(seed);
            let mut counts = [0_u32; 3];
            for _ in 0..10_000 {
                let picked = revision(shares.into_iter().zip(ready), random.next());
                prop_assert_eq!(picked.is_none(), total == 0);
                if let Some(index) = picked {
                    counts[index] += 1;
                }
            }
            for index in 0..3 {
                if !ready[index] || shares[index] == 0 {
                    prop_assert_eq!(counts[index], 0);
                    continue;
                }
                let fraction = f64::from(shares[index]) / f64::from(total);
                let sigma = (10_000.0 * fraction * (1.0 - fraction)).sqrt();
                // Three sigma for one look; five, since hundreds of looks are taken here.
                let distance = (f64::from(counts[index]) - 10_000.0 * fraction).abs();
                prop_assert!(distance <= 5.0 * sigma + 0.5, "{counts:?} for {shares:?} {ready:?}");
            }
        }
    }

    const STABLE: Choice = Choice { share: 10_000, ready: true, candidate: false };
    const CANDIDATE: Choice = Choice { share: 0, ready: true, candidate: true };

    /// Whether a visitor is at the candidate when it has this share.
    fn is_at_candidate(hundredths: u32, place: u64) -> bool {
        let choices = [
            Choice { share: 10_000 - hundredths, ..STABLE },
            Choice { share: hundredths, ..CANDIDATE },
        ];
        revision_for(choices.into_iter(), place) == Some(1)
    }

    proptest! {
        #[test]
        fn nobody_leaves_a_candidate_whose_share_grows(
            place in any::<u64>(),
            mut shares in proptest::collection::vec(0_u32..=10_000, 2..6),
        ) {
            shares.sort_unstable();
            let there = shares.iter().map(|share| is_at_candidate(*share, place));
            prop_assert!(there.is_sorted(), "{shares:?}");
            prop_assert!(!is_at_candidate(0, place));
            prop_assert!(is_at_candidate(10_000, place));
        }

        #[test]
        fn who_is_not_ready_is_not_visited_and_somebody_with_a_share_is(
            shares in proptest::array::uniform3(0_u32..=10_000),
            ready in proptest::array::uniform3(any::<bool>()),
            place in any::<u64>(),
        ) {
            let choices = (0..3).map(|index| Choice {
                share: shares[index],
                ready: ready[index],
                candidate: index == 1,
            });
            let picked = revision_for(choices, place);
            let anybody = (0..3).any(|index| shares[index] > 0 && ready[index]);
            prop_assert_eq!(picked.is_some(), anybody);
            if let Some(index) = picked {
                prop_assert!(shares[index] > 0 && ready[index]);
            }
        }
    }

    #[test]
    fn without_the_candidate_its_visitors_are_at_the_others() {
        let choices = [
            Choice { share: 4_500, ..STABLE },
            Choice { share: 1_000, ready: false, candidate: true },
            Choice { share: 4_500, ..STABLE },
        ];
        assert_eq!(revision_for(choices.into_iter(), 0), Some(0));
        let alone = [Choice { ready: false, ..STABLE }, Choice { share: 1, ..CANDIDATE }];
        assert_eq!(revision_for(alone.into_iter(), u64::MAX), Some(1));
        let none = [Choice { ready: false, ..STABLE }, CANDIDATE];
        assert_eq!(revision_for(none.into_iter(), 0), None);
    }

    #[test]
    fn a_tenth_is_a_tenth_within_three_sigma() {
        let random = Random::new(42);
        let picked = (0..10_000)
            .filter(|_| {
                revision([(9_000, true), (1_000, true)].into_iter(), random.next()) == Some(1)
            })
            .count();
        assert!((910..=1090).contains(&picked), "{picked}");
    }

    #[test]
    fn without_a_share_only_the_header_reaches_it() {
        let choices = [(10_000, false), (0, true)];
        assert_eq!(revision(choices.into_iter(), 7), None);
    }

    const IN: Candidate = Candidate { rank: Rank::Takes, in_flight: 0, full: false, tried: false };

    fn picked(candidates: &[Candidate], turn: usize) -> Pick {
        endpoint(candidates.len(), turn, |index| candidates[index])
    }

    #[test]
    fn the_least_busy_endpoint_that_is_in_is_picked() {
        let busy = |in_flight| Candidate { in_flight, ..IN };
        let out = |in_flight| Candidate { rank: Rank::Out, in_flight, ..IN };
        let full = Candidate { full: true, ..IN };
        let tried = Candidate { tried: true, ..IN };
        for (candidates, turn, wanted) in [
            (vec![], 3, Pick::Nobody),
            (vec![tried], 0, Pick::Nobody),
            (vec![busy(2), busy(1)], 0, Pick::This(1)),
            (vec![out(0), busy(9)], 0, Pick::This(1)),
            (vec![out(3), out(1)], 0, Pick::This(1)),
            (vec![Candidate { rank: Rank::Gone, ..IN }, out(9)], 0, Pick::This(1)),
            (vec![Candidate { rank: Rank::Spared, ..IN }, busy(9)], 0, Pick::This(1)),
            (vec![Candidate { rank: Rank::Unknown, ..IN }, out(0)], 1, Pick::This(0)),
            (vec![IN; 3], 4, Pick::This(1)),
            (vec![IN; 3], usize::MAX, Pick::This(0)),
            (vec![full, busy(9)], 0, Pick::This(1)),
            (vec![full, full], 0, Pick::Full),
            (vec![full, out(0)], 0, Pick::Full),
            (vec![full, tried], 0, Pick::FullForThis),
            (vec![Candidate { full: true, ..out(0) }, out(5)], 0, Pick::This(1)),
        ] {
            assert_eq!(picked(&candidates, turn), wanted, "{candidates:?}");
        }
    }

    const RANKS: [Rank; 5] = [Rank::Takes, Rank::Spared, Rank::Unknown, Rank::Out, Rank::Gone];

    prop_compose! {
        fn any_candidate()(
            rank in proptest::sample::select(&RANKS[..]),
            in_flight in 0_u32..4,
            full in any::<bool>(),
            tried in any::<bool>(),
        ) -> Candidate {
            Candidate { rank, in_flight, full, tried }
        }
    }

    proptest! {
        #[test]
        fn somebody_is_always_asked_and_nobody_better_was_there(
            candidates in proptest::collection::vec(any_candidate(), 0..8),
            turn in any::<usize>(),
        ) {
            let open: Vec<&Candidate> =
                candidates.iter().filter(|candidate| !candidate.tried).collect();
            let in_order = |candidate: &Candidate| (candidate.rank, candidate.in_flight);
            match picked(&candidates, turn) {
                Pick::This(index) => {
                    let picked = candidates[index];
                    prop_assert!(!picked.full && !picked.tried);
                    let best = open.iter().filter(|other| !other.full).map(|other| in_order(other));
                    prop_assert_eq!(best.min(), Some(in_order(&picked)));
                }
                Pick::Nobody => prop_assert!(open.is_empty()),
                // There is nobody with room, but for those that are worse than who is full.
                Pick::Full | Pick::FullForThis => {
                    let any_in = open.iter().any(|other| !other.rank.is_out());
                    let worse = |other: &Candidate| any_in && other.rank.is_out();
                    prop_assert!(open.iter().all(|other| other.full || worse(other)));
                }
            }
        }

        #[test]
        fn equals_take_turns(count in 1_usize..9, rounds in 1_usize..5) {
            let mut times = vec![0; count];
            for turn in 0..count * rounds {
                let Pick::This(index) = picked(&vec![IN; count], turn) else { unreachable!() };
                times[index] += 1;
            }
            prop_assert!(times.iter().all(|times| *times == rounds), "{times:?}");
        }
    }
}
