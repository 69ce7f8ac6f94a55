//! A tool that answers as no tool should. Its own tenant's jobs fail with a reason, the host keeps within its memory,
//! and another tenant of the same plugin gets its notes as always.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use patchbay_tests::{Artifact, Host, HostBuilder, Line, created};
use rustix::net::sockopt::set_socket_linger;

const MIB: usize = 1 << 20;
const ANSWER_BYTES_MAX: usize = MIB;
const ANSWERS_BYTES_MAX: usize = 8 * MIB;
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
const HEADERS: usize = 1_000_000;
const HEADERS_AT_ONCE: usize = 10_000;
/// A bomb that is let through, to check that its effect would be noticed.
const FUSE_MIB: usize = 32;
/// Number of tickets of the healthy tenant while the other one's jobs run.
const TICKETS: usize = 60;
/// Time between two bytes of a slow answer.
const BEAT: Duration = Duration::from_millis(100);
/// Memory that the host may need in addition to answers while a few jobs run, in KiB: lanes, connections, the
/// allocator's reserves.
const BESIDE_KIB: u64 = 16 << 10;

/// Answers that end by a time-out.
const SLOW: [&str; 3] = ["silent", "slow", "slow-head"];

/// The tool's answer to a request for a ticket.
type Answer = fn(&mut TcpStream) -> io::Result<()>;

/// Ticket id, answer, and the code of the job's failure.
const ANSWERS: [(&str, Answer, &str); 24] = [
    ("bomb", |to| whole(to, "content-encoding: gzip\r\n", &bomb(8 << 10)), "malformed"),
    ("huge", |to| to.write_all(format!("{OK}content-length: 2000000000\r\n\r\n").as_bytes()), "malformed"),
    ("large", |to| whole(to, "", &vec![b' '; ANSWER_BYTES_MAX + 1]), "malformed"),
    ("endless", |to| endless(to, &format!("{OK}\r\n"), b"x"), "malformed"),
    ("chunks", |to| endless(to, &format!("{OK}transfer-encoding: chunked\r\n\r\n"), b"1\r\nx\r\n"), "malformed"),
    ("trailers", |to| endless(to, &format!("{OK}transfer-encoding: chunked\r\n\r\n0\r\n"), b"x: y\r\n"), "malformed"),
    ("size", |to| endless(to, &format!("{OK}transfer-encoding: chunked\r\n\r\n1;"), b"x"), "api"),
    ("hints", |to| endless(to, "", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "api"),
    ("headers", |to| endless(to, OK, b"x: y\r\n"), "api"),
    ("million", |to| million(to), "api"),
    ("header", |to| endless(to, &format!("{OK}x: "), b"a"), "api"),
    ("silent", |to| wait_for_end(to), "api"),
    ("slow", |to| slow(to, &format!("{OK}content-length: 1000\r\n\r\n")), "api"),
    ("slow-head", |to| slow(to, "HTTP/1.1 200"), "api"),
    ("short", |to| to.write_all(format!("{OK}content-length: 100\r\n\r\n{{\"request\"").as_bytes()), "api"),
    ("long", |to| to.write_all(format!("{OK}content-length: 2\r\n\r\n{{}}{{}}{{}}").as_bytes()), "malformed"),
    ("packed", |to| whole(to, "content-encoding: gzip\r\n", b"this is no gzip"), "api"),
    ("half", |to| half(to), "api"),
    ("reset", |to| reset(to), "api"),
    ("gone", |_| Ok(()), "api"),
    ("redirect", |to| to.write_all(&redirect(to)?), "api"),
    ("tls", |to| to.write_all(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 garbage\r\n\r\n"), "api"),
    (
        "later",
        |to| to.write_all(b"HTTP/1.1 429 X\r\nretry-after: 18446744073709551615\r\ncontent-length: 0\r\n\r\n"),
        "rate_limit",
    ),
    ("nested", |to| whole(to, "", &nested()), "malformed"),
];

/// A tool that answers by the ticket's id, and counts requests that follow its redirect.
struct Tool {
    address: SocketAddr,
    followed: Arc<AtomicUsize>,
}

impl Tool {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let followed = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&followed);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, counter) = (stream.unwrap(), Arc::clone(&counter));
                thread::spawn(move || {
                    let path = requested(&mut stream)?;
                    if path.contains("stolen") {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                    let ticket = path.rsplit('/').next().unwrap_or_default();
                    if let Some((_, answer, _)) = ANSWERS.iter().find(|(name, ..)| *name == ticket) {
                        return answer(&mut stream);
                    }
                    match ticket {
                        "fuse" => whole(&mut stream, "content-encoding: gzip\r\n", &bomb(FUSE_MIB)),
                        _ => whole(&mut stream, "", &shown(ticket)),
                    }
                });
            }
        });
        Self { address, followed }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The path of the next request.
