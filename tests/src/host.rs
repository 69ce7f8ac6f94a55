//! A host under test: its own folder with configuration, plugins and state, and runs of the binary in it.

use std::{
    ffi::OsString,
    fmt::Display,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use sandbox::webhook::SignedRequest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    artifacts::Artifact,
    http::{self, Answer},
    process::{Ended, Process},
    surroundings::{Denial, Surroundings},
    wait::WAIT_MAX,
};

const CONFIG_FILE: &str = "patchbay.toml";
/// The arguments that run the host in its folder.
pub(crate) const SERVE: &[&str] = &["serve", "--config", CONFIG_FILE];

/// The setup of a host.
#[derive(Debug, Default)]
pub struct HostBuilder {
    plugins: Vec<Artifact>,
    config: Vec<(String, String)>,
    environment: Vec<(String, OsString)>,
    surroundings: Surroundings,
}

impl HostBuilder {
    /// Puts a copy of this file into the plugin folder.
    #[must_use]
    pub fn plugin(mut self, artifact: Artifact) -> Self {
        self.plugins.push(artifact);
        self
    }

    /// Sets a key, such as `worker.concurrency`, to a value in TOML. The last one counts.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.config.retain(|(known, _)| known != key);
        self.config.push((key.to_owned(), value.to_string()));
        self
    }

    /// Adds a variable to the host's environment, which is otherwise empty.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs the host, and plugin-ctl, with this system call denied.
    #[must_use]
    pub fn denying(mut self, call: i64, how: Denial) -> Self {
        self.surroundings.denied.push((call, how));
        self
    }

    /// Runs the host, and plugin-ctl, under this program, which gets their command lines after these arguments and
    /// becomes them.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> Self {
        self.surroundings.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs the host with this limit on open files.
    #[must_use]
    pub fn open_files_max(self, max: u64) -> Self {
        self.under(&["/usr/bin/prlimit", &format!("--nofile={max}:{max}")])
    }

    /// Creates the folder, starts the host and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(self) -> Host {
        let mut host = self.stopped();
        host.start();
        host
    }

    /// Creates the folder without starting the host.
    pub fn stopped(self) -> Host {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let host = Host { folder, environment: self.environment, process: None, surroundings: self.surroundings };
        fs::create_dir(host.plugins()).expect("the folder is new");
        for plugin in self.plugins {
            host.put_plugin(plugin);
        }
        host.write_config(&self.config);
        host
    }
}

/// A host in its folder, running or not. Dropping it kills the host and deletes the folder.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
    environment: Vec<(String, OsString)>,
    process: Option<Process>,
    surroundings: Surroundings,
}

/// The result of running plugin-ctl.
#[derive(Debug)]
pub struct Ctl {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ctl {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// The failure on standard error: one JSON object.
    ///
    /// # Panics
    /// When it is not one.
    #[track_caller]
    pub fn failure(&self) -> Value {
        serde_json::from_str(&self.stderr).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }
}

impl Host {
    /// A builder with ports chosen by the system, no watching of folders (tests reload explicitly), and a log line for
    /// each delivery.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
            .config("server.listen", "\"127.0.0.1:0\"")
            .config("admin.listen", "\"127.0.0.1:0\"")
            .config("plugins.watch", false)
            .config("log.level", "\"debug\"")
    }

