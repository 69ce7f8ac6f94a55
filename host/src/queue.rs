//! The queue's data: what a job is, and when a failed one is retried. The store keeps it and the worker processes it.

pub mod backoff;
pub mod job;
pub mod wait;
pub mod wakes;
