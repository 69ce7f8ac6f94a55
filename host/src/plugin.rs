//! Everything about plugins: from a file in a folder to calls on a generation's lanes, and back to nothing mapped.
//! Nothing outside this module names the plugin boundary's raw side.

pub mod admission;
pub mod artifact;
pub mod blame;
pub mod breaker;
pub mod budget;
pub mod call_time;
pub mod capability;
pub mod confine;
pub mod crash;
pub mod egress;
pub mod elf;
pub mod folders;
pub mod generation;
pub mod glibc;
pub mod journal;
pub mod lane;
pub mod loader;
pub mod manager;
pub mod on_trial;
pub mod permissions;
pub mod probation;
pub mod probe;
pub mod pulse;
pub mod quarantine;
pub mod redact;
pub mod refusal;
pub mod routes;
pub mod signature;
pub mod surroundings;
pub mod tokens;
pub mod trial;
pub mod verdicts;
pub mod watcher;
pub mod why;
