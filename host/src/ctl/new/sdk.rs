//! Finds the plugin-abi dependency for a new plugin's Cargo.toml, preferably one that a colleague's machine can build
//! too.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use url::Url;

use crate::{admin::wire::Problem, ctl::failure::Failure};

/// A dependency as Cargo.toml has it, between the braces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) toml: String,
    /// Why no other machine can build with it.
    pub(super) local_since: Option<String>,
}

impl Dependency {
    /// Uses the given git repository or folder. Without one, it uses the repository that this program's checkout came
    /// from, or failing that the checkout's folder.
    ///
    /// # Errors
    /// If there is no plugin-abi.
    pub(super) fn find(from: Option<&str>) -> Result<Self, Failure> {
        let Some(from) = from else { return Self::of_own_checkout() };
        if let Some(url) = Remote::parse(from) {
            return Ok(Self { toml: format!("git = {}", quoted(&url.0)), local_since: None });
        }
        let candidates = [PathBuf::from(from), Path::new(from).join("plugin-abi")];
        let folder = candidates.into_iter().find(|path| is_sdk(path)).ok_or_else(|| missing(Some(from)))?;
        Self::of_folder(&folder, None)
    }

    fn of_own_checkout() -> Result<Self, Failure> {
        let program = env::current_exe().unwrap_or_default();
        let folder = program.ancestors().map(|folder| folder.join("plugin-abi")).find(|path| is_sdk(path));
        let folder = folder.ok_or_else(|| missing(None))?;
        match Source::of_checkout(&folder) {
            Ok(source) => Ok(Self { toml: source.toml(), local_since: None }),
            Err(why) => Self::of_folder(&folder, Some(why)),
        }
    }

    fn of_folder(folder: &Path, local_since: Option<String>) -> Result<Self, Failure> {
        let folder = folder.canonicalize().map_err(|_| missing(Some(&folder.to_string_lossy())))?;
        Ok(Self { toml: format!("path = {}", quoted(&folder.to_string_lossy())), local_since })
    }
}

fn missing(from: Option<&str>) -> Failure {
    let problem = Problem::new("NEW", "plugin-abi, which the plugin is built with, was not found");
    let problem = problem.mend("name its folder, a checkout of Patchbay or a git URL of one with --plugin-abi");
    Failure::usage(Problem { file: from.map(str::to_owned), ..problem })
}

fn is_sdk(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"plugin-abi\""))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A repository that other machines can reach, as Cargo writes it, without a password.
#[derive(Debug, PartialEq, Eq)]
struct Remote(String);

impl Remote {
    fn parse(text: &str) -> Option<Self> {
        if !text.contains("://") {
            // Git's short form, `git@host:path`, which Cargo does not read. There is no slash before the colon.
            let (host, path) = text.split_once(':').filter(|(host, _)| !host.contains('/') && host.contains('.'))?;
            return Some(Self(format!("ssh://{host}/{}", path.trim_start_matches('/'))));
        }
        let mut url = Url::parse(text).ok().filter(|url| url.scheme() != "file" && url.has_host())?;
        if url.scheme() != "ssh" {
            // These cannot fail for a URL with a host. A token that the checkout was cloned with must not get into a
            // Cargo.toml.
            url.set_username("").ok()?;
        }
        url.set_password(None).ok()?;
        Some(Self(url.into()))
    }
}

/// A revision of a repository.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    remote: Remote,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Tag(String),
    Commit(String),
}

impl Source {
    /// The repository that the checkout with this folder came from.
    ///
    /// # Errors
    /// A sentence that says why no other machine could get the same.
    fn of_checkout(folder: &Path) -> Result<Self, String> {
        let origin = git(folder, &["remote", "get-url", "origin"]).ok_or("its checkout has no git remote origin")?;
        let remote = Remote::parse(&origin).ok_or_else(|| format!("the origin of its checkout is {origin}"))?;
        if git(folder, &["status", "--porcelain", "--", "."]).is_none_or(|changed| !changed.is_empty()) {
            return Err("its checkout has changes that are not committed".to_owned());
        }
        if let Some(tag) = git(folder, &["describe", "--tags", "--exact-match", "HEAD"]) {
            return Ok(Self { remote, state: State::Tag(tag) });
        }
        let commit = git(folder, &["rev-parse", "HEAD"]).ok_or("its checkout has no commit")?;
        match git(folder, &["branch", "--remotes", "--contains", "HEAD"]) {
            Some(branches) if !branches.is_empty() => Ok(Self { remote, state: State::Commit(commit) }),
            _ => Err(format!("the commit {commit} of its checkout is not at {}", remote.0)),
        }
    }

