//! `install`: checks a file here by the host's own rules, puts it into the plugin folder in one step, and reads back
//! from the host what serves then.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Shown,
    args::Install,
    client::Client,
    console::Console,
    failure::Failure,
    plugins::{list_text, refusal, serves},
    verify,
};
use crate::{
    admin::wire::{Candidate, Host, Installed, Plugin, PluginDetail, Problem, Reload, Reloaded, Rules},
    config::Permissions,
    ids::ToolType,
    plugin::{
        artifact::{self, InspectedArtifact},
        permissions,
        refusal::{Code, Refusal},
        signature::{Trust, TrustedKey, beside},
    },
};

mod folder;

use folder::Staged;

/// The state of the folder after the previous file was restored.
const BACK: &str = "the file that was there before is back";

pub(super) fn run(client: &Client, console: &Console, wanted: &Install) -> Result<Shown, Failure> {
    let source = match (&wanted.file, &wanted.kept) {
        (Some(file), _) => Source { file: file.clone(), name: None },
        (None, Some(tool_type)) => kept(client, tool_type)?,
        (None, None) => return Err(Failure::usage(Problem::new("USAGE", "name a FILE, or --kept TOOL_TYPE"))),
    };
    let name = file_name(&source, wanted.name.as_deref())?;
    let host: Host = client.get("/v1/host")?;
    let sound = verify::sound(&source.file, &trust(host.rules.as_ref())?)?;
    let folder = Path::new(&host.plugin_folder);
    let place = folder.join(&name);
    let before = Before::at(&place, &sound)?;
    let staged = Staged::write(folder, &name, sound.bytes(), signature_of(&source.file)?.as_deref());
    let staged = staged.map_err(|error| unwritable(folder, &name, &error))?;
    allowed(&staged, &place, host.rules.as_ref())?;
    staged.publish().map_err(|error| unwritable(folder, &name, &error))?;

    let put_back = || before.as_ref().map(|before| before.put_back(folder, &name)).transpose();
    let (outcome, mut plugins) = look(client, &name, wanted, &sound).map_err(|failure| {
        let is_there = || format!("{} is in the folder; the host takes it up when it looks", place.display());
        let folder = match put_back() {
            Ok(Some(())) => BACK.to_owned(),
            Ok(None) => is_there(),
            Err(error) => format!("{}; the file before cannot be put back: {error}", is_there()),
        };
        stated(failure, &folder)
    })?;
    let mut failure = failure(&place, &sound, &outcome, &plugins);
    if failure.is_some() && before.is_some() && is_refused(&place, &outcome, &plugins) {
        put_back().map_err(|error| unwritable(folder, &name, &error))?;
        let _looked_at: Vec<Reloaded> =
            client.post("/v1/reload", &Reload { reason: wanted.reason.clone(), ..Reload::default() })?;
        plugins = served(client, &sound)?;
        failure = failure.map(|failure| stated(failure, BACK));
    }
    // Only mentions a change of what serves; the table shows the rest.
    let news = plugins.iter().filter(|plugin| failure.is_none() && is_this(plugin, &sound));
    let text: String = news.filter_map(serves).collect();
    let text = format!("{text}{}{}", if text.is_empty() { "" } else { "\n" }, list_text(&plugins, console.layout()));
    Ok(Shown { failure, ..Shown::new(text, &plugins) })
}

/// Makes the host load the file. Returns the outcome, and what serves then.
fn look(
    client: &Client,
    name: &str,
    wanted: &Install,
    sound: &InspectedArtifact,
) -> Result<(Vec<Reloaded>, Vec<Plugin>), Failure> {
    let request = Installed { file: name.to_owned(), reason: wanted.reason.clone() };
    let outcome = client.post("/v1/plugin-files/installed", &request)?;
    Ok((outcome, served(client, sound)?))
}

/// The failure, with this statement about the folder first.
fn stated(mut failure: Failure, folder: &str) -> Failure {
    let state = failure.problem.state.take();
    failure.problem.state = Some(state.map_or_else(|| folder.to_owned(), |state| format!("{folder}; {state}")));
    failure
}

/// The file to install, and its default name in the folder.
struct Source {
    file: PathBuf,
    name: Option<String>,
}

/// The artifact that last served this tool type and is kept, under its former name.
fn kept(client: &Client, tool_type: &ToolType) -> Result<Source, Failure> {
    let detail: PluginDetail = client.get(&format!("/v1/plugins/{tool_type}"))?;
    let newest = detail.kept.iter().find(|kept| kept.passed_over.is_none());
    let Some(newest) = newest else {
        let problem = Problem::new("NOTHING_KEPT", format!("nothing that served {tool_type} is kept"))
            .why("the host keeps the last three files that served and were not rolled back")
            .state("nothing was changed")
            .mend("plugin-ctl install FILE, with the file that the vendor sent");
        return Err(Failure::failed(problem));
    };
    let (Some(copy), Some(path)) = (&newest.copy, &newest.path) else {
        let problem = Problem::new("OLD_HOST", "this host does not say where it keeps what served")
            .state("nothing was changed")
            .mend("use the plugin-ctl that came with the host, or update the host");
        return Err(Failure::failed(problem));
    };
    let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(Source { file: copy.into(), name })
}

