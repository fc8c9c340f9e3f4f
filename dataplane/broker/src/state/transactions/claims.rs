//! Owns the right to append what ends or copies open transactions: given to one at a time, given back when nothing came of it.

use std::sync::Arc;

use super::HalfId;
use crate::state::State;

/// Claims on some transactions. Dropping gives them back, so an append that is refused, fails or is never made leaves them open.
pub(crate) struct Claims {
    state: Arc<State>,
    ids: Vec<HalfId>,
}

impl Claims {
    /// No claims yet.
    pub(crate) fn new(state: Arc<State>) -> Claims {
        Claims { state, ids: Vec::new() }
    }

    /// Claims one more. False when it is not open, or claimed by somebody.
    pub(crate) fn add(&mut self, id: HalfId) -> bool {
        let claimed = self.state.transactions.lock().claim(id);
        if claimed {
            self.ids.push(id);
        }
        claimed
    }

    /// Gives one back.
    pub(crate) fn give_back(&mut self, id: HalfId) {
        if let Some(at) = self.ids.iter().position(|known| *known == id) {
            self.ids.swap_remove(at);
            self.state.transactions.lock().release(id);
            self.state.transactions_changed.notify_waiters();
        }
    }

    /// The records are applied, which has ended the claims. One that is only appended may still be cut off with an end of the
    /// log: then the transaction is open, and its claim must be given back.
    pub(crate) fn applied(mut self) {
        self.ids.clear();
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if self.ids.is_empty() {
            return;
        }
        let mut transactions = self.state.transactions.lock();
        for id in self.ids.drain(..) {
            transactions.release(id);
        }
        drop(transactions);
        self.state.transactions_changed.notify_waiters();
    }
}
