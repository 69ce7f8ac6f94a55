//! How much of its own time a call of each kind may take: more is no fault yet, and nobody waits for less, but whoever runs
//! the plugin is told. What a call waits for its tool or for a processor is not its own.

use std::{sync::Arc, time::Duration};

use crate::{
    ids::{CorrelationId, TenantId, ToolType},
    plugin::call_time::CallTime,
    telemetry::{
        metrics::{Method, PluginMetrics},
        seldom::SeldomBy,
    },
};

/// Between two warnings about one method of one generation.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The own time that a call of this method may take.
fn budget(method: Method) -> Option<Duration> {
    match method {
        Method::New => None,
        Method::ValidateWebhook => Some(Duration::from_millis(100)),
        Method::ExtractMetadata => Some(Duration::from_millis(10)),
        Method::GetTicket => Some(Duration::from_secs(2)),
        Method::UpdateTicket => Some(Duration::from_secs(5)),
    }
}

/// The step as the log names it.
fn operation(method: Method) -> &'static str {
    match method {
        Method::New => "new",
        Method::ValidateWebhook => "validate",
        Method::ExtractMetadata => "extract",
        Method::GetTicket => "get",
        Method::UpdateTicket => "update",
    }
}

/// Holds the calls of one generation against their budgets. Any thread.
#[derive(Debug)]
pub struct Budgets {
    tool_type: ToolType,
    generation: u64,
    metrics: Arc<PluginMetrics>,
    told: SeldomBy<Method>,
}

/// Whose call it was, for the log.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The webhook's id.
    pub correlation_id: &'a CorrelationId,
}

impl Budgets {
    /// For the generation with this number.
    pub fn new(tool_type: ToolType, generation: u64, metrics: Arc<PluginMetrics>) -> Self {
        Self { tool_type, generation, metrics, told: SeldomBy::new(TOLD_EVERY, Method::ALL.len()) }
    }

    /// A call has taken this long on its lane. Only when that is over the budget is it asked what of it was the call's own.
    pub fn check(&self, method: Method, took: Duration, time: &CallTime, caller: Caller<'_>) {
        let Some(budget) = budget(method).filter(|budget| took > *budget) else { return };
        let own = took.saturating_sub(time.waited());
        if own <= budget {
            return;
        }
        self.metrics.over_budget(method);
        let Some(left_out) = self.told.due(method) else { return };
        let (own_ms, budget_ms) = (own.as_millis(), budget.as_millis());
        tracing::warn!(
            tool_type = %self.tool_type,
            platform = %self.tool_type,
            generation = self.generation,
            tenant = %caller.tenant,
            correlation_id = %caller.correlation_id,
            operation = operation(method),
            duration_ms = u64::try_from(own_ms).unwrap_or(u64::MAX),
            left_out,
            "a call of the plugin has taken {own_ms} ms of its own, and should take {budget_ms} ms at most; the time in \
             which it waited is not counted; ask the plugin's vendor if this goes on"
        );
    }
}