/// The file's name in the folder.
fn file_name(source: &Source, wanted: Option<&str>) -> Result<String, Failure> {
    let own = || source.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = wanted.map(str::to_owned).or_else(|| source.name.clone()).or_else(own).unwrap_or_default();
    let good = name.ends_with(".so") && !name.starts_with('.') && !name.contains(['/', char::REPLACEMENT_CHARACTER]);
    if good {
        return Ok(name);
    }
    let problem = Problem::new("INVALID_NAME", format!("\"{name}\" is no name for a plugin in the plugin folder"))
        .why("the host takes files whose names end in .so and do not begin with a dot")
        .state("nothing was changed")
        .mend("give it a name: --name lib….so");
    Err(Failure::usage(problem))
}

/// The keys that the host trusts. A host that does not say checks the signature itself when it loads the file.
fn trust(rules: Option<&Rules>) -> Result<Trust, Failure> {
    let Some(rules) = rules else { return Ok(Trust::default()) };
    let keys = rules.trusted_keys.iter().map(|key| TrustedKey::parse(key)).collect::<Result<_, _>>();
    let keys = keys.map_err(|error| {
        let problem = Problem::new("BAD_ANSWER", "a key that the host trusts cannot be read").why(error.to_string());
        Failure::failed(problem.state("nothing was changed").mend("use the plugin-ctl that came with the host"))
    })?;
    Ok(Trust { keys, required: rules.require_signature })
}

/// Checks that the host would map a file written here by this user.
fn allowed(staged: &Staged, place: &Path, rules: Option<&Rules>) -> Result<(), Failure> {
    let Some((policy, user)) = rules.and_then(|rules| Some((Permissions::parse(&rules.permissions)?, rules.user)))
    else {
        return Ok(());
    };
    let finding = permissions::finding_for(staged.plugin(), policy, user);
    let refusal = match finding {
        Ok(None) => return Ok(()),
        Ok(Some(finding)) => Refusal::new(Code::Permissions, permissions::sentence(&finding, policy)),
        Err(error) => Refusal::new(Code::Open, error.to_string()),
    };
    Err(verify::refused_before(place, &refusal))
}

fn signature_of(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let path = beside(file);
    match fs::read(&path) {
        Ok(signature) => Ok(Some(signature)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let problem = Problem::new("SIGNATURE", format!("the signature {} cannot be read", path.display()));
            let problem = problem.why(error.to_string()).state("nothing was changed");
            Err(Failure::failed(problem.mend("make it readable, or take it away if the plugin needs none")))
        }
    }
}

/// The plugin that the new file replaces.
struct Before {
    plugin: InspectedArtifact,
    signature: Option<Vec<u8>>,
}

impl Before {
    /// Finds what has the file's name now: nothing, a file that does not serve, or another file of the same tool type.
    ///
    /// # Errors
    /// If it belongs to another tool type, which must not lose its file.
    fn at(place: &Path, sound: &InspectedArtifact) -> Result<Option<Self>, Failure> {
        let plugin = match artifact::inspect(place, &Trust::default()) {
            Ok(plugin) => plugin,
            // A file that exists and cannot be read could not be put back either.
            Err(uninspected) if uninspected.refusal.code == Code::Open && place.exists() => {
                let problem = Problem::new("NOT_INSTALLED", format!("{} cannot be read", place.display()));
                let problem = problem.why(uninspected.refusal.reason).state("nothing was changed");
                return Err(Failure::failed(problem.mend("run plugin-ctl as a user who may read it, or take it away")));
            }
            Err(_) => return Ok(None),
        };
        if plugin.info.tool_type != sound.info.tool_type {
            let (there, new) = (&plugin.info.tool_type, &sound.info.tool_type);
            let message = format!("{} is the plugin of {there}, and the new file is one of {new}", place.display());
            let problem = Problem::new("NAME_TAKEN", message);
            let problem = problem.state("nothing was changed").mend("give it another name: --name lib….so");
            return Err(Failure::failed(problem));
        }
        let signature = signature_of(place)?;
        Ok((plugin.sha256 != sound.sha256).then_some(Self { plugin, signature }))
    }

    fn put_back(&self, folder: &Path, name: &str) -> io::Result<()> {
        Staged::write(folder, name, self.plugin.bytes(), self.signature.as_deref())?.publish()
    }
}

fn unwritable(folder: &Path, name: &str, error: &io::Error) -> Failure {
    let folder = folder.display();
    let mend = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("run plugin-ctl as a user who may write to {folder}: its owner, or root")
        }
        io::ErrorKind::NotFound => {
            format!(
                "the host names this folder; if it sees other paths than you, copy the file in and run: plugin-ctl reload (folder: {folder})"
            )
        }
        _ => format!("check {folder}: its space, and what lies under this name"),
    };
    let problem = Problem::new("NOT_INSTALLED", format!("{name} cannot be written to {folder}"));
    Failure::failed(problem.why(error.to_string()).state("nothing that serves was changed").mend(mend))
}

