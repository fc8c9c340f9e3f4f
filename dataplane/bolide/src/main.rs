//! The `bolide` program: a local cluster (`up`), the server processes, and the commands a person uses beside them.
//!
//! This file owns the exit code and the one line that a failed command prints; everything else is in the modules.

mod args;
mod bench;
mod consume;
mod failure;
mod group;
mod group_state;
mod kubernetes;
mod lag;
mod output;
mod produce;
mod request_codes;
mod server;
mod status;
mod switchover;
mod time;
mod topic;
mod up;
mod yaml;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        // the reader of our output has gone, as `head` does: it has all it wanted
        Err(error) if failure::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bolide: {}", failure::one_line(&error));
            failure::exit_code(&error)
        }
    }
}
