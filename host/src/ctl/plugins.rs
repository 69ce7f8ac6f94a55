//! `list`, `info`, `reload`: shows the plugins, and loads what is in the folder.

use std::fmt::Write as _;

use plugin_abi::export::InfoRecord;

use super::{
    Shown,
    client::Client,
    console::Console,
    declared::declared_text,
    failure::Failure,
    layout::Layout,
    table::{Columns, Field, Row, Severity, cell, fields, number, plain, severity, state, table},
};
use crate::{
    admin::wire::{Host, Plugin, PluginDetail, PluginFile, Problem, Reload, Reloaded},
    ids::ToolType,
};

/// The headings of `list`.
pub(super) const COLUMNS: Columns = Columns {
    short: &["TOOL TYPE", "STATE", "VERSION", "GEN", "CALLS", "ERRORS", "AGE"],
    wide: &["IN FLIGHT", "LOADED", "SIGNATURE", "SHA-256", "FILE"],
    below: Some("REASON"),
};
/// The headings of `list --files`.
pub(super) const FILE_COLUMNS: Columns = Columns {
    short: &["NAME", "STATE", "TOOL TYPE", "VERSION", "SHA-256"],
    wide: &["SIGNATURE", "FILE"],
    below: Some("REASON"),
};

pub(super) fn list(client: &Client, console: &Console) -> Result<Shown, Failure> {
    let plugins: Vec<Plugin> = client.get("/v1/plugins")?;
    if plugins.is_empty() {
        let host: Host = client.get("/v1/host")?;
        let folder = plain(&host.plugin_folder).into_owned();
        return Ok(Shown::new(
            format!("No plugin serves; {folder} has none. Put one there: plugin-ctl install FILE\n"),
            &plugins,
        ));
    }
    Ok(Shown::new(list_text(&plugins, console.layout()), &plugins))
}

pub(super) fn files(client: &Client, console: &Console) -> Result<Shown, Failure> {
    let files: Vec<PluginFile> = client.get("/v1/plugin-files")?;
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by_key(|file| severity(&file.state));
    let rows = sorted.into_iter().map(|file| Row {
        short: vec![
            cell(Some(file_name(&file.path))),
            state(&file.state),
            cell(file.tool_type.as_deref()),
            cell(file.version.as_deref()),
            cell(file.sha256.as_deref().map(short)),
        ],
        wide: vec![cell(file.signature.as_deref()), cell(Some(&file.path))],
        below: reason(file.code.as_deref(), file.reason.as_deref()),
    });
    let text = match files.len() {
        0 => "The plugin folder is empty.\n".to_owned(),
        _ => table(&FILE_COLUMNS, rows, console.layout()),
    };
    Ok(Shown::new(text, &files))
}

pub(super) fn info(client: &Client, tool_type: &ToolType) -> Result<Shown, Failure> {
    let detail: PluginDetail = client.get(&format!("/v1/plugins/{tool_type}"))?;
    Ok(Shown::new(info_text(&detail), &detail))
}

pub(super) fn reload(
    client: &Client,
    console: &Console,
    tool_type: Option<ToolType>,
    all: bool,
    reason: Option<String>,
) -> Result<Shown, Failure> {
    let request = Reload { tool_type: tool_type.as_ref().map(ToString::to_string), all, reason };
    let outcome: Vec<Reloaded> = client.post("/v1/reload", &request)?;
    let after = state_after(client, console, &outcome, tool_type.as_ref())?;
    match outcome.is_empty() {
        true => Ok(Shown { text: format!("Nothing in the folder has changed.\n\n{}", after.text), ..after }),
        false => Ok(after),
    }
}

