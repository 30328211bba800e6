//! The engine's clock.
//!
//! Deadlines are points in time that are stored. Were they points of the wall clock, an
//! administrator who corrects it by an hour would end every bake or hold every deployment. So the
//! engine's time is the wall clock's at one moment, the anchor, plus what the machine's
//! uninterruptible clock (`CLOCK_BOOTTIME`) has counted since. The anchor is stored and used again
//! by the next control plane on the same boot. After a reboot the wall clock gives a new anchor, but
//! never one before the latest time that was stored.

use serde::{Deserialize, Serialize};
use tidegate_types::Timestamp;

/// Tells the time. Never goes back.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;
}

/// Two clocks read at the same moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which boot the second clock counts from.
    pub boot: String,
    /// The engine's time, in milliseconds since 1970-01-01 UTC.
    pub wall: i64,
    /// Milliseconds since the boot.
    pub uptime: i64,
}

impl Anchor {
    /// The anchor to go on with: the stored one on the same boot, else `now`, moved forward to the
    /// `latest` time that was ever stored.
    #[must_use]
    pub fn choose(stored: Option<Self>, now: Self, latest: Option<Timestamp>) -> Self {
        match stored {
            Some(stored) if stored.boot == now.boot && stored.uptime <= now.uptime => stored,
            _ => {
                let latest = latest.map_or(i64::MIN, Timestamp::as_millis);
                Self { wall: now.wall.max(latest), ..now }
            }
        }
    }

    /// The time when the uptime is `uptime`.
    #[must_use]
    pub const fn at(&self, uptime: i64) -> Timestamp {
        Timestamp::from_millis(self.wall.saturating_add(uptime.saturating_sub(self.uptime)))
    }

    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned());
        let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { boot, wall: millis(wall), uptime: uptime() }
    }
}

fn millis(time: rustix::time::Timespec) -> i64 {
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

fn uptime() -> i64 {
    millis(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

/// The real clock.
#[derive(Debug, Clone)]
pub struct SteadyClock {
    anchor: Anchor,
}

impl SteadyClock {
    /// A clock that counts from `anchor`.
    #[must_use]
    pub const fn new(anchor: Anchor) -> Self {
        Self { anchor }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.anchor.at(uptime())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn anchor(boot: &str, wall: i64, uptime: i64) -> Anchor {
        Anchor { boot: boot.to_owned(), wall, uptime }
    }

    #[test]
    fn a_wall_clock_that_jumps_changes_nothing_until_the_next_boot() {
        let stored = anchor("a", 10 * HOUR, 1_000);
        for jump in [-HOUR, HOUR] {
            let now = anchor("a", 10 * HOUR + jump + 500, 1_500);
            let chosen = Anchor::choose(Some(stored.clone()), now, None);
            assert_eq!(chosen.at(1_500), Timestamp::from_millis(10 * HOUR + 500));
        }
    }

    #[test]
    fn after_a_reboot_time_goes_on_from_the_wall_clock_but_never_back() {
        let stored = Some(anchor("a", 10 * HOUR, 1_000));
        let later = anchor("b", 12 * HOUR, 10);
        let latest = Some(Timestamp::from_millis(11 * HOUR));
        let chosen = Anchor::choose(stored.clone(), later, latest);
        assert_eq!(chosen.at(20), Timestamp::from_millis(12 * HOUR + 10));
        let earlier = anchor("b", 9 * HOUR, 10);
        let chosen = Anchor::choose(stored, earlier, latest);
        assert_eq!(chosen.at(20), Timestamp::from_millis(11 * HOUR + 10));
    }

    #[test]
    fn the_real_clock_is_near_the_wall_clock() {
        let read = Anchor::read();
        let clock = SteadyClock::new(read.clone());
        assert!(clock.now().as_millis() >= read.wall);
        assert!(clock.now().as_millis() < read.wall + HOUR);
    }
}