fn requested(stream: &mut TcpStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    Ok(head.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn whole(to: &mut TcpStream, headers: &str, body: &[u8]) -> io::Result<()> {
    to.write_all(format!("{OK}{headers}connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes())?;
    to.write_all(body)?;
    wait_for_end(to)
}

fn endless(to: &mut TcpStream, head: &str, part: &[u8]) -> io::Result<()> {
    to.write_all(head.as_bytes())?;
    let parts = part.repeat(10_000);
    loop {
        to.write_all(&parts)?;
    }
}

/// An answer that would be complete after its million headers.
fn million(to: &mut TcpStream) -> io::Result<()> {
    to.write_all(OK.as_bytes())?;
    for from in (0..HEADERS).step_by(HEADERS_AT_ONCE) {
        let some: String = (from..from + HEADERS_AT_ONCE).map(|number| format!("x-{number}: y\r\n")).collect();
        to.write_all(some.as_bytes())?;
    }
    let body = shown("million");
    to.write_all(format!("content-length: {}\r\n\r\n", body.len()).as_bytes())?;
    to.write_all(&body)?;
    wait_for_end(to)
}

/// Sends a byte at each beat, until the other side hangs up.
fn slow(to: &mut TcpStream, head: &str) -> io::Result<()> {
    to.write_all(head.as_bytes())?;
    to.set_read_timeout(Some(BEAT))?;
    while to.read(&mut [0]).is_err() {
        to.write_all(b" ")?;
    }
    Ok(())
}

/// Waits until the other side hangs up.
fn wait_for_end(to: &mut TcpStream) -> io::Result<()> {
    while to.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

/// Sends no more, but stays connected.
fn half(to: &mut TcpStream) -> io::Result<()> {
    to.write_all(format!("{OK}content-length: 100\r\n\r\n{{").as_bytes())?;
    to.shutdown(Shutdown::Write)?;
    wait_for_end(to)
}

fn reset(to: &mut TcpStream) -> io::Result<()> {
    to.write_all(format!("{OK}content-length: 100\r\n\r\n{{").as_bytes())?;
    // Closing without a linger resets the connection.
    Ok(set_socket_linger(to, Some(Duration::ZERO))?)
}

fn redirect(to: &TcpStream) -> io::Result<Vec<u8>> {
    let location = format!("http://{}/stolen", to.local_addr()?);
    Ok(format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes())
}

/// `mib` MiB of blanks, compressed to about a thousandth. One MiB is compressed once and repeated, because gzip allows
/// several parts.
fn bomb(mib: usize) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b' '; MIB]).unwrap();
    packer.finish().unwrap().repeat(mib)
}

/// A ticket, or the answer to a note. A ticket `padding-100-x` has a hundred bytes of padding.
fn shown(ticket: &str) -> Vec<u8> {
    let mut words = ticket.split('-');
    let (what, bytes) = (words.next().unwrap_or_default(), words.next().and_then(|bytes| bytes.parse().ok()));
    let long = |name: &str| "x".repeat(bytes.filter(|_| what == name).unwrap_or(0));
    let list = "1,".repeat(bytes.filter(|_| what == "list").unwrap_or(0) / 2);
    let request = format!(r#"{{"id":"1","subject":"{}"}}"#, long("subject"));
    let status = r#"{"status_code":2000,"status":"success"}"#;
    let padding = long("padding");
    format!(r#"{{"request":{request},"response_status":{status},"padding":"{padding}","list":[{list}1]}}"#).into_bytes()
}

fn nested() -> Vec<u8> {
    let depth = 200_000;
    [br#"{"request":"#.as_slice(), &b"[".repeat(depth), &b"]".repeat(depth), b"}"].concat()
}

fn limited(answer_bytes_max: usize, answers_bytes_max: usize) -> HostBuilder {
    Host::builder()
        .plugin(Artifact::GOOD)
        .config("http.answer_bytes_max", answer_bytes_max)
        .config("http.answers_bytes_max", answers_bytes_max)
}

/// Waits until this ticket's job has failed once, and returns the code.
#[track_caller]
fn failed(line: &Line, ticket: &str) -> String {
    let job = line.job(ticket, "failed", |job| job["state"] != "running" && job["last_error"].is_object());
    job["last_error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn whatever_a_tool_sends_hurts_its_own_tenant_only() {
    let tool = Tool::start();
    // The test waits for the time-outs of slow answers; the healthy tenant's notes must not.
    let line = Line::start(limited(ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX).config("http.read_s", 15));
    line.add_tenant("healthy", "desk_good", &[]);
    line.add_tenant_at("hostile", "desk_good", &tool.url(), &[]);
    line.open_ticket("1000");
    assert_eq!(line.host.send(&created("healthy", "1000")).status, 202);
    line.note_on("1000");

    let grown_kib = line.host.grown_kib(|| {
        for (kind, ..) in ANSWERS {
            assert_eq!(line.host.send(&created("hostile", kind)).status, 202, "{kind}");
        }
        for ticket in 0..TICKETS {
            line.open_ticket(&ticket.to_string());
            assert_eq!(line.host.send(&created("healthy", &ticket.to_string())).status, 202, "{ticket}");
        }
        (0..TICKETS).for_each(|ticket| drop(line.note_on(&ticket.to_string())));
        for kind in SLOW {
            let job = line.job(kind, "is there", |_| true);
            assert!(job["last_error"].is_null(), "notes of the healthy tenant have waited for {kind}: {job:#}");
        }
        for (kind, _, word) in ANSWERS {
            assert_eq!(failed(&line, kind), word, "{kind}");
        }
    });
    assert_eq!(tool.followed.load(Ordering::Relaxed), 0, "a redirect was followed");
    assert!(grown_kib <= most_kib(ANSWERS_BYTES_MAX), "{grown_kib} KiB");
}

/// The host's highest cost of one tenant's answers: a tenant may use half of the room for all, and each answer costs
/// three times its size.
fn most_kib(answers_bytes_max: usize) -> u64 {
    three_times(answers_bytes_max / 2) + BESIDE_KIB
}

/// Three times this size, in KiB.
fn three_times(bytes: usize) -> u64 {
    3 * (bytes as u64 >> 10)
}

#[test]
fn a_bomb_is_seen_where_the_limits_let_it_through() {
    let tool = Tool::start();
    let line = Line::start(limited(2 * FUSE_MIB * MIB, 4 * FUSE_MIB * MIB));
    line.add_tenant_at("hostile", "desk_good", &tool.url(), &[]);
    let grown_kib = line.host.grown_kib(|| {
        assert_eq!(line.host.send(&created("hostile", "fuse")).status, 202);
        assert_eq!(failed(&line, "fuse"), "api", "nothing came where JSON is due");
    });
    assert!(grown_kib > most_kib(ANSWERS_BYTES_MAX), "{grown_kib} KiB");
}

#[test]
fn many_large_answers_at_once_share_their_room() {
    let tool = Tool::start();
    let line = Line::start(limited(4 * MIB, 16 * MIB));
    line.add_tenant_at("greedy", "desk_good", &tool.url(), &[]);
    let tickets: Vec<_> = (0..24).map(|at| format!("padding-4000000-{at}")).collect();
    let grown_kib = line.host.grown_kib(|| {
        for ticket in &tickets {
            assert_eq!(line.host.send(&created("greedy", ticket)).status, 202);
        }
        for ticket in &tickets {
            let job = line.job(ticket, "tried", |job| job["state"] == "done" || job["last_error"].is_object());
            let error = job["last_error"]["message"].as_str().unwrap_or_default();
            assert!(job["state"] == "done" || error.contains("http.answers_bytes_max"), "{job:#}");
        }
    });
    assert!(grown_kib <= most_kib(16 * MIB), "{grown_kib} KiB");
}

#[test]
fn an_answer_takes_three_times_its_size_at_most_through_host_and_plugin() {
    const BYTES: usize = 6_000_000;
    let tool = Tool::start();
    let line = Line::start(Host::builder().plugin(Artifact::GOOD).plugin(Artifact::SERVICEDESK_PLUS));
    let done = |tenant: &str, ticket: &str| {
        assert_eq!(line.host.send(&created(tenant, ticket)).status, 202);
        line.job(ticket, "done", |job| job["state"] == "done");
    };
    for (tenant, tool_type, what) in [
        ("a", "desk_good", "padding"),
        ("b", "desk_good", "subject"),
        ("c", "desk_good", "list"),
        ("d", "servicedesk_plus", "padding"),
    ] {
        line.add_tenant_at(tenant, tool_type, &tool.url(), &[]);
        // Memory that is used for the first time stays.
        done(tenant, &format!("{what}-0-{tenant}"));
        let grown_kib = line.host.grown_kib(|| done(tenant, &format!("{what}-{BYTES}-{tenant}")));
        assert!(
            grown_kib >= BYTES as u64 >> 10,
            "{tool_type}, {what}: {grown_kib} KiB are less than the answer itself"
        );
        assert!(grown_kib <= three_times(BYTES) + 1024, "{tool_type}, {what}: {grown_kib} KiB");
    }
}
