//! Black-box tests: what operators, senders and tools can see of real binaries with real plugin files.

mod bulkheads;
mod configuration;
mod end_to_end;
mod metrics;
mod plugin_files;
mod raw_http;
mod refusals;
mod reload;
mod restart;
mod retries;
mod secrets;
