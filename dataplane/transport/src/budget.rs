//! Bytes of large frames that all connections of a server may hold together.
//!
//! Invariant: reserved + free = total. A frame reserves its whole length before more than the first 64 KiB of it are read, so
//! that no connection waits while it holds a part; a connection that waits holds no reservation.

use std::task::Waker;

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: Vec<Waker>,
}

impl Budget {
    pub(crate) fn new(total: usize) -> Self {
        Self { total, state: Mutex::new(State { free: total, waiting: Vec::new() }) }
    }

    /// Takes `bytes` (at most the total) if they are free, and returns how many were taken. Otherwise `waker` is woken when some
    /// are given back.
    pub(crate) fn reserve(&self, bytes: usize, waker: &Waker) -> Option<usize> {
        let wanted = bytes.min(self.total);
        let mut state = self.state.lock();
        match state.free.checked_sub(wanted) {
            Some(rest) => {
                state.free = rest;
                Some(wanted)
            }
            None => {
                if !state.waiting.iter().any(|known| known.will_wake(waker)) {
                    state.waiting.push(waker.clone());
                }
                None
            }
        }
    }

    /// Gives `bytes` back.
    pub(crate) fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let waiting = {
            let mut state = self.state.lock();
            state.free = state.free.saturating_add(bytes).min(self.total);
            std::mem::take(&mut state.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_waits_until_enough_is_given_back() {
        let budget = Budget::new(100);
        let waker = Waker::noop();
        assert_eq!(budget.reserve(70, waker), Some(70));
        assert_eq!(budget.reserve(40, waker), None);
        budget.release(70);
        assert_eq!(budget.reserve(40, waker), Some(40));
    }

    #[test]
    fn a_frame_larger_than_the_budget_takes_all_of_it_rather_than_wait_forever() {
        let budget = Budget::new(100);
        assert_eq!(budget.reserve(1000, Waker::noop()), Some(100));
    }
}
