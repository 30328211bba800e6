//! Limits on how many requests are in flight at once, over all workers, and the queue before them.
//!
//! Without a limit there is no gate, and nothing of this is on the way of a request. With one there
//! is a lock, which is held for as long as it takes to compare a few numbers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tidegate_types::{Concurrency, data_plane::Queue};
use tokio::{sync::Notify, time::Instant};

use crate::line::Line;

/// How many requests are in one place. Changes only while its gate is locked.
#[derive(Debug, Default)]
pub(crate) struct Occupancy(AtomicU32);

impl Occupancy {
    /// How many there are.
    pub(crate) fn read(&self) -> u32 {
        self.0.load(Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn subtract(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Lets in no more than so many at once.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    /// Where there is one place only, its occupancy.
    whole: Arc<Occupancy>,
}

#[derive(Debug)]
struct State {
    terms: Concurrency,
    line: Line<Arc<Notify>>,
    queue: Queue,
}

/// What somebody finds who looks for room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<T, P = Arc<Occupancy>> {
    /// This, in this place.
    Free(T, P),
    /// Others may find room where this one does not want to go.
    ForOthers,
    /// None.
    None,
}

/// What becomes of somebody at the gate.
#[derive(Debug)]
pub(crate) enum Entry<T> {
    /// It is in.
    In(T, Slot),
    /// It is in the line.
    Waits(Place),
    /// The line is full.
    Full,
}

impl Gate {
    pub(crate) fn new(terms: Concurrency) -> Self {
        let state = State { terms, line: Line::default(), queue: Queue::default() };
        Self { state: Mutex::new(state), whole: Arc::default() }
    }

    /// Changes the limits. Who is in stays in.
    pub(crate) fn set(&self, terms: Concurrency) {
        let mut state = self.lock();
        state.terms = terms;
        // There may be more room, for whoever comes to be asked: each wakes the next.
        state.wake_first();
    }

    /// There may be more room than before.
    pub(crate) fn wake(&self) {
        self.lock().wake_first();
    }

    /// What is to be told of the queue.
    pub(crate) fn queue(&self) -> Queue {
        let state = self.lock();
        Queue { waiting: state.line.len() as u64, ..state.queue.clone() }
    }

    /// Goes in, or joins the line; `place` is where it stands already. `look` is told the limit of
    /// each place and says where there is room.
    pub(crate) fn enter<T>(
        self: &Arc<Self>,
        place: Option<Place>,
        look: impl FnOnce(u32) -> Room<T>,
    ) -> Entry<T> {
        let mut state = self.lock();
        let limit = state.terms.limit.max(1);
        let room = match &place {
            // Who comes now does not overtake those who wait.
            None if state.line.len() > 0 => Room::None,
            _ => look(limit),
        };
        match (room, place) {
            (Room::Free(found, occupancy), place) => {
                occupancy.add();
                if let Some(mut place) = place {
                    state.line.leave(place.number);
                    place.left = true;
                    state.queue.waited += 1;
                    let micros = place.since.elapsed().as_micros();
                    state.queue.waited_micros += u64::try_from(micros).unwrap_or(u64::MAX);
                    state.wake_first();
                }
                drop(state);
                Entry::In(found, Slot { gate: Arc::clone(self), occupancy })
            }
            (room, Some(place)) => {
                if matches!(room, Room::ForOthers)
                    && let Some(next) = state.line.after(place.number)
                {
                    next.notify_one();
                }
                drop(state);
                Entry::Waits(place)
            }
            (_, None) => {
                let woken = Arc::new(Notify::new());
                let longest = usize::try_from(state.terms.queue).unwrap_or(usize::MAX);
                let Some(number) = state.line.join(longest, Arc::clone(&woken)) else {
                    state.queue.full += 1;
                    return Entry::Full;
                };
                let since = Instant::now();
                let deadline = since + Duration::from(state.terms.wait);
                drop(state);
                let gate = Arc::clone(self);
                Entry::Waits(Place { gate, number, woken, since, deadline, left: false })
            }
        }
    }

    /// Goes in where there is one place only.
    pub(crate) fn enter_whole(self: &Arc<Self>, place: Option<Place>) -> Entry<()> {
        self.enter(place, |limit| {
            if self.whole.read() < limit {
                Room::Free((), Arc::clone(&self.whole))
            } else {
                Room::None
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_first(&self) {
        if let Some(first) = self.line.first() {
            first.notify_one();
        }
    }
}

/// A place in the line; left when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    number: u64,
    woken: Arc<Notify>,
    since: Instant,
    deadline: Instant,
    left: bool,
}

impl Place {
    /// Whether it is in the line of this gate.
    pub(crate) fn is_at(&self, gate: &Arc<Gate>) -> bool {
        Arc::ptr_eq(&self.gate, gate)
    }

    /// Waits until it is worth looking again. None when it has waited for too long.
    pub(crate) async fn turn(self) -> Option<Self> {
        if tokio::time::timeout_at(self.deadline, self.woken.notified()).await.is_ok() {
            return Some(self);
        }
        self.gate.lock().queue.late += 1;
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left {
            let mut state = self.gate.lock();
            state.line.leave(self.number);
            // It may have been woken for room that it does not take now.
            state.wake_first();
        }
    }
}

/// Somebody who is in; out when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Arc<Gate>,
    occupancy: Arc<Occupancy>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let state = self.gate.lock();
        self.occupancy.subtract();
        state.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future as _, sync::atomic::AtomicBool, task::Poll};

    use super::*;

    fn gate(limit: u32, queue: u32, wait: u64) -> Arc<Gate> {
        let wait = tidegate_types::Duration::from_millis(wait);
        Arc::new(Gate::new(Concurrency { limit, queue, wait }))
    }

    const LONG: u64 = 3_600_000;

    fn slot<T: std::fmt::Debug>(entry: Entry<T>) -> Slot {
        match entry {
            Entry::In(_, slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn place<T: std::fmt::Debug>(entry: Entry<T>) -> Place {
        match entry {
            Entry::Waits(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_come_is_the_first_in_and_nobody_overtakes() {
        let gate = gate(1, 2, LONG);
        let inside = slot(gate.enter_whole(None));
        let first = place(gate.enter_whole(None));
        let second = place(gate.enter_whole(None));
        assert!(matches!(gate.enter_whole(None), Entry::Full));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(inside);
        // There is room, and it is not for who comes now.
        assert!(matches!(gate.enter_whole(None), Entry::Full));
        let first = first.turn().await.unwrap();
        let inside = slot(gate.enter_whole(Some(first)));
        let queue = Queue { waiting: 1, waited: 1, waited_micros: 1_000_000, full: 2, late: 0 };
        assert_eq!(gate.queue(), queue);
        drop(inside);
        let second = second.turn().await.unwrap();
        drop(slot(gate.enter_whole(Some(second))));
        assert_eq!(gate.queue().waiting, 0);
        drop(slot(gate.enter_whole(None)));
        assert_eq!(gate.whole.read(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_turned_away_and_the_next_is_woken() {
        let gate = gate(1, 9, 5_000);
        let inside = slot(gate.enter_whole(None));
        let late = place(gate.enter_whole(None));
        tokio::time::advance(Duration::from_secs(3)).await;
        let next = place(gate.enter_whole(None));
        assert!(late.turn().await.is_none());
        assert_eq!((gate.queue().waiting, gate.queue().late), (1, 1));
        let leaves = place(gate.enter_whole(None));
        drop(inside);
        // The client of the first in the line has gone away just when it was woken.
        drop(next);
        let leaves = leaves.turn().await.unwrap();
        drop(slot(gate.enter_whole(Some(leaves))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_want_the_room_there_is_passes_it_on() {
        let gate = gate(1, 9, LONG);
        let inside = slot(gate.enter_whole(None));
        let choosy = place(gate.enter_whole(None));
        let next = place(gate.enter_whole(None));
        drop(inside);
        let choosy = choosy.turn().await.unwrap();
        let _choosy = place(gate.enter(Some(choosy), |_| Room::<()>::ForOthers));
        let next = next.turn().await.unwrap();
        drop(slot(gate.enter_whole(Some(next))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_higher_limit_lets_in_who_waits() {
        let gate = gate(1, 9, LONG);
        let _inside = slot(gate.enter_whole(None));
        let waiting = [0; 3].map(|_| place(gate.enter_whole(None)));
        gate.set(Concurrency { limit: 4, queue: 0, wait: tidegate_types::Duration::ZERO });
        let mut slots = Vec::new();
        for place in waiting {
            let place = place.turn().await.unwrap();
            slots.push(slot(gate.enter_whole(Some(place))));
        }
        assert!(matches!(gate.enter_whole(None), Entry::Full));
    }

    /// Many threads, each with a runtime of its own as workers have it.
    #[test]
    fn nobody_is_forgotten_and_the_limit_holds_over_threads() {
        const LIMIT: u32 = 3;
        let gate = gate(LIMIT, 1_000, LONG);
        let broken = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let tasks = (0..20).map(|_| async {
                            for _ in 0..25 {
                                let mut entry = gate.enter_whole(None);
                                while let Entry::Waits(place) = entry {
                                    entry = gate.enter_whole(place.turn().await);
                                }
                                let slot = slot(entry);
                                if gate.whole.read() > LIMIT {
                                    broken.store(true, Relaxed);
                                }
                                tokio::task::yield_now().await;
                                drop(slot);
                            }
                        });
                        let mut tasks: Vec<_> = tasks.map(Box::pin).collect();
                        std::future::poll_fn(|context| {
                            tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
                            if tasks.is_empty() { Poll::Ready(()) } else { Poll::Pending }
                        })
                        .await;
                    });
                });
            }
        });
        assert!(!broken.load(Relaxed));
        let queue = gate.queue();
        assert_eq!((gate.whole.read(), queue.waiting, queue.full, queue.late), (0, 0, 0, 0));
        assert!(queue.waited > 0);
    }
}