fn served(client: &Client, sound: &InspectedArtifact) -> Result<Vec<Plugin>, Failure> {
    let mut plugins: Vec<Plugin> = client.get("/v1/plugins")?;
    plugins.retain(|plugin| plugin.tool_type.as_deref() == Some(&sound.info.tool_type));
    Ok(plugins)
}

fn is_this(plugin: &Plugin, sound: &InspectedArtifact) -> bool {
    plugin.state == "active" && plugin.sha256.as_ref() == Some(&sound.sha256.to_string())
}

/// Whether the file is refused now, or was refused before. In the latter case the reload does not mention it.
fn is_refused(place: &Path, outcome: &[Reloaded], plugins: &[Plugin]) -> bool {
    outcome.iter().any(|reloaded| Path::new(&reloaded.path) == place && reloaded.code.is_some())
        || candidate_at(place, plugins).is_some()
}

fn candidate_at<'a>(place: &Path, plugins: &'a [Plugin]) -> Option<&'a Candidate> {
    plugins.iter().filter_map(|plugin| plugin.candidate.as_ref()).find(|candidate| Path::new(&candidate.path) == place)
}

/// The failure if the installed file does not serve.
fn failure(place: &Path, sound: &InspectedArtifact, outcome: &[Reloaded], plugins: &[Plugin]) -> Option<Failure> {
    let path = place.to_string_lossy();
    let refused = outcome.iter().filter(|reloaded| reloaded.path == path);
    if let Some(problem) = refused.filter_map(|reloaded| refusal(reloaded, plugins)).next() {
        return Some(Failure::failed(problem));
    }
    if let Some(candidate) = candidate_at(place, plugins) {
        let again = Reloaded {
            tool_type: Some(sound.info.tool_type.clone()),
            path: candidate.path.clone(),
            version: candidate.version.clone(),
            sha256: candidate.sha256.clone(),
            generation: None,
            code: Some(candidate.code.clone()),
            reason: Some(candidate.reason.clone()),
            mend: Code::parse(&candidate.code).map(|code| code.mend().to_owned()),
        };
        return refusal(&again, plugins).map(Failure::failed);
    }
    let sha256 = sound.sha256.to_string();
    let row = plugins.first();
    if row.is_some_and(|row| is_this(row, sound)) && !is_refused(place, outcome, plugins) {
        return None;
    }
    let (tool_type, version) = (&sound.info.tool_type, &sound.info.version);
    let (why, mend) =
        row.map_or_else(|| ("the host knows no such plugin".to_owned(), "plugin-ctl reload".to_owned()), why_not);
    let serving = row.and_then(|row| Some((row.version.as_deref()?, row.generation?)));
    let state = serving.map_or_else(
        || format!("nothing serves {tool_type}; its webhooks are answered 503, its jobs wait"),
        |(version, generation)| format!("{version} (generation {generation}) serves"),
    );
    let problem = Problem {
        file: Some(format!("{path}  (sha256 {sha256})")),
        ..Problem::new("NOT_SERVING", format!("{tool_type} {version} is installed, but does not serve"))
    };
    Some(Failure::failed(problem.why(why).state(state).mend(mend)))
}

/// Why another version serves, or none, and what can be done about it.
fn why_not(row: &Plugin) -> (String, String) {
    let tool_type = row.tool_type.as_deref().unwrap_or_default();
    match (row.state.as_str(), &row.path) {
        ("disabled", _) => ("the plugin is disabled".to_owned(), format!("plugin-ctl enable {tool_type}")),
        ("active", _) if row.pinned.is_some() => {
            let pinned = row.pinned.as_deref().unwrap_or_default();
            (format!("{pinned} is pinned"), format!("plugin-ctl unpin {tool_type}, or pin the new version"))
        }
        ("active", Some(path)) => (
            format!("the highest version serves, and {path} has a higher one"),
            format!("take {path} out of the folder, then plugin-ctl reload; or see plugin-ctl info {tool_type}"),
        ),
        (state, _) => (format!("the plugin is {state}"), format!("see plugin-ctl info {tool_type}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_the_host_looks_at_will_do() {
        for (file, name, expected) in [
            ("/tmp/liba.so", None, Some("liba.so")),
            ("/tmp/liba.so.1", Some("libb.so"), Some("libb.so")),
            ("/tmp/liba.so.1", None, None),
            ("/tmp/.liba.so", None, None),
            ("/tmp/..", None, None),
            ("/tmp/liba.so", Some(""), None),
            ("/tmp/liba.so", Some("a/b.so"), None),
            ("/tmp/liba.so", Some(".so"), None),
        ] {
            let source = Source { file: file.into(), name: None };
            assert_eq!(file_name(&source, name).ok().as_deref(), expected, "{file} {name:?}");
        }
    }
}
