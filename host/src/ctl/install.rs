//! `install`: a file that has passed the checks here goes into the plugin folder in one step, and what serves then is
//! read back from the host.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
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
    admin::wire::{Host, Installed, Plugin, Problem, Reloaded},
    plugin::{
        artifact::{self, InspectedArtifact},
        signature::{SUFFIX, Trust, beside},
    },
};

/// Everybody may read a plugin; only whoever installed it may write it.
const MODE: u32 = 0o644;

pub(super) fn run(client: &Client, console: &Console, wanted: &Install) -> Result<Shown, Failure> {
    let name = file_name(wanted)?;
    let host: Host = client.get("/v1/host")?;
    let sound = verify::sound(&wanted.file)?;
    let signature = signature_of(&wanted.file)?;
    let folder = Path::new(&host.plugin_folder);
    not_anothers(&folder.join(&name), &sound)?;
    put(folder, &name, sound.bytes(), signature.as_deref()).map_err(|error| unwritable(folder, &name, &error))?;

    let request = Installed { file: name.clone(), reason: wanted.reason.clone() };
    let outcome: Vec<Reloaded> = client.post("/v1/plugin-files/installed", &request)?;
    let mut plugins: Vec<Plugin> = client.get("/v1/plugins")?;
    plugins.retain(|plugin| plugin.tool_type.as_deref() == Some(&sound.info.tool_type));
    let failure = failure(&folder.join(&name), &sound, &outcome, &plugins);
    let text: String = plugins.iter().filter_map(serves).collect();
    let text = format!("{text}{}{}", if text.is_empty() { "" } else { "\n" }, list_text(&plugins, console.color()));
    Ok(Shown { failure, ..Shown::new(text, &plugins) })
}

/// The name that the file gets in the folder.
fn file_name(wanted: &Install) -> Result<String, Failure> {
    let own = || wanted.file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = wanted.name.clone().or_else(own).unwrap_or_default();
    let good = name.ends_with(".so") && !name.starts_with('.') && !name.contains(['/', char::REPLACEMENT_CHARACTER]);
    if good {
        return Ok(name);
    }
    let problem = Problem::new("INVALID_NAME", format!("{name:?} is no name for a plugin in the plugin folder"))
        .why("the host takes files whose names end in .so and do not begin with a dot")
        .state("nothing was changed")
        .mend("--name lib….so");
    Err(Failure::usage(problem))
}

fn signature_of(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let path = beside(file);
    match fs::read(&path) {
        Ok(signature) => Ok(Some(signature)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let problem = Problem::new("SIGNATURE", format!("the signature {} cannot be read", path.display()));
            Err(Failure::failed(problem.why(error.to_string()).state("nothing was changed")))
        }
    }
}

/// One tool type's file must not take another's away.
fn not_anothers(place: &Path, sound: &InspectedArtifact) -> Result<(), Failure> {
    match artifact::inspect(place, &Trust::default()) {
        Ok(there) if there.info.tool_type != sound.info.tool_type => {
            let message = format!(
                "{} is the plugin of {}, the new file is one of {}",
                place.display(),
                there.info.tool_type,
                sound.info.tool_type
            );
            let problem = Problem::new("NAME_TAKEN", message);
            Err(Failure::failed(problem.state("nothing was changed").mend("give it another name: --name lib….so")))
        }
        // Nothing, an earlier plugin of this tool type, or a file that serves nobody.
        _ => Ok(()),
    }
}

/// Puts the bytes there so that nobody sees a part of them, nor the plugin beside a signature of other bytes.
fn put(folder: &Path, name: &str, bytes: &[u8], signature: Option<&[u8]>) -> io::Result<()> {
    let plugin = Draft::write(folder, name, bytes)?;
    let signed = format!("{name}{SUFFIX}");
    match signature {
        Some(signature) => Draft::write(folder, &signed, signature)?.publish()?,
        None => match fs::remove_file(folder.join(&signed)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        },
    }
    plugin.publish()?;
    File::open(folder)?.sync_all()
}

/// A file on disk under a hidden name, which the host does not look at. Dropped before it is published, it is removed.
struct Draft {
    hidden: PathBuf,
    place: PathBuf,
}

impl Draft {
    fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<Self> {
        let hidden = folder.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&hidden)?;
        let draft = Self { hidden, place: folder.join(name) };
        file.write_all(bytes)?;
        // Whatever the umask is.
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.sync_all()?;
        Ok(draft)
    }

    fn publish(self) -> io::Result<()> {
        fs::rename(&self.hidden, &self.place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _published = fs::remove_file(&self.hidden);
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

/// What there is to say when the file that was installed does not serve.
fn failure(path: &Path, sound: &InspectedArtifact, outcome: &[Reloaded], plugins: &[Plugin]) -> Option<Failure> {
    let path = path.to_string_lossy();
    let refused = outcome.iter().filter(|reloaded| reloaded.path == path);
    if let Some(problem) = refused.filter_map(|reloaded| refusal(reloaded, plugins)).next() {
        return Some(Failure::failed(problem));
    }
    let sha256 = sound.sha256.to_string();
    let row = plugins.first();
    if row.is_some_and(|row| row.state == "active" && row.sha256.as_ref() == Some(&sha256)) {
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

/// Why another one serves, or none, and what can be done about it.
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

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_put_whole_for_all_to_read_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (bytes, signature, expected) in
            [(b"one", Some(&b"s"[..]), &["a.so", "a.so.minisig"][..]), (b"two", None, &["a.so"])]
        {
            put(folder, "a.so", bytes, signature).unwrap();
            assert_eq!(names(folder), expected);
            assert_eq!(fs::read(folder.join("a.so")).unwrap(), bytes);
            assert_eq!(fs::metadata(folder.join("a.so")).unwrap().permissions().mode() & 0o7777, MODE);
        }
        fs::create_dir(folder.join("b.so")).unwrap();
        put(folder, "b.so", b"x", None).unwrap_err();
        put(&folder.join("absent"), "a.so", b"x", None).unwrap_err();
        assert_eq!(names(folder), ["a.so", "b.so"]);
    }

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
            let wanted = Install { file: file.into(), reason: None, name: name.map(str::to_owned) };
            assert_eq!(file_name(&wanted).ok().as_deref(), expected, "{file} {name:?}");
        }
    }
}