    /// The host's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The plugin folder.
    pub fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// The private copies of plugins in the state folder.
    pub fn copies(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.state().join("plugins")).expect("a host has run here");
        let paths = folder.map(|entry| entry.expect("the folder is the test's").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "so")).collect()
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("admin.sock")
    }

    /// Puts a copy of an artifact into the plugin folder, in one step, and returns its path.
    pub fn put_plugin(&self, artifact: Artifact) -> PathBuf {
        let path = artifact.path();
        self.put_file(&path.file_name().expect("an artifact has a name").to_string_lossy(), &artifact.bytes())
    }

    /// Puts a file into the plugin folder, or replaces it, in one step.
    pub fn put_file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.plugins().join(name);
        let draft = self.folder().join("draft");
        fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &path)).expect("the folder is the test's");
        path
    }

    /// Replaces the configuration for the next start.
    pub fn write_config(&self, config: &[(String, String)]) {
        let lines: Vec<_> = config.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        fs::write(self.folder().join(CONFIG_FILE), lines.concat()).expect("the folder is the test's");
    }

    /// Starts the host in its folder and waits until it is ready.
    ///
    /// # Panics
    /// When it runs already, or does not become ready.
    #[track_caller]
    pub fn start(&mut self) {
        if let Err(ended) = self.try_start() {
            panic!("the host did not start: {ended:?}");
        }
    }

    /// Starts the host, which may end before it is ready.
    pub fn try_start(&mut self) -> Result<(), Ended> {
        assert!(self.process.is_none(), "the host runs already");
        self.process = Some(self.run(SERVE)?);
        Ok(())
    }

    /// Runs `patchbay` with other arguments in the host's folder until it ends by itself; the host may be running there
    /// too.
    ///
    /// # Panics
    /// When it becomes ready instead.
    #[track_caller]
    pub fn run_to_end(&self, args: &[&str]) -> Ended {
        match self.run(args) {
            Ok(process) => panic!("it started: {}", process.log().text()),
            Err(ended) => ended,
        }
    }

    fn run(&self, args: &[&str]) -> Result<Process, Ended> {
        Process::start(self.folder(), args, &self.environment, &self.surroundings)
    }

    /// Removes the surroundings of the host from its next start on.
    pub fn set_free(&mut self) {
        self.surroundings = Surroundings::default();
    }

    /// Kills the host with SIGKILL, like a crash of the machine. The folder stays.
    pub fn kill9(&mut self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    /// Sends SIGTERM, and returns when the host has ended.
    pub fn terminate(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Limits the size of the host's files, as on a full disk; `None` removes the limit.
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        self.process().limit_files(bytes_max);
    }

    /// Allows the host to leave a core if it crashes.
    pub fn allow_core(&self) {
        self.process().allow_core();
    }

    /// Sends a signal without waiting for anything.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits until the host has ended by itself.
    pub fn end(&mut self) -> Ended {
        self.process.take().expect("the host runs").end()
    }

    /// Ends the host with SIGTERM, expects exit code 0, and starts it again.
    #[track_caller]
    pub fn restart(&mut self) {
        let ended = self.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        self.start();
    }

    /// Everything that the host has logged since its last start.
    pub fn log(&self) -> String {
        self.process().log().text()
    }

    /// Waits for a log line that contains all of these words, and returns it.
    ///
    /// # Panics
    /// When none appears in time.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        let found = self.process().log().wait_for(WAIT_MAX, |text| {
            Some(text.lines().find(|line| words.iter().all(|word| line.contains(word)))?.to_owned())
        });
        found.unwrap_or_else(|| panic!("no line of the log holds {words:?}"))
    }

    /// The address for webhooks.
    pub fn address(&self) -> SocketAddr {
        self.process().addresses.webhooks
    }

    /// The host's line that says it is ready.
    pub fn ready_line(&self) -> &str {
        &self.process().addresses.line
    }

    /// Delivers a webhook.
    #[track_caller]
    pub fn send(&self, webhook: &SignedRequest) -> Answer {
        http::over_tcp(self.address(), &http::delivery(webhook))
    }

    /// Delivers a webhook; `None` if the host ended meanwhile.
    #[track_caller]
    pub fn try_send(&self, webhook: &SignedRequest) -> Option<Answer> {
        http::try_over_tcp(self.address(), &http::delivery(webhook))
    }

    /// Sends a request to the webhook listener.
    #[track_caller]
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::over_tcp(self.address(), &http::request(method, path, headers, body))
    }

    /// Fetches the metrics.
    #[track_caller]
    pub fn metrics(&self) -> Answer {
        self.metrics_listener("GET", "/metrics")
    }

    /// Sends a request to the metrics listener.
    #[track_caller]
    pub fn metrics_listener(&self, method: &str, path: &str) -> Answer {
        http::over_tcp(self.metrics_address(), &http::request(method, path, &[], b""))
    }

    /// The address of the metrics listener.
    pub fn metrics_address(&self) -> SocketAddr {
        self.process().addresses.metrics
    }

    /// The host's process id.
    pub fn process_id(&self) -> u32 {
        self.process().id()
    }

    /// Makes the host end, as by kill -9, when the next job reaches this point.
    #[track_caller]
    pub fn kill_at(&self, place: &str) {
        self.test_hook("/v1/test/fault", &json!({ "point": place }));
    }

    /// Moves the host's clock forward, and with it everything that waits for a time.
    #[track_caller]
    pub fn advance_clock(&self, by: Duration) {
        self.set_clock(i64::try_from(by.as_millis()).expect("tests do not wait for ages"));
    }

    /// Moves the host's clock by this many milliseconds, forward or back.
    #[track_caller]
    pub fn set_clock(&self, step_ms: i64) {
        self.test_hook("/v1/test/clock", &json!({ "advance_ms": step_ms }));
    }

    #[track_caller]
    fn test_hook(&self, path: &str, body: &Value) {
        let headers = [("content-type", "application/json")];
        let request = http::request("POST", path, &headers, body.to_string().as_bytes());
        let answer = http::over_unix(&self.socket(), &request);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Runs plugin-ctl, which must succeed, and returns its JSON.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> Value {
        let ended = self.try_ctl(args);
        assert_eq!(ended.code, 0, "plugin-ctl {args:?}: {ended:?}");
        ended.json()
    }

    /// Runs plugin-ctl, and accepts any exit code.
    pub fn try_ctl(&self, args: &[&str]) -> Ctl {
        self.try_ctl_with_input(args, "")
    }

    /// Runs plugin-ctl with this text on standard input, and accepts any exit code.
    pub fn try_ctl_with_input(&self, args: &[&str], input: &str) -> Ctl {
        let mut command = self.surroundings.command(&Artifact::PLUGIN_CTL.path());
        command
            .args(["--json", "--socket"])
            .arg(self.socket())
            .args(args)
            .current_dir(self.folder())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.surroundings.spawn(&mut command).expect("plugin-ctl runs");
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(input.as_bytes())
            .expect("plugin-ctl reads what it is given");
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the child is ours");
        let text = |bytes| String::from_utf8(bytes).expect("plugin-ctl writes UTF-8");
        Ctl { code: status.code().expect("plugin-ctl exits"), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The row of `list` with this tool type.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn plugin(&self, tool_type: &str) -> Value {
        let list = self.ctl(&["list"]);
        let mut rows = list.as_array().expect("list is an array").iter();
        rows.find(|row| row["tool_type"] == tool_type).unwrap_or_else(|| panic!("no {tool_type} in {list:#}")).clone()
    }

    /// The host's memory map.
    pub fn maps(&self) -> String {
        self.process().proc_file("maps")
    }

    /// The host's memory that belongs to no file, in KiB.
    pub fn anonymous_kib(&self) -> u64 {
        self.process().status_kib("RssAnon")
    }

    /// Returns by how much the host's memory grew at its peak during `run`, in KiB.
    #[track_caller]
    pub fn grown_kib(&self, run: impl FnOnce()) -> u64 {
        self.process().forget_peak();
        let before = self.process().status_kib("VmRSS");
        run();
        self.process().status_kib("VmHWM").saturating_sub(before)
    }

    /// The host's resident memory, including pages of files, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.process().status_kib("VmRSS")
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the host runs")
    }
}
