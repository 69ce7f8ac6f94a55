//! The limits that may change while the host runs, swapped as a whole.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use crate::{
    config::{Config, Retry, TenantRate},
    networks::Networks,
    plugin::signature::Trust,
    store::{Keeping, TenantRoom},
};

/// Keys whose new value holds from the next reload on; every other key waits for a restart. `log.level` is changed
/// through [`LogControl`](crate::telemetry::LogControl), the others are [`Limits`].
pub const RELOADABLE: [&str; 25] = [
    "log.level",
    "plugins.require_signature",
    "plugins.trusted_keys",
    "retry.base_s",
    "retry.give_up_hours",
    "retry.jitter",
    "retry.max_s",
    "retry.multiplier",
    "retry.statuses",
    "server.answer_timeout_s",
    "server.body_bytes_max",
    "server.body_timeout_s",
    "server.connections_max",
    "server.header_timeout_s",
    "server.tenant_burst",
    "server.tenant_rate_per_s",
    "server.trusted_proxies",
    "store.dead_letters_days",
    "store.free_mb_min",
    "store.notes_days",
    "store.solved_days",
    "store.tenant_jobs_max",
    "store.tenant_mb_max",
    "worker.concurrency",
    "worker.per_tenant",
];

/// One consistent set of limits; see the parts of [`Config`] for what each means.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest webhook body.
    pub body_bytes_max: usize,
    /// Time for a request's headers. Connections that are open keep the one they began with.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// For how long a client may take nothing of what is sent to it. Connections that are open keep the one they began with.
    pub answer_timeout: Duration,
    /// Connections open at once.
    pub connections_max: usize,
    /// Authentic webhooks of one tenant.
    pub tenant_rate: TenantRate,
    /// How long what has ended is kept.
    pub keeping: Keeping,
    /// What one tenant may have in the store.
    pub tenant_room: TenantRoom,
    /// Bytes that stay free where the store lies.
    pub free_bytes_min: u64,
    /// Proxies that are believed about who sent a request.
    pub trusted_proxies: Networks,
    /// Jobs worked on at once.
    pub concurrency: usize,
    /// Jobs of one tenant worked on at once.
    pub per_tenant: usize,
    /// When failed jobs are tried again.
    pub retry: Retry,
    /// Whose signatures of plugins are good, and whether a plugin needs one.
    pub trust: Trust,
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            body_bytes_max: config.server.body_bytes_max,
            header_timeout: config.server.header_timeout,
            body_timeout: config.server.body_timeout,
            answer_timeout: config.server.answer_timeout,
            connections_max: config.server.connections_max,
            tenant_rate: config.server.tenant_rate,
            keeping: config.store.keeping,
            tenant_room: config.store.tenant_room,
            free_bytes_min: config.store.free_bytes_min,
            trusted_proxies: config.server.trusted_proxies.clone(),
            concurrency: config.worker.concurrency,
            per_tenant: config.worker.per_tenant,
            retry: config.retry.clone(),
            trust: config.plugins.trust.clone(),
        }
    }
}

/// The limits in force, shared by all parts. Cheap to clone; any thread; reading takes no lock.
#[derive(Debug, Clone)]
pub struct SharedLimits {
    current: Arc<ArcSwap<Limits>>,
    started_with: Arc<Config>,
}

impl SharedLimits {
    /// Those of the configuration that the host starts with.
    pub fn new(config: Config) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(Limits::of(&config))), started_with: Arc::new(config) }
    }

    /// The limits as of now. Take them once for each piece of work, so that it sees one set.
    pub fn now(&self) -> Arc<Limits> {
        self.current.load_full()
    }

    /// Puts all limits of `config` in force. A configuration with a fault never gets here, since
    /// [`Config::load`] returns none. The result names the keys that differ from those the host started with and
    /// wait for a restart.
    pub fn reload(&self, config: &Config) -> Vec<String> {
        self.current.store(Arc::new(Limits::of(config)));
        let mut waiting = self.started_with.changed_keys(config);
        waiting.retain(|key| !RELOADABLE.contains(&key.as_str()));
        waiting
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(env: &[(&str, &str)]) -> Config {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(None, env, Path::new("/nowhere")).unwrap()
    }

    #[test]
    fn a_reload_changes_all_limits_at_once_and_names_what_must_wait() {
        let limits = SharedLimits::new(config(&[]));
        let seen_by_a_request = limits.now();
        let waiting = limits.reload(&config(&[
            ("PATCHBAY_SERVER__BODY_BYTES_MAX", "2048"),
            ("PATCHBAY_WORKER__PER_TENANT", "2"),
            ("PATCHBAY_RETRY__MAX_S", "60"),
            ("PATCHBAY_SERVER__LISTEN", "127.0.0.1:0"),
            ("PATCHBAY_STATE_DIR", "elsewhere"),
        ]));
        assert_eq!(waiting, ["server.listen", "state_dir"]);
        assert_eq!(seen_by_a_request.body_bytes_max, 1_048_576);
        let now = limits.now();
        assert_eq!((now.body_bytes_max, now.per_tenant, now.retry.max), (2_048, 2, Duration::from_secs(60)));
        assert_eq!(limits.reload(&config(&[])), Vec::<String>::new());
        assert_eq!(*limits.now(), *seen_by_a_request);
    }

    #[test]
    fn each_reloadable_key_reaches_the_limits() {
        let a_key = format!("RW{}", "Q".repeat(54));
        let other = |key: &str| match key {
            "plugins.require_signature" => "true".to_owned(),
            "plugins.trusted_keys" => a_key.clone(),
            "retry.jitter" => "0.5".to_owned(),
            "retry.statuses" => "500".to_owned(),
            "server.trusted_proxies" => "10.0.0.0/8".to_owned(),
            _ => "7".to_owned(),
        };
        for key in RELOADABLE.iter().filter(|key| **key != "log.level") {
            let name = format!("PATCHBAY_{}", key.replace('.', "__").to_uppercase());
            // One key can only be set beside another.
            let beside = match *key {
                "plugins.require_signature" => vec![("PATCHBAY_PLUGINS__TRUSTED_KEYS", a_key.as_str())],
                _ => Vec::new(),
            };
            let limits = SharedLimits::new(config(&beside));
            let before = limits.now();
            let changed = config(&[&beside[..], &[(&name, &other(key))]].concat());
            assert_eq!(limits.reload(&changed), Vec::<String>::new(), "{key}");
            assert_ne!(limits.now(), before, "{key}");
        }
    }
}
