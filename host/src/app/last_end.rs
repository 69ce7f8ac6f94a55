//! How the host before this one ended: what it died of is kept in the journal, and artifacts that ended hosts too often
//! lately are not started.

use anyhow::Context as _;

use crate::{
    clock::Clock,
    config::Config,
    plugin::{
        blame::{self, Blamed},
        crash,
        journal::Happened,
        on_trial::OnTrial,
    },
    state_lock::Before,
    store::{EventFilter, EventsFrom, LastEnd, PLUGIN_EVENTS_MAX, PluginEvent, Store},
};

/// What this host takes over from those before it.
pub(super) struct Earlier {
    /// Artifacts that have ended hosts too often.
    pub(super) blamed: Blamed,
    /// Whether the last end is explained.
    pub(super) last_end: LastEnd,
}

/// Reads and keeps what the host before this one died of, and begins the crash journal of this one.
///
/// # Errors
/// When the state folder or the store cannot be read or written.
pub(super) async fn earlier(config: &Config, store: &Store, clock: &Clock, before: Before) -> anyhow::Result<Earlier> {
    let crashed = keep_crash(config, store, clock).await?;
    let tried = keep_trial(config, store, clock, before).await?;
    let last_end = match before {
        Before::CutOff if !crashed && !tried => LastEnd::Unexplained,
        Before::CutOff | Before::Explained => LastEnd::Explained,
    };
    let events = store.plugin_events(EventsFrom::Newest, EventFilter::default(), PLUGIN_EVENTS_MAX).await?;
    Ok(Earlier { blamed: blame::blamed(events), last_end })
}

/// Keeps the call of a plugin that the crash journal names; false without one.
async fn keep_crash(config: &Config, store: &Store, clock: &Clock) -> anyhow::Result<bool> {
    let journal = config.state_dir.join("crash.journal");
    let earlier = crash::start(&journal).with_context(|| {
        format!("the crash journal {} cannot be used; look for a full or failing disk", journal.display())
    })?;
    let Some(crash) = earlier else { return Ok(false) };
    let message = crash.to_string();
    tracing::error!(tool_type = crash.tool_type, sha256 = crash.sha256, "{message}");
    let event = PluginEvent {
        at_ms: clock.now_ms(),
        tool_type: Some(crash.tool_type),
        generation: i64::try_from(crash.generation).ok(),
        sha256: Some(crash.sha256),
        ..PluginEvent::new(Happened::Crashed, message)
    };
    store.record_plugin_events(vec![event]).await?;
    Ok(true)
}

/// Keeps the plugin file whose probe was cut off with the host; false without one, or when the host's end is explained.
async fn keep_trial(config: &Config, store: &Store, clock: &Clock, before: Before) -> anyhow::Result<bool> {
    let on_trial = OnTrial::in_folder(&config.state_dir.join("plugins"));
    let Some(tried) = on_trial.left_behind().context("what an earlier host was trying")? else { return Ok(false) };
    if before == Before::CutOff {
        let message = format!("the host ended while it tried {}", tried.path.display());
        tracing::error!(
            tool_type = tried.tool_type,
            sha256 = tried.sha256,
            "{message}; the same bytes are not tried again until plugin-ctl enable"
        );
        let event = PluginEvent {
            at_ms: clock.now_ms(),
            tool_type: Some(tried.tool_type),
            version: Some(tried.version),
            sha256: Some(tried.sha256),
            ..PluginEvent::new(Happened::EndedInProbe, message)
        };
        store.record_plugin_events(vec![event]).await?;
    }
    on_trial.forget().context("what an earlier host was trying")?;
    Ok(before == Before::CutOff)
}
