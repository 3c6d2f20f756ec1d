//! The service against real servers. One module for each subject.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod flow;
mod pages;
mod queries;
mod live;
mod event_clients;
mod page;
mod openapi;
mod schemathesis;
mod clients;
mod webdriver;
mod browser;
mod browser_dead_letters;
mod browser_find;
mod pictures;
mod refused;
mod dead_letters;
mod dead_letters_apart;
mod replay;
mod outages;
mod takeover;
mod bounded;
mod replicas;
mod clusters;
mod warnings;
mod wildcards;
mod sourced_streams;
mod partitioned;
mod nats_setups;
mod shutdown;
mod connection_draining;
mod rolling;
mod module_layers;
mod sign_in;
mod audit_log;
mod commands;
mod position;
mod publish;
mod dashboards;
mod deploy;
mod kubernetes;
mod docs;
mod verify;
mod erase;
mod expiry;
#[cfg(feature = "drain-stan")]
mod drain_stan;
mod chaos;
mod check_settings;
mod access;
mod replaced;
mod connection_errors;
mod memory_limit;
mod hosts;
mod ids;
mod hostile;
mod schema;
mod pooler;
mod pooled;
mod file_limit;
mod unreadable;
mod libpq;
mod encodings;
mod settings;
mod tracing;
mod hostile_frames;
mod unwritable_log;
#[cfg(debug_assertions)]
mod client_end;
mod models;
mod json_rows;
mod any_document;
mod printed_types;
