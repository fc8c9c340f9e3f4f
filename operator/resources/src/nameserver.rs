//! The objects of a set's nameservers.

pub mod config_map;
pub mod deployment;
pub mod network_policy;
pub mod pdb;
pub mod service;

#[cfg(test)]
mod tests;
