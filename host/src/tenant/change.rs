//! An operator's change of a tenant: everything that is named, at once, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{EnhanceOn, InvalidTenant, NewTenant, Tenant, check_network, check_origin, other};
use crate::{ids::ToolType, networks::Networks};

/// The name that, listed among the settings to remove, removes the whole list of sources.
const ALLOW_FROM: &str = "allow_from";

/// The changes of one command. Fields that are `None` or empty change nothing.
#[derive(Debug, Clone, Default)]
pub struct TenantChange {
    /// The new tool type.
    pub tool_type: Option<ToolType>,
    /// The new base URL of its tool.
    pub base_url: Option<String>,
    /// Settings to add or replace.
    pub settings: BTreeMap<String, String>,
    /// Names of settings to remove. `allow_from` is not a setting: it lets the tenant's webhooks come from anywhere
    /// again.
    pub unset: BTreeSet<String>,
    /// Origins to add to those that its plugin may call.
    pub allow_origins: Vec<String>,
    /// Origins that its plugin may no longer call.
    pub remove_origins: Vec<String>,
    /// Networks to add to those that its webhooks may come from.
    pub allow_from: Vec<String>,
    /// Networks that its webhooks may no longer come from.
    pub remove_from: Vec<String>,
    /// Maximum age of a signed timestamp, in seconds.
    pub replay_window_s: Option<u32>,
    /// How far ahead of the host's clock a signed timestamp may be, in seconds.
    pub replay_ahead_s: Option<u32>,
    /// The complete set of enhanced events.
    pub enhance_on: Option<BTreeSet<EnhanceOn>>,
}

impl TenantChange {
    /// The tenant after the change. Nothing is changed yet.
    ///
    /// # Errors
    /// All errors, of which there is at least one.
    pub fn applied_to(self, tenant: &Tenant) -> Result<Tenant, Vec<InvalidTenant>> {
        let mut faults = Vec::new();
        let settings = self.settings_of(tenant, &mut faults);
        let allow_origins = self.origins_of(tenant, &mut faults);
        let allow_from = self.sources_of(tenant, &mut faults);
        let new = NewTenant {
            id: tenant.id.clone(),
            tool_type: self.tool_type.unwrap_or_else(|| tenant.tool_type.clone()),
            base_url: self.base_url.unwrap_or_else(|| tenant.base_url.to_string()),
            settings,
            allow_origins,
            allow_from,
            replay_window_s: self.replay_window_s.unwrap_or(tenant.replay_window_s),
            replay_ahead_s: self.replay_ahead_s.unwrap_or(tenant.replay_ahead_s),
            enhance_on: self.enhance_on.unwrap_or_else(|| tenant.enhance_on.clone()),
            enabled: tenant.enabled,
        };
        match new.check_all() {
            Ok(changed) if faults.is_empty() => {
                Ok(Tenant { incarnation: tenant.incarnation, paused: tenant.paused, ..changed })
            }
            Ok(_) => Err(faults),
            Err(more) => Err(faults.into_iter().chain(more).collect()),
        }
    }

    fn settings_of(&self, tenant: &Tenant, faults: &mut Vec<InvalidTenant>) -> BTreeMap<String, String> {
        let mut settings = tenant.settings.clone();
        for name in self.unset.iter().filter(|name| *name != ALLOW_FROM) {
            if self.settings.contains_key(name) {
                faults.push(other(format!("setting {name:?}"), "it is set and unset at the same time"));
            } else if settings.remove(name).is_none() {
                faults.push(absent("setting", name, tenant.settings.keys()));
            }
        }
        settings.extend(self.settings.clone());
        settings
    }

