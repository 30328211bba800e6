//! A line of those who wait, the first come first.

use std::collections::VecDeque;

/// Those who wait; `W` wakes one of them.
#[derive(Debug)]
pub(crate) struct Line<W> {
    waiting: VecDeque<(u64, W)>,
    next: u64,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), next: 0 }
    }
}

impl<W> Line<W> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Joins at the end, and gets a number. None when so many wait already.
    pub(crate) fn join(&mut self, longest: usize, waiter: W) -> Option<u64> {
        if self.waiting.len() >= longest {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.waiting.push_back((number, waiter));
        Some(number)
    }

    /// Leaves, from wherever it stands. Says whether it was there.
    pub(crate) fn leave(&mut self, number: u64) -> bool {
        let found = self.waiting.binary_search_by_key(&number, |(number, _)| *number);
        found.is_ok_and(|index| self.waiting.remove(index).is_some())
    }

    /// Who came first.
    pub(crate) fn first(&self) -> Option<&W> {
        self.waiting.front().map(|(_, waiter)| waiter)
    }

    /// Who came next after this one.
    pub(crate) fn after(&self, number: u64) -> Option<&W> {
        let index = self.waiting.partition_point(|(other, _)| *other <= number);
        self.waiting.get(index).map(|(_, waiter)| waiter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_bounded_and_in_order(
            longest in 0_usize..6,
            // Some: the so-manieth leaves. None: somebody joins.
            events in proptest::collection::vec(proptest::option::of(0_usize..6), 0..80),
        ) {
            let mut line = Line::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (name, event) in events.into_iter().enumerate() {
                if let Some(index) = event {
                    if let Some((number, _)) = model.get(index).copied() {
                        model.remove(index);
                        prop_assert!(line.leave(number));
                        prop_assert!(!line.leave(number), "it is gone");
                    }
                } else {
                    let number = line.join(longest, name);
                    prop_assert_eq!(number.is_some(), model.len() < longest);
                    model.extend(number.map(|number| (number, name)));
                }
                prop_assert_eq!(line.len(), model.len());
                prop_assert_eq!(line.first(), model.first().map(|(_, name)| name));
                for (index, (number, _)) in model.iter().enumerate() {
                    prop_assert_eq!(line.after(*number), model.get(index + 1).map(|(_, name)| name));
                }
            }
        }
    }
}
