//! The live status below the last line of `bolide up`, on a terminal only.

use std::io::IsTerminal;

use bolide_client::Admin;

use super::plan::Plan;
use super::supervisor::{State, Supervised};
use crate::output::{self, Table};
use crate::status;

/// Lines at the bottom of the terminal that are drawn again and again. Elsewhere nothing is drawn, and lines are printed as they are.
#[derive(Debug)]
pub(crate) struct Live {
    terminal: bool,
    drawn: usize,
    namesrv: String,
}

impl Live {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), drawn: 0, namesrv: plan.namesrv.clone() }
    }

    /// Prints a line above the status.
    pub(crate) fn say(&mut self, line: &str) {
        self.clear();
        super::say(line);
    }

    /// Takes the status away.
    pub(crate) fn clear(&mut self) {
        if self.drawn > 0 {
            // up, and erase from there to the end of the screen
            let _ = output::write(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    /// Draws the status anew.
    pub(crate) async fn draw(&mut self, admin: &Admin, children: &[Supervised]) {
        if !self.terminal {
            return;
        }
        let mut processes = Table::new(&["PROCESS", "STATE", "PID"]);
        for child in children {
            let (state, pid) = match *child.state.borrow() {
                State::Starting => ("starting", String::new()),
                State::Running { pid } => ("running", pid.to_string()),
                State::Waiting => ("waits to be started again", String::new()),
                State::Ended => ("ended", String::new()),
            };
            processes.row([child.name.clone(), state.to_owned(), pid]);
        }
        let brokers = match status::brokers(admin).await {
            Ok(brokers) => status::table(&brokers),
            Err(error) => format!("no answer from the nameservers: {error}\n"),
        };
        let text = format!(
            "\n{}\n{brokers}\nNAMESRV_ADDR={}   Ctrl-C ends the cluster\n",
            processes.render(),
            self.namesrv
        );
        self.clear();
        // no wrapping meanwhile, so that a line stays one line in a narrow window; a closed output must not end the cluster
        let _ = output::write(&format!("\x1b[?7l{text}\x1b[?7h"));
        self.drawn = text.lines().count();
    }
}
