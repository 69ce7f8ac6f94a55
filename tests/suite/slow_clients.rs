//! Clients that hold a connection and send or read as little as they can: each is closed in time, and nobody waits for
//! them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use patchbay::admin::{ADMIN_ANSWER_S_MAX, ADMIN_CONNECTIONS_MAX};
use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created, http};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::set_socket_recv_buffer_size,
};

/// Number of clients of a kind at once.
const CLIENTS: usize = 500;
/// The configured time for headers, bodies and answers alike.
const TIME_MAX: Duration = Duration::from_secs(2);
/// Time between two bytes of a client that sends some.
const BEAT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// A small buffer, so that the kernel of a client that reads nothing takes little for it.
const RECEIVE_BYTES: usize = 4 << 10;

/// A kind of slow client.
struct Kind {
    /// Sent at once.
    first: Vec<u8>,
    /// Sent afterwards: a byte at each beat or, by clients that read no answers, as much as the host accepts.
    then: Vec<u8>,
    takes_answers: bool,
}

struct Client<S> {
    stream: S,
    opened: Instant,
    /// How much of `then` was sent.
    sent: usize,
    closed_after: Option<Duration>,
}

impl Client<TcpStream> {
    fn open(address: SocketAddr, kind: &Kind) -> Self {
        let opened = Instant::now();
        let mut stream = TcpStream::connect(address).unwrap();
        if !kind.takes_answers {
            set_socket_recv_buffer_size(&stream, RECEIVE_BYTES).unwrap();
        }
        stream.write_all(&kind.first).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, opened, sent: 0, closed_after: None }
    }
}

impl<S: Read + Write> Client<S> {
    fn beat(&mut self, kind: &Kind) {
        let step = if kind.takes_answers { 1 } else { kind.then.len() };
        while !kind.then.is_empty() {
            let from = self.sent % kind.then.len();
            let bytes = &kind.then[from..kind.then.len().min(from + step)];
            match self.stream.write(bytes) {
                Ok(sent) => self.sent += sent,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(),
            }
            if kind.takes_answers {
                return;
            }
        }
    }

    fn look(&mut self, seen: PollFlags) {
        if seen.contains(PollFlags::IN) {
            match self.stream.read(&mut [0; 4 << 10]) {
                Ok(1..) => {}
                Ok(0) | Err(_) => self.close(),
            }
        } else if seen.intersects(PollFlags::ERR | PollFlags::HUP) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.closed_after = Some(self.opened.elapsed());
    }
}

/// Keeps the clients slow until all are closed. Returns how long each was open.
fn hold<S: Read + Write + AsFd>(mut clients: Vec<Client<S>>, kind: &Kind) -> Vec<Duration> {
    let count = clients.len();
    let deadline = Instant::now() + WAIT_MAX;
    let mut next_beat = Instant::now();
    loop {
        let mut open: Vec<_> = clients.iter_mut().filter(|client| client.closed_after.is_none()).collect();
        if open.is_empty() {
            return clients.iter().filter_map(|client| client.closed_after).collect();
        }
        assert!(Instant::now() < deadline, "{} of {count} clients are still open", open.len());
        if next_beat <= Instant::now() {
            open.iter_mut().for_each(|client| client.beat(kind));
            next_beat = Instant::now() + Duration::try_from(BEAT).unwrap();
        }
        let wanted = if kind.takes_answers { PollFlags::IN } else { PollFlags::empty() };
        let mut polled: Vec<_> = open.iter().map(|client| PollFd::new(&client.stream, wanted)).collect();
        poll(&mut polled, Some(&BEAT)).unwrap();
        let seen: Vec<_> = polled.iter().map(PollFd::revents).collect();
        open.iter_mut().zip(seen).for_each(|(client, seen)| client.look(seen));
    }
}

fn line() -> Line {
    let keys = ["header_timeout_s", "body_timeout_s", "answer_timeout_s"];
    let builder = Host::builder().plugin(Artifact::GOOD).config("log.level", "\"info\"");
    let builder =
        keys.iter().fold(builder, |builder, key| builder.config(&format!("server.{key}"), TIME_MAX.as_secs()));
    let line = Line::start(builder);
    line.add_tenant("acme", "desk_good", &[]);
    line
}