    fn toml(&self) -> String {
        let (kind, name) = match &self.state {
            State::Tag(tag) => ("tag", tag),
            State::Commit(commit) => ("rev", commit),
        };
        format!("git = {}, {kind} = {}", quoted(&self.remote.0), quoted(name))
    }
}

/// The output of git, if it is installed and succeeds.
fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let ended = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
    let said = String::from_utf8(ended.stdout).ok()?;
    ended.status.success().then(|| said.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_named_is_taken() {
        let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let sdk = Path::new(checkout).join("plugin-abi").canonicalize().unwrap();
        for from in [checkout.to_owned(), format!("{checkout}/plugin-abi")] {
            let expected = Dependency { toml: format!("path = {:?}", sdk.to_string_lossy()), local_since: None };
            assert_eq!(Dependency::find(Some(&from)).unwrap(), expected);
        }
        let git = Dependency::find(Some("https://git.example/patchbay")).unwrap();
        assert_eq!(git.toml, "git = \"https://git.example/patchbay\"");
        assert_eq!(Dependency::find(Some("/absent")).unwrap_err().problem.code, "NEW");
    }

    #[test]
    fn a_remote_is_one_that_others_reach_and_holds_no_password() {
        for (text, expected) in [
            ("https://git.example/a/b.git", Some("https://git.example/a/b.git")),
            ("https://me:token@git.example/a", Some("https://git.example/a")),
            ("git@git.example:a/b.git", Some("ssh://git@git.example/a/b.git")),
            ("ssh://git@git.example/a", Some("ssh://git@git.example/a")),
            ("/srv/git/patchbay", None),
            ("../patchbay", None),
            ("file:///srv/git/patchbay", None),
            ("", None),
        ] {
            assert_eq!(Remote::parse(text).map(|remote| remote.0).as_deref(), expected, "{text}");
        }
    }

    /// A repository with one commit, which has a file and a folder.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("plugin-abi")).unwrap();
        fs::write(folder.path().join("plugin-abi/Cargo.toml"), "x").unwrap();
        run(folder.path(), &["init", "--quiet"]);
        run(folder.path(), &["add", "."]);
        commit(folder.path(), "one");
        folder
    }

    #[track_caller]
    fn run(folder: &Path, args: &[&str]) {
        assert!(git(folder, args).is_some(), "git {args:?}");
    }

    fn commit(folder: &Path, message: &str) {
        let who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"];
        run(folder, &[&who[..], &["commit", "--quiet", "--allow-empty", "--message", message]].concat());
    }

    #[test]
    fn a_checkout_is_named_by_its_tag_or_by_a_commit_that_its_origin_has() {
        const URL: &str = "https://git.example/patchbay.git";
        let repository = repository();
        let (root, sdk) = (repository.path(), repository.path().join("plugin-abi"));
        let says = |expected: &str| {
            let said = Source::of_checkout(&sdk).map(|source| source.toml());
            assert!(said.as_ref().is_ok_and(|toml| toml == expected), "{said:?}, not {expected}");
        };
        let refuses = |expected: &str| {
            let said = Source::of_checkout(&sdk);
            assert!(said.as_ref().is_err_and(|why| why.contains(expected)), "{said:?}, not {expected}");
        };
        refuses("no git remote origin");
        run(root, &["remote", "add", "origin", "/srv/git/patchbay"]);
        refuses("is /srv/git/patchbay");
        run(root, &["remote", "set-url", "origin", URL]);
        refuses("is not at https://git.example/patchbay.git");
        run(root, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
        let head = git(root, &["rev-parse", "HEAD"]).unwrap();
        says(&format!("git = \"{URL}\", rev = \"{head}\""));
        run(root, &["tag", "v1.1.0"]);
        says(&format!("git = \"{URL}\", tag = \"v1.1.0\""));
        fs::write(sdk.join("Cargo.toml"), "y").unwrap();
        refuses("changes that are not committed");
    }
}
