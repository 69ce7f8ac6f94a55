//! Black-box tests: what operators, senders and tools can see of real binaries with real plugin files.

#![allow(clippy::unwrap_used, reason = "clippy allows it in test functions only, and their helpers are tests too")]

mod answers;
mod bulkheads;
mod changing;
mod configuration;
mod confinement;
mod draining;
mod end_to_end;
mod hostile;
mod killed_at;
mod ledger;
mod metrics;
mod patched;
mod paused;
mod plugin_files;
mod raw_http;
mod refusals;
mod reload;
mod restart;
mod retries;
mod secrets;
mod stuck_linker;
mod supervised;
mod verify;