/// Reads back from the host what serves now, for one tool type or for all. Fails if something was refused.
pub(super) fn state_after(
    client: &Client,
    console: &Console,
    outcome: &[Reloaded],
    tool_type: Option<&ToolType>,
) -> Result<Shown, Failure> {
    let mut plugins: Vec<Plugin> = client.get("/v1/plugins")?;
    let failure = refused(outcome, &plugins);
    if let Some(tool_type) = tool_type {
        plugins.retain(|plugin| plugin.tool_type.as_deref() == Some(tool_type.as_str()));
    }
    let mut text = String::new();
    for loaded in outcome.iter().filter(|reloaded| reloaded.generation.is_some()) {
        let row = plugins.iter().find(|plugin| plugin.tool_type == loaded.tool_type);
        text.extend(row.and_then(serves));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&list_text(&plugins, console.layout()));
    Ok(Shown { failure, ..Shown::new(text, &plugins) })
}

/// What serves, in one line; `None` if nothing does.
pub(super) fn serves(plugin: &Plugin) -> Option<String> {
    let (tool_type, version) = (plugin.tool_type.as_deref()?, plugin.version.as_deref()?);
    let sum = plugin.sha256.as_deref().map(|sum| format!(" (sha256 {}…)", short(sum))).unwrap_or_default();
    Some(format!("{} serves as generation {}.\n", plain(&format!("{tool_type} {version}{sum}")), plugin.generation?))
}

pub(super) fn list_text(plugins: &[Plugin], layout: &Layout) -> String {
    if plugins.is_empty() {
        return "No plugin serves. Put one into the plugin folder: plugin-ctl install FILE\n".to_owned();
    }
    let mut sorted: Vec<_> = plugins.iter().collect();
    sorted.sort_by_key(|plugin| match (severity(&plugin.state), &plugin.candidate) {
        // The plugin serves, but not the version that the operator wants.
        (Severity::Good, Some(_)) => Severity::Odd,
        (severity, _) => severity,
    });
    let rows = sorted.into_iter().map(|plugin| Row {
        short: vec![
            cell(plugin.tool_type.as_deref()),
            state(&plugin.state),
            cell(Some(&version(plugin))),
            number(plugin.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string())),
            number(plugin.calls),
            number(plugin.errors),
            number(layout.age(plugin.loaded_at.as_deref())),
        ],
        wide: vec![
            number(plugin.in_flight),
            cell(plugin.loaded_at.as_deref()),
            cell(plugin.signature.as_deref()),
            cell(plugin.sha256.as_deref().map(short)),
            cell(plugin.path.as_deref()),
        ],
        below: remark(plugin),
    });
    table(&COLUMNS, rows, layout)
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The version that serves and, if it differs, the one that should: by digest if the versions are the same.
fn version(plugin: &Plugin) -> String {
    let serves = plugin.version.as_deref().unwrap_or("-");
    let candidate = plugin.candidate.as_ref().filter(|_| plugin.generation.is_some());
    match (candidate, &plugin.pinned) {
        (Some(candidate), _) if candidate.sha256.is_some() && candidate.sha256 == plugin.sha256 => {
            format!("{serves} (file refused)")
        }
        (Some(candidate), _) if candidate.version.as_deref() == Some(serves) => {
            format!("{serves} (not {})", candidate.sha256.as_deref().map_or("the new file", digits))
        }
        (Some(candidate), _) => format!("{serves} (not {})", candidate.version.as_deref().unwrap_or("the new file")),
        (None, Some(_)) => format!("{serves} (pinned)"),
        (None, None) => serves.to_owned(),
    }
}

/// The digits of a digest that `pin` needs.
fn digits(sha256: &str) -> &str {
    sha256.get(..8).unwrap_or(sha256)
}

/// What is wrong with the plugin.
pub(super) fn remark(plugin: &Plugin) -> Option<String> {
    match (&plugin.candidate, &plugin.last_error) {
        (Some(candidate), _) => {
            reason(Some(&candidate.code), Some(&format!("{} ({})", candidate.reason, candidate.path)))
        }
        (None, Some(error)) => reason(Some(&error.code), Some(&error.message)),
        (None, None) => None,
    }
}

