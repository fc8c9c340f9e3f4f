//! The store through its public interface, on the disk that fails.

mod crash;
mod damage;
mod deletion;
mod limits;
mod reading;
mod recovery;
mod replicas;
mod support;
mod threads;
