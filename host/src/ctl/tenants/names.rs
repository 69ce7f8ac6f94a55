//! Checks names that are typed, so that an unknown one is reported at once and not by the first refused webhook.

use plugin_abi::declared::{Declaration, DeclaredName};

use crate::{
    admin::{
        TOOL_TYPE_DEFAULT,
        wire::{NewTenant, Plugin, PluginDetail, Problem, Tenant, TenantChange},
    },
    ctl::{client::Client, console::Console, failure::Failure},
    nearest::did_you_mean,
};

/// A tenant as a command leaves it, and the names that the command gives.
pub(super) struct Named {
    id: String,
    tool_type: String,
    settings: Names,
    secrets: Names,
}

/// Names of one kind.
#[derive(Default)]
struct Names {
    /// Names that the command gives.
    given: Vec<String>,
    /// Names that the tenant has after the command.
    held: Vec<String>,
}

/// A kind of name, as messages call it.
#[derive(Clone, Copy)]
enum Kind {
    Setting,
    Secret,
}

impl Named {
    pub(super) fn by_new(tenant: &NewTenant) -> Self {
        let names = |names: Vec<String>| Names { given: names.clone(), held: names };
        Self {
            id: tenant.id.clone(),
            tool_type: tenant.tool_type.clone().unwrap_or_else(|| TOOL_TYPE_DEFAULT.to_owned()),
            settings: names(tenant.settings.keys().cloned().collect()),
            secrets: names(tenant.secrets.0.keys().cloned().collect()),
        }
    }

    /// The names in a change; `None` if it has none.
    pub(super) fn by_change(
        change: &TenantChange,
        before: impl FnOnce() -> Result<Tenant, Failure>,
    ) -> Result<Option<Self>, Failure> {
        let nothing = change.tool_type.is_none() && change.settings.is_empty() && change.unset.is_empty();
        if nothing && change.secrets.0.is_empty() {
            return Ok(None);
        }
        let before = before()?;
        let names = |given: Vec<&String>, had: Vec<&str>| Names {
            held: had.into_iter().chain(given.iter().map(|name| name.as_str())).map(str::to_owned).collect(),
            given: given.into_iter().cloned().collect(),
        };
        let stay = before.settings.keys().filter(|name| !change.unset.contains(name)).map(String::as_str);
        Ok(Some(Self {
            tool_type: change.tool_type.clone().unwrap_or_else(|| before.tool_type.clone()),
            settings: names(change.settings.keys().collect(), stay.collect()),
            secrets: names(change.secrets.0.keys().collect(), super::newest_secrets(&before).collect()),
            id: before.id,
        }))
    }

    /// Warns if nothing serves the tool type, if names cannot be checked, and if one is missing.
    ///
    /// # Errors
    /// If the plugin declares what it reads, a name is not declared, and `force` is not set.
    pub(super) fn check(&self, client: &Client, console: &Console, force: bool) -> Result<(), Failure> {
        let Self { id, tool_type, settings, secrets } = self;
        let plugins: Vec<Plugin> = client.get("/v1/plugins")?;
        let served: Vec<_> =
            plugins.iter().filter(|plugin| serves(plugin)).filter_map(|p| p.tool_type.as_deref()).collect();
        if !served.contains(&tool_type.as_str()) {
            console.warn(&unserved(tool_type, &served));
            return Ok(());
        }
        let detail: PluginDetail = client.get(&format!("/v1/plugins/{tool_type}"))?;
        let Some(declares) = detail.declares else {
            let names: Vec<_> = settings.given.iter().chain(&secrets.given).map(String::as_str).collect();
            if !names.is_empty() {
                let names = names.join(", ");
                console.warn(&format!(
                    "plugin {tool_type} does not declare what it reads, so these names are not checked: {names}"
                ));
            }
            return Ok(());
        };
        let kinds = [(Kind::Setting, settings, &declares.settings), (Kind::Secret, secrets, &declares.secrets)];
        if !force {
            let mut unknown = Vec::new();
            for (kind, names, declared) in kinds {
                let is_unknown = |name: &&String| declared.iter().all(|declared| declared.name != **name);
                unknown.extend(
                    names.given.iter().filter(is_unknown).map(|name| undeclared(tool_type, kind, name, declared)),
                );
            }
            refuse(unknown)?;
        }
        for (kind, names, declared) in kinds {
            for missing in declared.iter().filter(|declared| declared.required && !names.held.contains(&declared.name))
            {
                console.warn(&lacks(id, tool_type, kind, missing));
            }
        }
        Ok(())
    }
}