fn reason(code: Option<&str>, reason: Option<&str>) -> Option<String> {
    Some(format!("{}: {}", code?, reason?))
}

/// The beginning of a digest, for tables.
pub(super) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn info_text(detail: &PluginDetail) -> String {
    let plugin = &detail.plugin;
    let served = [
        ("tool type", plugin.tool_type.clone()),
        ("state", Some(plugin.state.clone())),
        ("version", plugin.version.clone()),
        ("pinned", plugin.pinned.clone()),
        ("generation", plugin.generation.map(|generation| generation.to_string())),
        ("file", plugin.path.clone()),
        ("sha256", plugin.sha256.clone()),
        ("signature", plugin.signature.clone()),
        ("private copy", detail.copy.clone()),
        ("confinement", detail.confinement.as_ref().map(|confinement| confinement.text.clone())),
        ("loaded at", plugin.loaded_at.clone()),
        ("calls", Some(format!("{} ({} failed, {} in flight)", plugin.calls, plugin.errors, plugin.in_flight))),
        ("last error", plugin.last_error.as_ref().map(|e| format!("{}: {} ({})", e.code, e.message, e.at))),
        (
            "refused",
            plugin
                .candidate
                .as_ref()
                .map(|c| format!("{} {}: {}: {}", c.path, c.version.as_deref().unwrap_or_default(), c.code, c.reason)),
        ),
    ];
    let mut text = fields(served.into_iter().chain(detail.info.iter().flat_map(build_fields)));
    if detail.info.is_some() {
        text.push_str(&declared_text(detail.declares.as_ref()));
    }
    for generation in &detail.generations {
        let reason = generation.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        let line = format!(
            "generation {}: {}, version {}, sha256 {}{reason}",
            generation.number,
            generation.state,
            generation.version,
            short(&generation.sha256)
        );
        writeln!(text, "{}", plain(&line)).expect("a String takes all");
    }
    for kept in &detail.kept {
        let passed_over = kept.passed_over.as_deref().map(|why| format!(", rolled back: {why}")).unwrap_or_default();
        let line =
            format!("kept: version {}, sha256 {}, served {}{passed_over}", kept.version, kept.sha256, kept.served_at);
        writeln!(text, "{}", plain(&line)).expect("a String takes all");
    }
    text
}

/// How a plugin was built, from its own information.
pub(super) fn build_fields(info: &InfoRecord) -> [Field; 8] {
    [
        ("crate", Some(format!("{} {}", info.name, info.version))),
        ("vendor", (!info.vendor.is_empty()).then(|| info.vendor.clone())),
        ("plugin-abi", Some(info.sdk.clone())),
        ("plugin ABI", Some(format!("{}.{} (needs {0}.{})", info.abi_major, info.abi_minor, info.abi_minor_needed))),
        ("abi_stable", Some(info.abi_stable.clone())),
        ("rustc", Some(info.rustc.clone())),
        ("target", Some(info.target.clone())),
        ("panic", Some(info.panic.clone())),
    ]
}

fn name(reloaded: &Reloaded) -> String {
    match (&reloaded.tool_type, &reloaded.version) {
        (Some(tool_type), Some(version)) => format!("{tool_type} {version}"),
        (Some(tool_type), None) => tool_type.clone(),
        (None, _) => reloaded.path.clone(),
    }
}

/// One failure for everything that was refused.
fn refused(outcome: &[Reloaded], plugins: &[Plugin]) -> Option<Failure> {
    let mut problems: Vec<_> = outcome.iter().filter_map(|reloaded| refusal(reloaded, plugins)).collect();
    match problems.len() {
        0 => None,
        1 => Some(Failure::failed(problems.remove(0))),
        several => {
            let mut problem = Problem::new("REFUSED", format!("{several} files were refused"));
            problem.causes = problems;
            Some(Failure::failed(problem))
        }
    }
}

