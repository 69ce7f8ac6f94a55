//! Which generation serves a tool type right now. Read by every webhook and job, written by the plugin manager alone.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::generation::{Generation, InFlight, NotEntered};
use crate::ids::ToolType;

/// Where calls for a tool type go.
#[derive(Clone)]
pub enum Route {
    /// To this generation. (A list with one entry: weights for several may come.)
    Active(Arc<Generation>),
    /// Nowhere: the plugin is quarantined, and not even loaded.
    Quarantined,
    /// Nowhere: an operator has disabled the plugin.
    Disabled,
}

/// Why there is nowhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No plugin serves this tool type.
    #[error("no plugin serves this tool type")]
    Missing,
    /// The plugin is quarantined.
    #[error("the plugin is quarantined")]
    Quarantined,
    /// The plugin is disabled.
    #[error("the plugin is disabled")]
    Disabled,
}

/// The table of routes. Cheap to clone; all clones are one table.
#[derive(Clone, Default)]
pub struct Routes {
    table: Arc<ArcSwap<HashMap<ToolType, Route>>>,
}

impl Routes {
    /// Enters the generation that serves this tool type now.
    ///
    /// # Errors
    /// When none does.
    pub fn enter(&self, tool_type: &ToolType) -> Result<InFlight, NoRoute> {
        loop {
            match self.table.load().get(tool_type) {
                None => return Err(NoRoute::Missing),
                Some(Route::Quarantined) => return Err(NoRoute::Quarantined),
                Some(Route::Disabled) => return Err(NoRoute::Disabled),
                Some(Route::Active(generation)) => match generation.enter() {
                    Ok(stay) => return Ok(stay),
                    Err(NotEntered::Quarantined) => return Err(NoRoute::Quarantined),
                    // Only after the table has changed: look again and find its successor.
                    Err(NotEntered::Draining) => {}
                },
            }
            std::hint::spin_loop();
        }
    }

    /// The tool types that a plugin serves now, in order.
    pub fn served(&self) -> Vec<ToolType> {
        let table = self.table.load();
        let active = table.iter().filter(|(_, route)| matches!(route, Route::Active(_)));
        let mut served: Vec<_> = active.map(|(tool_type, _)| tool_type.clone()).collect();
        served.sort();
        served
    }

    /// The route of a tool type.
    pub fn get(&self, tool_type: &ToolType) -> Option<Route> {
        self.table.load().get(tool_type).cloned()
    }

    /// Puts a route in place, or takes it out, at once for all new calls.
    pub(super) fn set(&self, tool_type: &ToolType, route: Option<Route>) {
        // Called again on every scan while the plugin is missing.
        if route.is_none() && !self.table.load().contains_key(tool_type) {
            return;
        }
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            match &route {
                Some(route) => table.insert(tool_type.clone(), route.clone()),
                None => table.remove(tool_type),
            };
            table
        });
    }
}
