//! The harness of the end-to-end tests: real processes, official clients, nothing replaced.
//!
//! ```no_run
//! use std::time::Duration;
//! use bolide_e2e::{Client, Cluster};
//!
//! # fn test() -> bolide_e2e::Result<()> {
//! // prints why and returns when the toolchain of the client is missing; panics instead when CI=true
//! let Some(java) = Client::Java5.find() else { return Ok(()) };
//!
//! let cluster = Cluster::start()?;                       // `bolide up` in a folder and on ports of its own
//! cluster.cli(&["topic", "create", "orders", "--queues", "6"])?;
//!
//! let mut push = java.start(&cluster, &["push", "--topic", "orders", "--group", "g"])?;
//! push.wait_for("ready", Duration::from_secs(30))?;
//! let sent = java.run(&cluster, &["send", "--topic", "orders", "--count", "100"])?;   // events of a run that ended well
//! push.wait_until("100 messages", Duration::from_secs(30), |events| {
//!     events.iter().filter(|event| event.is("message")).count() >= 100
//! })?;
//!
//! let died = cluster.kill_broker("broker-0")?;    // kill -9 by its pid file
//! cluster.wait_restarted(&died, Duration::from_secs(30))?;   // `bolide up` starts it again
//! cluster.stop()                                              // SIGTERM; an error unless it ended with exit code 0
//! # }
//! ```
//!
//! - [`Cluster`] runs `bolide up`. [`Cluster::builder`] takes another manifest (YAML text), and starts on an existing folder. The program
//!   is `BOLIDE_BIN`, else `target/release/bolide`. Each cluster has its own temporary folder, removed when the test passes. When the
//!   test panics or returns an error before `stop`, the ends of all logs are printed and the folder is kept.
//! - Ports: each cluster takes a block of [`ports::BLOCK`] from the range `BOLIDE_E2E_PORTS` (`first-last`, default 24000-31999), locked
//!   against other test processes.
//! - [`Client`] is one of the client programs of `e2e/clients`, built by `e2e/clients/build` into `target/clients`; it is built on first
//!   use when its toolchain is there. [`Running`] is one run of such a program, its JSON lines parsed to [`Event`]s.
//! - [`Mqadmin`] runs `mqadmin` of the published RocketMQ tools, fetched by `e2e/apache/apache`.
//! - [`isolation`] gives a test network and mount namespaces of its own, to cut ports and fill disks in.
//! - [`Kube`] is a real Kubernetes, brought up for the run unless `KUBECONFIG` names one; the tests in `tests/kube` share it.
//! - [`wait::until`] polls a condition until a deadline, for everything else.
//!
//! Everything ends by itself: processes are killed when their handle is dropped, waits have deadlines.

pub mod client;
pub mod cluster;
pub mod event;
pub mod history;
pub mod isolation;
pub mod kube;
pub mod mqadmin;
pub mod ports;
mod process;
pub mod replicas;
pub mod wait;

pub use client::{Client, Program, Running};
pub use cluster::{Builder, Cluster, Died, Output};
pub use event::Event;
pub use kube::Kube;
pub use mqadmin::Mqadmin;

/// Tests are programs: any failure is a sentence with its causes.
pub type Result<T> = anyhow::Result<T>;

/// The folder of the repository.
pub fn repository() -> std::path::PathBuf {
    let e2e = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    e2e.parent().unwrap_or(e2e).to_path_buf()
}

/// The folder that cargo builds into: `CARGO_TARGET_DIR`, else `target` in the repository.
pub fn target_dir() -> std::path::PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => repository().join(dir),
        None => repository().join("target"),
    }
}

/// Whether a missing tool is a failure rather than a reason to skip: `CI=true`.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says on standard error that a test did not run, and why.
///
/// # Panics
/// In CI, where nothing may pass by testing nothing.
pub fn skip(why: &str) {
    assert!(!in_ci(), "this test may not be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}