#[track_caller]
fn check(kind: &Kind) {
    let line = line();
    thread::scope(|scope| {
        let address = line.host.address();
        let slow = scope.spawn(move || hold((0..CLIENTS).map(|_| Client::open(address, kind)).collect(), kind));
        let mut took = Vec::new();
        while !slow.is_finished() {
            let started = Instant::now();
            let answer = line.host.send(&created("acme", &took.len().to_string()));
            assert_eq!(answer.status, 202, "{}", answer.text());
            took.push(started.elapsed());
        }
        let open = slow.join().expect("all are closed");
        // At least as long as configured, so nothing else closed them. The machine decides how much longer.
        assert!(open.iter().min() >= Some(&TIME_MAX), "the first was closed after {:?}", open.iter().min());
        assert!(took.len() >= 10, "only {} webhooks were answered meanwhile", took.len());
        took.sort();
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        assert!(median < TIME_MAX / 4, "webhooks wait for slow clients: {median:?}, one of them {slowest:?}");
        let longest = open.iter().max();
        eprintln!("{} webhooks took {median:?}, the slowest {slowest:?}; clients were open {longest:?}", took.len());
    });
}

#[test]
fn who_says_nothing_is_closed() {
    check(&Kind { first: vec![], then: vec![], takes_answers: true });
}

#[test]
fn who_says_nothing_more_is_closed() {
    check(&Kind { first: http::request("GET", "/healthz", &[], b""), then: vec![], takes_answers: true });
}

#[test]
fn who_never_ends_its_headers_is_closed() {
    let first = b"POST /webhooks/acme HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_vec();
    check(&Kind { first, then: b"z".to_vec(), takes_answers: true });
}

#[test]
fn who_never_ends_its_body_is_closed() {
    let first = b"POST /webhooks/acme HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n".to_vec();
    check(&Kind { first, then: b"z".to_vec(), takes_answers: true });
}

#[test]
fn who_asks_on_and_takes_no_answer_is_closed() {
    let id = "a".repeat(64);
    let then = http::request("GET", "/nowhere", &[("x-correlation-id", &id)], b"").repeat(100);
    check(&Kind { first: vec![], then, takes_answers: false });
}

/// Fills every place of a listener with clients that send requests and read no answer, and asks for one more answer
/// meanwhile.
#[track_caller]
fn check_all_places<S: Read + Write + AsFd + Send>(open: impl Fn() -> S, path: &str, ask: impl FnOnce()) {
    let then = http::request("GET", path, &[], b"").repeat(100);
    let kind = Kind { first: vec![], then, takes_answers: false };
    let client = || Client { stream: open(), opened: Instant::now(), sent: 0, closed_after: None };
    let mut clients: Vec<_> = (0..ADMIN_CONNECTIONS_MAX).map(|_| client()).collect();
    clients.iter_mut().for_each(|client| client.beat(&kind));
    thread::scope(|scope| {
        let started = Instant::now();
        let slow = scope.spawn(|| hold(clients, &kind));
        ask();
        let waited = started.elapsed();
        let open = slow.join().expect("all are closed");
        // They held every place until one was taken from them.
        let time_max = Duration::from_secs(ADMIN_ANSWER_S_MAX);
        assert!(waited >= time_max / 2, "the answer came after {waited:?}, so there was a place left");
        assert!(open.iter().min() >= Some(&time_max), "the first was closed after {:?}", open.iter().min());
        eprintln!("the answer came after {waited:?}; clients were open {:?}", open.iter().max());
    });
}

#[test]
fn who_takes_no_metrics_gives_its_place_back() {
    let host = Host::builder().start();
    let open = || {
        let stream = TcpStream::connect(host.metrics_address()).unwrap();
        set_socket_recv_buffer_size(&stream, RECEIVE_BYTES).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    check_all_places(open, "/metrics", || assert_eq!(host.metrics().status, 200));
}

#[test]
fn who_takes_no_answer_of_the_admin_api_gives_its_place_back() {
    let host = Host::builder().start();
    let open = || {
        let stream = UnixStream::connect(host.socket()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    check_all_places(open, "/v1/plugins", || assert!(host.ctl(&["list"]).is_array()));
}

#[test]
fn a_long_time_for_bodies_is_none_for_one_that_hardly_comes() {
    let line = Line::start(Host::builder().config("server.body_timeout_s", 600));
    let mut stream = TcpStream::connect(line.host.address()).unwrap();
    stream.write_all(b"POST /webhooks/acme HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n").unwrap();
    // As slow clients do: a byte, and a pause in which an answer may come.
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let started = Instant::now();
    let mut answer = Vec::new();
    loop {
        assert!(started.elapsed() < WAIT_MAX, "it may go on and on");
        match stream.read(&mut [0; 4 << 10][..]) {
            Ok(0) => break,
            Ok(_) => answer.push(()),
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => stream.write_all(b"z").unwrap(),
            Err(fault) => panic!("{fault}"),
        }
    }
    assert!(!answer.is_empty(), "it is told so");
}
