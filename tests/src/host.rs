//! A host under test: its own folder with configuration, plugins and state, and the runs of the binary on it.

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
/// How the host is run in its folder.
pub(crate) const SERVE: &[&str] = &["serve", "--config", CONFIG_FILE];

/// What a host is started with.
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

    /// Sets a key, such as `worker.concurrency`, to a value as TOML writes it. The last one counts.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Display) -> Self {
        self.config.retain(|(known, _)| known != key);
        self.config.push((key.to_owned(), value.to_string()));
        self
    }

    /// Starts the host with this variable in its environment, which is empty otherwise.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs the host, and plugin-ctl, where this system call is denied.
    #[must_use]
    pub fn denying(mut self, call: i64, how: Denial) -> Self {
        self.surroundings.denied.push((call, how));
        self
    }

    /// Runs the host, and plugin-ctl, by this program, which has their own names behind these arguments and becomes them.
    #[must_use]
    pub fn under(mut self, program: &[&str]) -> Self {
        self.surroundings.under = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs the host where a process may have no more files open than this.
    #[must_use]
    pub fn open_files_max(self, max: u64) -> Self {
        self.under(&["/usr/bin/prlimit", &format!("--nofile={max}:{max}")])
    }

    /// Makes the folder, starts the host and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(self) -> Host {
        let mut host = self.stopped();
        host.start();
        host
    }

    /// Makes the folder, but starts nothing in it yet.
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

/// A host in its folder, running or not. When dropped it is killed, and the folder goes.
#[derive(Debug)]
pub struct Host {
    folder: TempDir,
    environment: Vec<(String, OsString)>,
    process: Option<Process>,
    surroundings: Surroundings,
}

/// How a run of plugin-ctl ended.
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
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// The failure on standard error: one JSON object.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn failure(&self) -> Value {
        serde_json::from_str(&self.stderr).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }
}

impl Host {
    /// Ports of the system's choice, no watching of folders (tests say when to look), a log that tells each delivery.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
            .config("server.listen", "\"127.0.0.1:0\"")
            .config("admin.listen", "\"127.0.0.1:0\"")
            .config("plugins.watch", false)
            .config("log.level", "\"debug\"")
    }

    /// The folder of everything.
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

    /// The private copies of plugins that lie in the state folder.
    pub fn copies(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.state().join("plugins")).expect("a host has run here");
        let paths = folder.map(|entry| entry.expect("the folder is the test's").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "so")).collect()
    }

    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.state().join("admin.sock")
    }

    /// Puts a copy of an artifact into the plugin folder, in one step, and returns where it is.
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

    /// The same, but it may end before it is ready.
    pub fn try_start(&mut self) -> Result<(), Ended> {
        assert!(self.process.is_none(), "the host runs already");
        self.process = Some(self.run(SERVE)?);
        Ok(())
    }

    /// Runs `patchbay` with other arguments in the host's folder, beside one that runs there, until it ends by itself.
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

    /// From its next start on, nothing stands around the host.
    pub fn set_free(&mut self) {
        self.surroundings = Surroundings::default();
    }

    /// SIGKILL, as a crash of the machine would end it. The folder stays.
    pub fn kill9(&mut self) -> Ended {
        self.signal(Signal::KILL);
        self.end()
    }

    /// SIGTERM; returns when the host has ended by it.
    pub fn terminate(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Lets no file of the host grow beyond these bytes, as on a full disk; `None`: the disk has room again.
    pub fn limit_files(&self, bytes_max: Option<u64>) {
        self.process().limit_files(bytes_max);
    }

    /// Lets the host leave a core, should it crash.
    pub fn allow_core(&self) {
        self.process().allow_core();
    }

    /// Sends a signal and waits for nothing.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Waits until the host has ended by itself.
    pub fn end(&mut self) -> Ended {
        self.process.take().expect("the host runs").end()
    }

    /// SIGTERM, exit code 0, and a new start.
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

    /// Waits until a line of the log holds all of these words, and returns it.
    ///
    /// # Panics
    /// When none does in time.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        let found = self.process().log().wait_for(WAIT_MAX, |text| {
            Some(text.lines().find(|line| words.iter().all(|word| line.contains(word)))?.to_owned())
        });
        found.unwrap_or_else(|| panic!("no line of the log holds {words:?}"))
    }

    /// Where webhooks go.
    pub fn address(&self) -> SocketAddr {
        self.process().addresses.webhooks
    }

    /// The line by which the host said that it was ready.
    pub fn ready_line(&self) -> &str {
        &self.process().addresses.line
    }

    /// Delivers a webhook.
    #[track_caller]
    pub fn send(&self, webhook: &SignedRequest) -> Answer {
        http::over_tcp(self.address(), &http::delivery(webhook))
    }

    /// Delivers a webhook; `None` when the host ended meanwhile.
    #[track_caller]
    pub fn try_send(&self, webhook: &SignedRequest) -> Option<Answer> {
        http::try_over_tcp(self.address(), &http::delivery(webhook))
    }

    /// A request to the webhook listener.
    #[track_caller]
    pub fn http(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        http::over_tcp(self.address(), &http::request(method, path, headers, body))
    }

    /// The metrics as they are served.
    #[track_caller]
    pub fn metrics(&self) -> Answer {
        self.metrics_listener("GET", "/metrics")
    }

    /// A request to the listener that serves the metrics.
    #[track_caller]
    pub fn metrics_listener(&self, method: &str, path: &str) -> Answer {
        http::over_tcp(self.metrics_address(), &http::request(method, path, &[], b""))
    }

    /// Where the metrics are served.
    pub fn metrics_address(&self) -> SocketAddr {
        self.process().addresses.metrics
    }

    /// The host's process id.
    pub fn process_id(&self) -> u32 {
        self.process().id()
    }

    /// Lets the host end as by kill -9 when the next job comes by this place of its way.
    #[track_caller]
    pub fn kill_at(&self, place: &str) {
        self.test_hook("/v1/test/fault", &json!({ "point": place }));
    }

    /// Moves the host's clock forward, and with it everything that waits for a time.
    #[track_caller]
    pub fn advance_clock(&self, by: Duration) {
        self.set_clock(i64::try_from(by.as_millis()).expect("tests do not wait for ages"));
    }

    /// Sets the host's clock by so many milliseconds, either way.
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

    /// Runs plugin-ctl, however it ends.
    pub fn try_ctl(&self, args: &[&str]) -> Ctl {
        self.try_ctl_with_input(args, "")
    }

    /// Runs plugin-ctl with this text on standard input, however it ends.
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

    /// Kibibytes of memory that belongs to no file.
    pub fn anonymous_kib(&self) -> u64 {
        self.process().status_kib("RssAnon")
    }

    /// Runs this, and returns by how many kibibytes the host's memory was larger than before when it was largest.
    #[track_caller]
    pub fn grown_kib(&self, run: impl FnOnce()) -> u64 {
        self.process().forget_peak();
        let before = self.process().status_kib("VmRSS");
        run();
        self.process().status_kib("VmHWM").saturating_sub(before)
    }

    /// Kibibytes of memory that the host has now, its files' pages among them.
    pub fn resident_kib(&self) -> u64 {
        self.process().status_kib("VmRSS")
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the host runs")
    }
}