/// Refuses to set a secret that the tenant does not have and its plugin does not declare, unless `force` is set.
pub(super) fn check_secret(client: &Client, tenant: &Tenant, name: &str, force: bool) -> Result<(), Failure> {
    let has: Vec<_> = super::newest_secrets(tenant).collect();
    if force || has.contains(&name) {
        return Ok(());
    }
    let declares = match client.get::<PluginDetail>(&format!("/v1/plugins/{}", tenant.tool_type)) {
        Ok(detail) => detail.declares.unwrap_or_default(),
        Err(failure) if failure.problem.code == "UNKNOWN_PLUGIN" => Declaration::default(),
        Err(failure) => return Err(failure),
    };
    let declared: Vec<_> = declares.secrets.iter().map(|declared| declared.name.as_str()).collect();
    if declared.contains(&name) {
        return Ok(());
    }
    let nearest = did_you_mean(name, has.iter().chain(&declared));
    let has = if has.is_empty() { "it has none".to_owned() } else { format!("it has {}", has.join(", ")) };
    let problem = Problem::new(
        "UNKNOWN_SECRET",
        format!("tenant {} has no secret {name}, and its plugin declares none", tenant.id),
    )
    .why(format!("{nearest}{has}"))
    .state("nothing was changed")
    .mend("write the name of one that it has, or say --force to give it another");
    Err(Failure::failed(problem))
}

/// Whether webhooks of its tool type have somewhere to go, or will once an operator allows it.
fn serves(plugin: &Plugin) -> bool {
    !matches!(plugin.state.as_str(), "refused" | "missing")
}

fn unserved(tool_type: &str, served: &[&str]) -> String {
    let nearest = did_you_mean(tool_type, served);
    let served = if served.is_empty() { "none".to_owned() } else { served.join(", ") };
    let then = "until a plugin does, webhooks are answered 503, and names of settings and secrets cannot be checked";
    format!("no plugin serves {tool_type} (served: {served}); {nearest}{then}")
}

fn undeclared(tool_type: &str, kind: Kind, name: &str, declared: &[DeclaredName]) -> Problem {
    let known: Vec<_> = declared.iter().map(|declared| declared.name.as_str()).collect();
    let declares = if known.is_empty() {
        format!("it reads no {}s", kind.as_str())
    } else {
        format!("it reads {}", known.join(", "))
    };
    Problem::new("UNKNOWN_NAME", format!("plugin {tool_type} reads no {} {name}", kind.as_str()))
        .why(did_you_mean(name, &known) + &declares)
        .state("nothing was changed")
        .mend("write the name as the plugin declares it, or say --force")
}

/// Returns one problem as it is, and several as the causes of one.
fn refuse(mut problems: Vec<Problem>) -> Result<(), Failure> {
    match problems.len() {
        0 => Ok(()),
        1 => Err(Failure::failed(problems.remove(0))),
        several => {
            let problem = Problem::new("UNKNOWN_NAME", format!("the plugin does not read {several} of these names"));
            Err(Failure::failed(Problem {
                causes: problems,
                ..problem.state("nothing was changed").mend("write them as the plugin declares them, or say --force")
            }))
        }
    }
}

fn lacks(id: &str, tool_type: &str, kind: Kind, missing: &DeclaredName) -> String {
    let DeclaredName { name, about, .. } = missing;
    let option = match kind {
        Kind::Setting => format!("--set {name}=VALUE"),
        Kind::Secret => format!("--secret {name}=@FILE"),
    };
    let kind = kind.as_str();
    format!(
        "plugin {tool_type} needs {kind} {name} ({about}), which tenant {id} lacks; set it: plugin-ctl tenant update {id} {option}"
    )
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Secret => "secret",
        }
    }
}
