//! Bodies that are refused before they are read: a sender that sends everything before it looks for an answer still
//! gets it, and no sender is read from without end.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
};

use patchbay_tests::{Host, WAIT_MAX, http, wait_until};

/// Sizes of bodies beyond the limit, in bytes.
const SIZES: [usize; 3] = [1_100_000, 3_000_000, 12_000_000];
/// Number of exchanges of each size and form, because a connection that is closed too early is not always reset.
const TIMES: usize = 20;
/// More than the host reads of a refused body and the kernel buffers for both sides, in bytes.
const TAKEN_BYTES_MAX: usize = 96 << 20;

/// The answer to a client that sends all of this before it reads.
#[track_caller]
fn exchange(address: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = connect(address);
    for (part, at) in parts.iter().zip(1..) {
        stream.write_all(part).unwrap_or_else(|fault| panic!("part {at}: {fault}"));
    }
    rest(&mut stream)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
    stream
}

/// Everything received until the connection is closed in order.
#[track_caller]
fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|fault| panic!("after {answer:?}: {fault}"));
    answer
}

fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

#[track_caller]
fn is_too_large(answer: &str, what: &str) {
    assert!(answer.starts_with("HTTP/1.1 413 "), "{what}: {answer:?}");
    assert!(answer.contains("connection: close\r\n") && answer.contains("\"too_large\""), "{what}: {answer:?}");
}

#[test]
fn who_sends_too_much_is_told_so_every_time() {
    let host = Host::builder().start();
    for bytes in SIZES {
        let body = vec![b'y'; bytes];
        let declared = head("POST /webhooks/nobody", &format!("content-length: {bytes}\r\n"));
        let in_chunks = head("POST /webhooks/nobody", "transfer-encoding: chunked\r\n");
        let size = format!("{bytes:x}\r\n");
        for _ in 0..TIMES {
            is_too_large(&exchange(host.address(), &[&declared, &body]), &format!("{bytes} declared"));
            let parts = [&in_chunks, size.as_bytes(), &body, b"\r\n0\r\n\r\n"];
            is_too_large(&exchange(host.address(), &parts), &format!("{bytes} in one chunk"));
        }
        let pieces: Vec<_> = body.chunks(8_000).map(|piece| [b"1f40\r\n", piece, b"\r\n"].concat()).collect();
        let parts: Vec<_> = [&in_chunks].into_iter().chain(&pieces).map(Vec::as_slice).collect();
        is_too_large(&exchange(host.address(), &parts), &format!("{bytes} in many chunks, without an end"));
    }
}