    /// Keeps networks that cannot be parsed: the check of the whole tenant reports them.
    fn sources_of(&self, tenant: &Tenant, faults: &mut Vec<InvalidTenant>) -> Vec<String> {
        let mut sources = tenant.allow_from.clone();
        let mut wrong = Vec::new();
        if self.unset.contains(ALLOW_FROM) {
            if sources.is_empty() {
                faults.push(other(ALLOW_FROM, "the tenant has none, so its webhooks may come from anywhere already"));
            }
            sources = Networks::default();
        }
        for text in &self.remove_from {
            match check_network(text) {
                Err(fault) => faults.push(fault),
                Ok(network) if sources.remove(network) => {}
                Ok(network) => faults.push(absent("network", &network.to_string(), tenant.allow_from.texts().iter())),
            }
        }
        for text in &self.allow_from {
            match check_network(text) {
                Ok(network) => sources.add(network),
                Err(_) => wrong.push(text.clone()),
            }
        }
        // An operator who removes single networks does not mean that webhooks may now come from anywhere.
        let has_lost_all = !tenant.allow_from.is_empty() && sources.is_empty() && wrong.is_empty();
        if has_lost_all && !self.unset.contains(ALLOW_FROM) {
            let reason =
                "without the last network its webhooks could come from anywhere; if that is meant, unset allow_from";
            faults.push(other(ALLOW_FROM, reason));
        }
        sources.texts().into_iter().chain(wrong).collect()
    }

    /// Keeps origins that cannot be parsed: the check of the whole tenant reports them.
    fn origins_of(&self, tenant: &Tenant, faults: &mut Vec<InvalidTenant>) -> Vec<String> {
        let plain = |text: &String| check_origin(text).unwrap_or_else(|_| text.clone());
        let mut origins = tenant.allow_origins.clone();
        let added: Vec<String> = self.allow_origins.iter().map(plain).collect();
        for origin in self.remove_origins.iter().map(plain) {
            if added.contains(&origin) {
                faults.push(other(format!("origin {origin:?}"), "it is allowed and removed at the same time"));
            } else if origins.contains(&origin) {
                origins.retain(|known| *known != origin);
            } else {
                faults.push(absent("origin", &origin, tenant.allow_origins.iter()));
            }
        }
        for origin in added {
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        origins
    }
}

/// Lists the changed parts for the log. Settings appear by name only.
impl fmt::Display for TenantChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &mut dyn Iterator<Item = &String>| names.map(String::as_str).collect::<Vec<_>>().join(" ");
        let events = self.enhance_on.as_ref().map(|events| events.iter().map(|event| event.as_str()));
        let parts = [
            ("tool type", self.tool_type.as_ref().map(ToString::to_string)),
            ("base URL", self.base_url.clone()),
            ("set", (!self.settings.is_empty()).then(|| list(&mut self.settings.keys()))),
            ("unset", (!self.unset.is_empty()).then(|| list(&mut self.unset.iter()))),
            ("allowed", (!self.allow_origins.is_empty()).then(|| list(&mut self.allow_origins.iter()))),
            ("not allowed any more", (!self.remove_origins.is_empty()).then(|| list(&mut self.remove_origins.iter()))),
            ("allowed from", (!self.allow_from.is_empty()).then(|| list(&mut self.allow_from.iter()))),
            ("not allowed from any more", (!self.remove_from.is_empty()).then(|| list(&mut self.remove_from.iter()))),
            ("replay window", self.replay_window_s.map(|seconds| format!("{seconds} s"))),
            ("replay ahead", self.replay_ahead_s.map(|seconds| format!("{seconds} s"))),
            ("enhance on", events.map(|events| events.collect::<Vec<_>>().join(" "))),
        ];
        let named = parts.into_iter().filter_map(|(part, value)| Some(format!("{part}: {}", value?)));
        f.write_str(&named.collect::<Vec<_>>().join("; "))
    }
}

