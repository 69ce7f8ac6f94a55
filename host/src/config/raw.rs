//! The configuration as it is written: one field per key, with its default.

use serde::{Deserialize, Serialize};

/// The whole file. Integers are signed, so that a negative one is told from a wrong type.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) state_dir: String,
    pub(super) server: Server,
    pub(super) admin: Admin,
    pub(super) plugins: Plugins,
    pub(super) store: Store,
    pub(super) secrets: Secrets,
    pub(super) worker: Worker,
    pub(super) retry: Retry,
    pub(super) http: Http,
    pub(super) log: Log,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) listen: String,
    pub(super) body_bytes_max: i64,
    pub(super) header_timeout_s: i64,
    pub(super) body_timeout_s: i64,
    pub(super) answer_timeout_s: i64,
    pub(super) connections_max: i64,
    pub(super) tenant_rate_per_s: i64,
    pub(super) tenant_burst: i64,
    pub(super) trusted_proxies: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) socket: String,
    pub(super) listen: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugins {
    pub(super) dir: String,
    pub(super) watch: bool,
    pub(super) settle_ms: i64,
    pub(super) rescan_s: i64,
    pub(super) permissions: String,
    pub(super) require_signature: bool,
    pub(super) trusted_keys: Vec<String>,
    pub(super) fast_lanes: i64,
    pub(super) slow_lanes_max: i64,
    pub(super) lane_queue: i64,
    pub(super) fast_deadline_ms: i64,
    pub(super) slow_deadline_s: i64,
    pub(super) drain_s: i64,
    pub(super) retained_max: i64,
    pub(super) when_stuck: String,
    pub(super) quarantine_s: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Store {
    pub(super) url: String,
    pub(super) dedup_hours: i64,
    pub(super) solved_days: i64,
    pub(super) notes_days: i64,
    pub(super) dead_letters_days: i64,
    pub(super) tenant_jobs_max: i64,
    pub(super) tenant_mb_max: i64,
    pub(super) free_mb_min: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secrets {
    pub(super) key_file: String,
    pub(super) cache_s: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) concurrency: i64,
    pub(super) per_tenant: i64,
    pub(super) lease_s: i64,
    pub(super) drain_s: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    pub(super) base_s: i64,
    pub(super) multiplier: f64,
    pub(super) max_s: i64,
    pub(super) jitter: f64,
    pub(super) give_up_hours: i64,
    pub(super) statuses: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) connect_s: i64,
    pub(super) read_s: i64,
    pub(super) answer_bytes_max: i64,
    pub(super) answers_bytes_max: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: String,
    pub(super) level: String,
}

impl Raw {
    pub(super) fn deserialize_from(values: &toml::Table) -> Result<Self, toml::de::Error> {
        values.clone().try_into()
    }
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            state_dir: "state".into(),
            server: Server {
                listen: "127.0.0.1:8080".into(),
                body_bytes_max: 1_048_576,
                header_timeout_s: 10,
                body_timeout_s: 20,
                answer_timeout_s: 20,
                connections_max: 10_000,
                tenant_rate_per_s: 10_000,
                tenant_burst: 20_000,
                trusted_proxies: Vec::new(),
            },
            admin: Admin { socket: "<state_dir>/admin.sock".into(), listen: "127.0.0.1:9090".into() },
            plugins: Plugins {
                dir: "plugins".into(),
                watch: true,
                settle_ms: 200,
                rescan_s: 30,
                permissions: "strict".into(),
                require_signature: false,
                trusted_keys: Vec::new(),
                fast_lanes: 1,
                slow_lanes_max: 32,
                lane_queue: 1_024,
                fast_deadline_ms: 1_000,
                slow_deadline_s: 60,
                drain_s: 90,
                retained_max: 16,
                when_stuck: "restart".into(),
                quarantine_s: 60,
            },
            store: Store {
                url: "sqlite:<state_dir>/patchbay.db".into(),
                dedup_hours: 72,
                solved_days: 0,
                notes_days: 0,
                dead_letters_days: 0,
                tenant_jobs_max: 100_000,
                tenant_mb_max: 1_024,
                free_mb_min: 256,
            },
            secrets: Secrets { key_file: "<state_dir>/secret.key".into(), cache_s: 60 },
            worker: Worker { concurrency: 64, per_tenant: 8, lease_s: 90, drain_s: 30 },
            retry: Retry {
                base_s: 2,
                multiplier: 2.0,
                max_s: 900,
                jitter: 0.2,
                give_up_hours: 24,
                statuses: vec![408, 425, 429, 500, 502, 503, 504],
            },
            http: Http { connect_s: 10, read_s: 30, answer_bytes_max: 10_485_760, answers_bytes_max: 67_108_864 },
            log: Log { format: "text".into(), level: "info".into() },
        }
    }
}
