//! Few open files: connections use their share and leave the rest to the store, the plugins and the tools.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use patchbay_tests::{Artifact, Host, Line, created, http};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The host's limit.
const FILES_MAX: u64 = 400;
/// More than the host may have open in total.
const CONNECTIONS: usize = 500;
const NO_MORE: &str = "no connection can be accepted";

#[test]
fn more_connections_than_files_leave_the_store_and_the_tools_their_own() {
    let builder = Host::builder().plugin(Artifact::GOOD).open_files_max(FILES_MAX);
    let line = Line::start(builder.config("server.header_timeout_s", 1));
    line.host.wait_for_log(&["the limit of open files leaves room for 100 connections"]);
    line.open_ticket("1");
    let silent: Vec<_> = (0..CONNECTIONS).map(|_| TcpStream::connect(line.host.address()).unwrap()).collect();
    // Uses the admin socket and the store.
    line.add_tenant("acme", "desk_good", &[]);
    // The webhook waits for its turn behind the silent connections, each of which has a second.
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    drop(silent);
    assert!(!line.host.log().contains(NO_MORE), "files were kept back");
}

#[test]
fn without_any_file_left_accepting_waits_and_says_so_once() {
    /// How long nothing can be accepted.
    const NONE_LEFT: Duration = Duration::from_millis(700);
    let line = Line::start(Host::builder().open_files_max(FILES_MAX));
    let process = Pid::from_raw(i32::try_from(line.host.process_id()).unwrap());
    let before = prlimit(process, Resource::Nofile, Rlimit { current: Some(3), maximum: Some(FILES_MAX) }).unwrap();
    let worked = processor_ticks(&line);
    let mut stream = TcpStream::connect(line.host.address()).unwrap();
    stream.write_all(&http::request("GET", "/healthz", &[("connection", "close")], b"")).unwrap();
    stream.set_read_timeout(Some(NONE_LEFT)).unwrap();
    let mut answer = String::new();
    assert_eq!(stream.read_to_string(&mut answer).unwrap_err().kind(), ErrorKind::WouldBlock);
    let worked = processor_ticks(&line) - worked;
    prlimit(process, Resource::Nofile, Rlimit { current: Some(FILES_MAX), ..before }).unwrap();
    stream.set_read_timeout(None).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(line.host.log().matches(NO_MORE).count(), 1, "{}", line.host.log());
    assert!(worked < 35, "accepting was tried over and over: {worked} hundredths of a second of the processor's time");
}

/// Processor time of the host, in hundredths of a second.
fn processor_ticks(line: &Line) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", line.host.process_id())).unwrap();
    // The fields after the name, which may contain blanks: state is the 3rd of proc(5)'s fields, utime the 14th and
    // stime the 15th.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
