//! Reads the configuration again on SIGHUP, and puts it in force: all of it or nothing.

use tokio::sync::mpsc;

use crate::{
    config::Config,
    limits::SharedLimits,
    plugin::manager::{PluginManager, Reload},
    telemetry::LogControl,
};

/// The parts that a reload changes.
pub(super) struct Reloads {
    pub(super) log: LogControl,
    pub(super) limits: SharedLimits,
    pub(super) manager: PluginManager,
}

impl Reloads {
    /// Carries out each request until the host ends. `reread` reads the configuration.
    pub(super) async fn follow(
        self,
        mut requests: mpsc::Receiver<()>,
        reread: impl Fn() -> anyhow::Result<Config> + Send,
    ) {
        while requests.recv().await.is_some() {
            match reread() {
                Ok(config) => self.put_in_force(&config).await,
                Err(fault) => tracing::error!("the configuration was not reloaded, the old one stays: {fault:#}"),
            }
        }
    }

    /// The manager looks at the plugin folder again when other keys are trusted than before.
    async fn put_in_force(&self, config: &Config) {
        if let Err(fault) = self.log.set_level(config.log.level) {
            tracing::error!("the log level was not changed: {fault}");
            return;
        }
        let before = self.limits.now();
        let waiting = self.limits.reload(config);
        tracing::info!("configuration reloaded");
        if !waiting.is_empty() {
            tracing::warn!("these keys wait for a restart: {}", waiting.join(", "));
        }
        if self.limits.now().trust != before.trust {
            self.manager.reload(Reload::Changed).await;
        }
    }
}
