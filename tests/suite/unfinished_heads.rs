//! Requests whose heads never end, on as many connections as possible: what they hold is limited, and honest senders
//! are served meanwhile.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created};
use rustix::process::{Resource, getrlimit};

const CONNECTIONS: usize = 9_000;
/// Number of files left for everything else that this process has open.
const FILES_KEPT: u64 = 200;
/// Maximum cost of each connection to the host, in KiB.
const KIB_EACH_MAX: u64 = 30;
/// Size of each head that is as long as the host can hold.
const HELD_BYTES: usize = 15 << 10;
/// Size of each head that is longer than allowed.
const LONG_BYTES: usize = 60 << 10;

fn line() -> Line {
    let line = Line::start(Host::builder().plugin(Artifact::GOOD).config("server.header_timeout_s", 120));
    line.add_tenant("acme", "desk_good", &[]);
    line
}

/// As many connections as this process, and so the host, may have open.
fn connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.map_or(u64::MAX, |max| max.saturating_sub(FILES_KEPT));
    CONNECTIONS.min(usize::try_from(files).unwrap_or(usize::MAX))
}

/// The beginning of a head with this many bytes, without its end.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut head = b"POST /webhooks/acme HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    for number in 0.. {
        head.extend_from_slice(format!("x-{number}: {}\r\n", "a".repeat(1_000)).as_bytes());
        if head.len() >= bytes {
            break;
        }
    }
    head.truncate(bytes);
    head
}

/// Opens the connections, sends each its part of a head and delivers honest webhooks between them.
fn attack(line: &Line, bytes: usize) -> Vec<TcpStream> {
    let head = unfinished(bytes);
    let mut open = Vec::new();
    for number in 0..connections() {
        let mut stream = TcpStream::connect(line.host.address()).unwrap();
        // A host that has already refused the head may have closed the connection.
        let _sent = stream.write_all(&head);
        open.push(stream);
        if number % 500 == 0 {
            assert_eq!(line.host.send(&created("acme", &format!("{bytes}-{number}"))).status, 202);
        }
    }
    assert_eq!(line.host.send(&created("acme", &format!("{bytes}-last"))).status, 202);
    open
}

#[test]
fn heads_as_long_as_may_be_are_held_in_little_memory() {
    let line = line();
    let before = line.host.resident_kib();
    let mut open = attack(&line, HELD_BYTES);
    let grown = line.host.resident_kib().saturating_sub(before);
    let each = open.len() as u64;
    // The heads are held, so their cost is visible.
    assert!(grown >= each * (HELD_BYTES as u64 >> 10) / 2, "{each} connections took {grown} KiB");
    assert!(grown <= each * KIB_EACH_MAX, "{each} connections took {grown} KiB");
    let last = open.last_mut().unwrap();
    last.set_read_timeout(Some(WAIT_MAX)).unwrap();
    last.write_all(b"\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    last.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400", "a head of this length is read, and has two hosts");
    eprintln!("{each} heads of {HELD_BYTES} bytes took {grown} KiB");
}

#[test]
fn longer_heads_are_refused_and_cost_nothing() {
    let line = line();
    let mut open = Vec::new();
    let grown = line.host.grown_kib(|| open = attack(&line, LONG_BYTES));
    let each = open.len() as u64;
    assert!(grown <= each * KIB_EACH_MAX, "{each} connections took {grown} KiB at most");
    let mut stream = TcpStream::connect(line.host.address()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.write_all(&unfinished(17 << 10)).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 431");
    eprintln!("{each} heads of {LONG_BYTES} bytes took {grown} KiB at most");
}
