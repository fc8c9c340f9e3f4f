//! Owns the compiled SQL92 expressions, so that each is compiled once whatever number of clients, heartbeats and pulls name it.
//!
//! Bounded: at [`MOST`] expressions those that no subscription holds are forgotten; if all are held, a further one is compiled
//! each time. Faults are kept too, so that a client that repeats a bad expression costs little.

use std::collections::HashMap;
use std::sync::Arc;

use bolide_filter::Selector;
use parking_lot::Mutex;

use super::subscription::Compiled;

/// Expressions kept; each is at most 32 KiB of text.
const MOST: usize = 256;

/// Compiled expressions by text.
#[derive(Debug, Default)]
pub(crate) struct Selectors {
    known: Mutex<HashMap<Box<str>, Compiled>>,
}

impl Selectors {
    /// The compiled form of an expression.
    pub(crate) fn compile(&self, expression: &str) -> Compiled {
        if let Some(compiled) = self.known.lock().get(expression) {
            return compiled.clone();
        }
        let compiled = Selector::compile(expression).map(Arc::new);
        if expression.len() > bolide_filter::sql::MAX_BYTES {
            return compiled;
        }
        let mut known = self.known.lock();
        if known.len() >= MOST {
            known.retain(|_, compiled| {
                compiled.as_ref().is_ok_and(|selector| Arc::strong_count(selector) > 1)
            });
        }
        if known.len() < MOST {
            known.insert(expression.into(), compiled.clone());
        }
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_compiled_once() {
        let selectors = Selectors::default();
        let first = selectors.compile("n = 1").unwrap();
        assert!(Arc::ptr_eq(&first, &selectors.compile("n = 1").unwrap()));
        assert_eq!(selectors.compile("n =").unwrap_err().column, 4);
    }

    #[test]
    fn only_what_is_in_use_is_kept_when_there_are_many() {
        let selectors = Selectors::default();
        let held = selectors.compile("held = 1").unwrap();
        for number in 0..MOST * 3 {
            selectors.compile(&format!("n = {number}")).unwrap();
        }
        assert!(selectors.known.lock().len() <= MOST);
        assert!(Arc::ptr_eq(&held, &selectors.compile("held = 1").unwrap()));
    }
}