/// The error for a name that is to be removed but does not exist. It lists the names that do.
fn absent<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String> + Clone) -> InvalidTenant {
    let nearest = known.clone().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let reason = match nearest {
        None => format!("the tenant has no {what}s at all"),
        Some(nearest) => {
            let all = known.map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("the tenant has none of this name; did you mean {nearest}? It has {all}")
        }
    };
    other(format!("{what} {name:?}"), reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::TenantId,
        tenant::{ALLOW_ORIGINS_MAX, SETTINGS_MAX},
    };

    fn tenant() -> Tenant {
        let (id, tool_type) = (TenantId::parse("acme").unwrap(), ToolType::parse("jira").unwrap());
        let mut new = NewTenant::new(id, tool_type, "https://desk.example");
        new.settings = texts(&[("api_user", "me"), ("project", "HELP")]);
        new.allow_origins = vec!["https://login.example".to_owned()];
        new.allow_from = names(&["10.0.0.0/8", "2001:db8::/32"]);
        Tenant { enabled: false, paused: true, ..new.check().unwrap() }
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn networks(texts: &[&str]) -> Networks {
        Networks::parse_all(texts).unwrap()
    }

    fn names<C: FromIterator<String>>(names: &[&str]) -> C {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_named_changes_and_nothing_else() {
        let changed = |change: TenantChange| change.applied_to(&tenant()).unwrap();
        let none = TenantChange::default;
        let before = tenant;
        assert_eq!(changed(none()), before());
        for (change, expected) in [
            (
                TenantChange { tool_type: ToolType::parse("zendesk").ok(), ..none() },
                Tenant { tool_type: ToolType::parse("zendesk").unwrap(), ..before() },
            ),
            (
                TenantChange { base_url: Some("https://new.example/app".to_owned()), ..none() },
                Tenant { base_url: "https://new.example/app".parse().unwrap(), ..before() },
            ),
            (
                TenantChange { settings: texts(&[("project", "OPS"), ("new", "")]), ..none() },
                Tenant { settings: texts(&[("api_user", "me"), ("project", "OPS"), ("new", "")]), ..before() },
            ),
            (
                TenantChange { unset: names(&["project"]), settings: texts(&[("new", "x")]), ..none() },
                Tenant { settings: texts(&[("api_user", "me"), ("new", "x")]), ..before() },
            ),
            (
                TenantChange {
                    allow_origins: names(&["https://B.example:443/", "https://login.example", "https://b.example"]),
                    ..none()
                },
                Tenant { allow_origins: names(&["https://login.example", "https://b.example"]), ..before() },
            ),
            (
                TenantChange { remove_origins: names(&["https://LOGIN.example/"]), ..none() },
                Tenant { allow_origins: Vec::new(), ..before() },
            ),
            (
                TenantChange { allow_from: names(&["192.0.2.7", "10.0.0.0/8", "::ffff:192.0.2.7"]), ..none() },
                Tenant { allow_from: networks(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]), ..before() },
            ),
            (
                TenantChange { remove_from: names(&["2001:DB8::/32"]), ..none() },
                Tenant { allow_from: networks(&["10.0.0.0/8"]), ..before() },
            ),
            (
                TenantChange { unset: names(&["allow_from"]), ..none() },
                Tenant { allow_from: Networks::default(), ..before() },
            ),
            (
                TenantChange { unset: names(&["allow_from"]), allow_from: names(&["192.0.2.7"]), ..none() },
                Tenant { allow_from: networks(&["192.0.2.7"]), ..before() },
            ),
            (
                TenantChange { replay_window_s: Some(60), replay_ahead_s: Some(0), ..none() },
                Tenant { replay_window_s: 60, replay_ahead_s: 0, ..before() },
            ),
            (
                TenantChange { enhance_on: Some(BTreeSet::from([EnhanceOn::Updated])), ..none() },
                Tenant { enhance_on: BTreeSet::from([EnhanceOn::Updated]), ..before() },
            ),
        ] {
            assert_eq!(changed(change.clone()), expected, "{change}");
        }
    }

    #[test]
    fn every_fault_is_told_and_names_what_there_is() {
        let change = TenantChange {
            base_url: Some("http://desk.example".to_owned()),
            settings: texts(&[("project", "x"), ("a b", "")]),
            unset: names(&["api_usr", "project"]),
            allow_origins: names(&["https://a.example/path", "https://c.example"]),
            remove_origins: names(&["https://logn.example", "https://c.example"]),
            replay_window_s: Some(0),
            allow_from: names(&["10.0.0.1/8"]),
            remove_from: names(&["10.0.0.0/9", "desk.example"]),
            ..TenantChange::default()
        };
        let faults: Vec<_> =
            change.applied_to(&tenant()).unwrap_err().into_iter().map(|fault| fault.to_string()).collect();
        assert_eq!(
            faults,
            [
                r#"setting "api_usr": the tenant has none of this name; did you mean api_user? It has api_user, project"#,
                r#"setting "project": it is set and unset at the same time"#,
                r#"origin "https://logn.example": the tenant has none of this name; did you mean https://login.example? It has https://login.example"#,
                r#"origin "https://c.example": it is allowed and removed at the same time"#,
                r#"network "10.0.0.0/9": the tenant has none of this name; did you mean 10.0.0.0/8? It has 10.0.0.0/8, 2001:db8::/32"#,
                r#"allow_from "desk.example": it is no address such as 203.0.113.7 and no network such as 203.0.113.0/24 or 2001:db8::/32"#,
                r#""http://desk.example" cannot be used: it must be https; http is for loopback addresses only"#,
                r#""https://a.example/path" cannot be used: an origin is scheme, host and port, without a path"#,
                r#"allow_from "10.0.0.1/8": it has bits behind its prefix; the network is 10.0.0.0/8, the address alone 10.0.0.1"#,
                r#"name "a b": it must match [A-Za-z0-9_.-]{1,64}"#,
                "replay window: it must be 1 to 604800 seconds",
            ]
        );
        let bare = Tenant { settings: BTreeMap::new(), ..tenant() };
        let unset = TenantChange { unset: names(&["x"]), ..TenantChange::default() };
        let fault = unset.applied_to(&bare).unwrap_err().remove(0).to_string();
        assert_eq!(fault, r#"setting "x": the tenant has no settings at all"#);
        let fault_of = |tenant: &Tenant, change: TenantChange| {
            change.applied_to(tenant).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let last = Tenant { allow_from: networks(&["10.0.0.0/8"]), ..tenant() };
        let remove = TenantChange { remove_from: names(&["10.0.0.0/8"]), ..TenantChange::default() };
        let faults = fault_of(&last, remove);
        assert!(faults.len() == 1 && faults[0].contains("anywhere; if that is meant, unset allow_from"), "{faults:?}");
        let unset = TenantChange { unset: names(&["allow_from"]), ..TenantChange::default() };
        let faults = fault_of(&Tenant { allow_from: Networks::default(), ..tenant() }, unset);
        assert!(faults.len() == 1 && faults[0].contains("anywhere already"), "{faults:?}");
    }

    #[test]
    fn limits_hold_for_what_there_is_after_the_change() {
        let settings = |count: usize| (0..count).map(|n| (format!("s{n}"), String::new())).collect();
        let origins = |count: usize| (0..count).map(|n| format!("https://o{n}.example")).collect();
        let check = |change: TenantChange| change.applied_to(&tenant()).is_ok();
        let none = TenantChange::default;
        assert!(check(TenantChange { settings: settings(SETTINGS_MAX - 2), ..none() }));
        assert!(!check(TenantChange { settings: settings(SETTINGS_MAX - 1), ..none() }));
        assert!(check(TenantChange { settings: settings(SETTINGS_MAX - 1), unset: names(&["project"]), ..none() }));
        assert!(check(TenantChange { allow_origins: origins(ALLOW_ORIGINS_MAX - 1), ..none() }));
        assert!(!check(TenantChange { allow_origins: origins(ALLOW_ORIGINS_MAX), ..none() }));
    }

    #[test]
    fn the_log_has_what_is_named_and_no_setting_of_it() {
        let change = TenantChange {
            tool_type: ToolType::parse("zendesk").ok(),
            settings: texts(&[("project", "canary")]),
            unset: names(&["api_user"]),
            replay_ahead_s: Some(60),
            enhance_on: Some(BTreeSet::from([EnhanceOn::Created, EnhanceOn::Updated])),
            ..TenantChange::default()
        };
        assert_eq!(
            change.to_string(),
            "tool type: zendesk; set: project; unset: api_user; replay ahead: 60 s; enhance on: created updated"
        );
    }
}
