//! Black-box tests: what operators, senders and tools can see of real binaries with real plugin files.

#![allow(clippy::unwrap_used, reason = "clippy allows it in test functions only, and their helpers are tests too")]

mod answers;
mod backup;
mod bulkheads;
mod canary;
mod changing;
mod clocks;
mod configuration;
mod confinement;
mod draining;
mod end_to_end;
mod fairness;
mod forgery;
mod hostile;
mod keys;
mod killed_at;
mod ledger;
mod look_alike;
mod metrics;
mod open_files;
mod patched;
mod paused;
mod plugin_files;
mod rate_limit;
mod raw_http;
mod refusals;
mod reload;
mod restart;
mod retries;
mod saturated;
mod secrets;
mod slow_clients;
mod store_faults;
mod stuck_linker;
mod supervised;
mod verify;
