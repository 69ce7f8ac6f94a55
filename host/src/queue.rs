//! The queue's data: what a job is, and when a failed one is tried again. It is kept in the store and worked by the worker.

pub mod backoff;
pub mod job;
pub mod wait;
pub mod wakes;