#[test]
fn who_asks_before_it_sends_is_answered_at_once() {
    let host = Host::builder().start();
    let refused = [
        ("POST /webhooks/nobody", "content-length: 3000000\r\n", "413"),
        ("POST /webhooks/nobody", "content-length: 30\r\ncontent-encoding: gzip\r\n", "415"),
        ("POST /nowhere", "content-length: 30\r\n", "404"),
        ("PUT /webhooks/nobody", "transfer-encoding: chunked\r\n", "405"),
    ];
    for (line, headers, status) in refused {
        let mut stream = connect(host.address());
        stream.write_all(&head(line, &format!("{headers}expect: 100-continue\r\n"))).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {answer:?}");
    }
    let mut stream = connect(host.address());
    stream.write_all(&head("POST /webhooks/nobody", "content-length: 2\r\nexpect: 100-continue\r\n")).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn whatever_is_refused_unread_its_sender_sees_why() {
    let host = Host::builder().start();
    let body = vec![b'y'; SIZES[1]];
    let length = format!("content-length: {}\r\n", body.len());
    for (line, headers, status) in [
        ("POST /nowhere", &*length, "404"),
        ("POST /healthz/", &length, "404"),
        ("PUT /webhooks/nobody", &length, "405"),
        ("POST /healthz", &length, "405"),
        ("POST /webhooks/nobody", &format!("{length}content-encoding: gzip\r\n"), "415"),
        ("POST /webhooks/nobody", &format!("{length}content-type: application/json; charset=klingon\r\n"), "415"),
        ("POST /webhooks/nobody", "transfer-encoding: gzip, chunked\r\n", "400"),
    ] {
        let head = head(line, headers);
        for _ in 0..TIMES {
            let answer = exchange(host.address(), &[&head, &body]);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {answer:?}");
        }
    }
}

/// A sender without this notice would send its next request into a connection that is being closed.
#[test]
fn a_connection_is_closed_behind_a_body_that_was_not_read_and_only_then() {
    let host = Host::builder().start();
    let gzip = [("content-encoding", "gzip")];
    for (method, path, headers, body, status) in [
        ("POST", "/nowhere", &[][..], "{}", 404),
        ("PUT", "/webhooks/nobody", &[], "{}", 405),
        ("POST", "/webhooks/nobody", &gzip, "{}", 415),
    ] {
        let answer = host.http(method, path, headers, body.as_bytes());
        assert_eq!((answer.status, answer.closed), (status, true), "{method} {path}: {answer:?}");
    }
    let connection = http::Connection::open(host.address()).unwrap();
    for (method, path, headers, body, status) in [
        ("GET", "/nowhere", &[][..], "", 404),
        ("GET", "/webhooks/nobody", &[], "", 405),
        ("POST", "/webhooks/nobody", &gzip, "", 415),
        ("POST", "/webhooks/nobody", &[], "{}", 401),
        ("GET", "/healthz", &[], "", 200),
    ] {
        let answer = connection.exchange(&http::request(method, path, headers, body.as_bytes())).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (status, None), "{method} {path}: {answer:?}");
    }
}

#[test]
fn who_goes_on_sending_is_cut() {
    let host = Host::builder().start();
    let mut stream = connect(host.address());
    stream.write_all(&head("POST /webhooks/nobody", "transfer-encoding: chunked\r\n")).unwrap();
    let piece = [&b"10000\r\n"[..], &[b'y'; 64 << 10], b"\r\n"].concat();
    let mut sent = 0;
    while stream.write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent <= TAKEN_BYTES_MAX, "it may go on and on");
    }
    assert!(sent >= SIZES[2], "cut after {sent} bytes");
}

#[test]
fn who_goes_on_dripping_is_cut() {
    let host = Host::builder().start();
    let mut stream = connect(host.address());
    stream.write_all(&head("POST /webhooks/nobody", "content-length: 3000000\r\n")).unwrap();
    is_too_large(&rest(&mut stream), "a slow sender");
    wait_until("the connection is cut", WAIT_MAX, || stream.write_all(b"y").is_err().then_some(()));
    assert_eq!(host.http("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn many_at_once_hold_no_memory() {
    const SENDERS: usize = 100;
    const GROWN_KIB_MAX: u64 = 48 << 10;
    let host = Host::builder().start();
    let before_kib = host.anonymous_kib();
    let (half, whole) = (Barrier::new(SENDERS + 1), Barrier::new(SENDERS + 1));
    let head = head("POST /webhooks/nobody", &format!("content-length: {}\r\n", SIZES[1]));
    let body = vec![b'y'; SIZES[1]];
    let grown_kib = thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut stream = connect(host.address());
                let (first, second) = body.split_at(body.len() / 2);
                let mut send = |bytes| stream.write_all(bytes).unwrap();
                send(&head);
                send(first);
                half.wait();
                whole.wait();
                send(second);
                is_too_large(&rest(&mut stream), "one of many");
            });
        }
        half.wait();
        let grown_kib = host.anonymous_kib().saturating_sub(before_kib);
        whole.wait();
        grown_kib
    });
    assert!(grown_kib <= GROWN_KIB_MAX, "{SENDERS} senders hold {grown_kib} KiB");
}