pub(super) fn refusal(reloaded: &Reloaded, plugins: &[Plugin]) -> Option<Problem> {
    let code = reloaded.code.as_ref()?;
    let serving = plugins.iter().find_map(|plugin| {
        let same = plugin.tool_type.is_some() && plugin.tool_type == reloaded.tool_type;
        same.then_some(())?;
        Some((plugin.version.as_deref()?, plugin.generation?))
    });
    let state = match (serving, &reloaded.tool_type) {
        (Some((version, generation)), _) => format!("{version} (generation {generation}) still serves"),
        (None, Some(tool_type)) => format!("nothing serves {tool_type}; its webhooks are answered 503, its jobs wait"),
        (None, None) => "no other plugin is affected".to_owned(),
    };
    let sum = reloaded.sha256.as_deref().map(|sum| format!("  (sha256 {sum})")).unwrap_or_default();
    Some(Problem {
        file: Some(format!("{}{sum}", reloaded.path)),
        why: reloaded.reason.clone(),
        mend: reloaded.mend.clone(),
        ..Problem::new(code, format!("{} was refused", name(reloaded))).state(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(tool_type: &str, state: &str) -> Plugin {
        Plugin {
            tool_type: Some(tool_type.to_owned()),
            version: Some("1.3.2".to_owned()),
            state: state.to_owned(),
            generation: Some(17),
            path: Some("plugins/lib.so".to_owned()),
            sha256: None,
            signature: None,
            loaded_at: None,
            in_flight: 0,
            calls: 5,
            errors: 0,
            last_error: None,
            candidate: None,
            pinned: None,
        }
    }

    fn reloaded(tool_type: Option<&str>) -> Reloaded {
        Reloaded {
            tool_type: tool_type.map(str::to_owned),
            path: "plugins/lib2.so".to_owned(),
            version: tool_type.map(|_| "1.4.0".to_owned()),
            sha256: None,
            generation: None,
            code: Some("VERSION".to_owned()),
            reason: Some("it was built for plugin ABI 2".to_owned()),
            mend: None,
        }
    }

    #[test]
    fn broken_things_come_first_and_a_refused_newer_file_is_marked() {
        let candidate = crate::admin::wire::Candidate {
            path: "plugins/lib2.so".to_owned(),
            version: Some("1.4.0".to_owned()),
            sha256: None,
            code: "VERSION".to_owned(),
            reason: "it was built for plugin ABI 2".to_owned(),
        };
        let odd = Plugin { candidate: Some(candidate), ..plugin("jira", "active") };
        let text = list_text(&[plugin("good", "active"), odd, plugin("bad", "refused")], Console::deaf().layout());
        let tools: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(tools, ["bad", "jira", "good"]);
        assert!(text.contains("1.3.2 (not 1.4.0)"), "{text}");
        assert!(text.contains("VERSION: it was built for plugin ABI 2 (plugins/lib2.so)"), "{text}");
    }

    #[test]
    fn a_refusal_says_what_still_serves() {
        let plugins = [plugin("jira", "active")];
        for (tool_type, state) in [
            (Some("jira"), "1.3.2 (generation 17) still serves"),
            (Some("zendesk"), "nothing serves zendesk; its webhooks are answered 503, its jobs wait"),
            (None, "no other plugin is affected"),
        ] {
            let failure = refused(&[reloaded(tool_type)], &plugins).unwrap();
            assert_eq!(failure.problem.state.as_deref(), Some(state));
            assert_eq!(failure.problem.code, "VERSION");
        }
        let two = refused(&[reloaded(Some("jira")), reloaded(None)], &plugins).unwrap();
        assert_eq!((two.problem.code.as_str(), two.problem.causes.len()), ("REFUSED", 2));
        let good = Reloaded { code: None, generation: Some(18), ..reloaded(Some("jira")) };
        assert_eq!(refused(&[good], &plugins), None);
    }
}
