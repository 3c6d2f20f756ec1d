//! The log: which lines are written, how a line leaves the process, and the audit log.

pub mod audit;
pub mod filter;
pub mod writer;
