//! Bytes as a list of choices, so that a fuzzer that knows only bytes can make up whole values.

/// Takes one byte for each choice. When they are used up, every choice is the first.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether there is nothing left to choose by.
    pub(crate) const fn are_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(crate) fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    pub(crate) fn among<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    pub(crate) fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.yes().then(|| value(self))
    }

    /// Up to `most` values.
    pub(crate) fn list<C, T>(&mut self, most: usize, mut value: impl FnMut(&mut Self) -> T) -> C
    where
        C: FromIterator<T>,
    {
        let count = self.below(most + 1);
        (0..count).map(|_| value(self)).collect()
    }

    /// Small, or at an edge.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ ..=199 => u64::from(small),
            edge => [u64::MAX, u64::MAX - 1, u64::MAX / 2, 10_000, 600_000, u64::from(u32::MAX)]
                [usize::from(edge) % 6],
        }
    }

    /// Small, or at an edge.
    pub(crate) fn count(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }
}
