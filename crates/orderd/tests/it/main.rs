//! The service against real servers. One module for each thing that it shows.

mod support;

mod flow;
mod pages;
mod refused;
mod takeover;
mod shutdown;
mod commands;
