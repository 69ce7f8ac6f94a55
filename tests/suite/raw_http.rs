//! HTTP that no well-behaved client sends: sizes, lengths and transfer encodings.

use patchbay_tests::{Answer, Artifact, Host, Line, created, http};
use sandbox::webhook::SignedRequest;

/// A limit that one packet can reach.
const BODY_BYTES_MAX: usize = 2_048;

fn line() -> Line {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("server.body_bytes_max", BODY_BYTES_MAX);
    let line = Line::start(builder);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line
}

/// Sends the webhook's head with these headers instead of a length, and then these bytes.
#[track_caller]
fn send(line: &Line, webhook: &SignedRequest, headers: &str, bytes: &[u8]) -> Answer {
    let mut head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\n{headers}", webhook.path);
    webhook.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    http::over_tcp(line.host.address(), &[head.as_bytes(), bytes].concat())
}

/// The body in chunks of at most this many bytes.
fn chunked(body: &[u8], bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(bytes) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn a_chunked_body_is_taken_and_ends_the_connection() {
    let line = line();
    line.open_ticket("1");
    let webhook = created("acme", "1");
    let answer = send(&line, &webhook, "transfer-encoding: chunked\r\n", &chunked(&webhook.body, 7));
    assert_eq!((answer.status, answer.closed), (202, true), "{answer:?}");
    line.note_on("1");
    let plain = line.host.send(&created("acme", "2"));
    assert_eq!((plain.status, plain.header("connection")), (202, None), "other connections stay open");
}

#[test]
fn transfer_encodings_that_servers_read_differently_are_refused() {
    let line = line();
    let webhook = created("acme", "1");
    for headers in [
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
    ] {
        let answer = send(&line, &webhook, headers, &chunked(&webhook.body, 100));
        assert_eq!((answer.status, answer.closed), (400, true), "{headers:?}: {answer:?}");
    }
    let jobs = line.host.ctl(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(0), "{jobs:#}");
}

#[test]
fn a_second_length_beside_chunks_ends_the_connection() {
    let line = line();
    let webhook = created("acme", "1");
    let headers = format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n", webhook.body.len());
    let smuggled = [chunked(&webhook.body, 100), http::request("GET", "/healthz", &[], b"")].concat();
    let answer = send(&line, &webhook, &headers, &smuggled);
    assert!(answer.closed, "what follows must not be read as a request: {answer:?}");
}

#[test]
fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
    let line = line();
    let exactly = vec![b' '; BODY_BYTES_MAX];
    let beyond = vec![b' '; BODY_BYTES_MAX + 1];
    let webhook = SignedRequest { headers: vec![], ..created("acme", "1") };
    let status = |headers: &str, bytes: &[u8]| {
        let answer = send(&line, &webhook, headers, bytes);
        if answer.status == 413 {
            assert_eq!(answer.problem_code(), "too_large");
            assert!(answer.closed, "{answer:?}");
        }
        answer.status
    };
    assert_eq!(status(&format!("content-length: {}\r\n", exactly.len()), &exactly), 401, "read, and not authentic");
    assert_eq!(status(&format!("content-length: {}\r\n", beyond.len()), b""), 413, "told before anything is sent");
    assert_eq!(status("transfer-encoding: chunked\r\n", &chunked(&exactly, 512)), 401);
    assert_eq!(status("transfer-encoding: chunked\r\n", &chunked(&beyond, 512)), 413);
}

/// A request that a proxy in front may read differently is refused, or at least the last on its connection.
#[test]
fn lengths_and_chunks_that_servers_read_differently_are_refused() {
    let line = line();
    let webhook = created("acme", "1");
    let length = webhook.body.len();
    let whole = chunked(&webhook.body, 100);
    let size = format!("{length:x}");
    let chunk = |head: &str| [head.as_bytes(), b"\r\n", &webhook.body, b"\r\n0\r\n\r\n"].concat();
    let lengths = [
        format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 1),
        format!("content-length: {length}, {}\r\n", length + 1),
        format!("content-length: +{length}\r\n"),
        format!("content-length: -{length}\r\n"),
        format!("content-length: {length}.0\r\n"),
        format!("content-length: 0x{length:x}\r\n"),
        format!("content-length: {length} {length}\r\n"),
        "content-length: \r\n".to_owned(),
        "content-length: 99999999999999999999999\r\n".to_owned(),
        format!("content-length : {length}\r\n"),
        format!("content-length\0: {length}\r\n"),
        format!("x-a: b\r\n continued\r\ncontent-length: {length}\r\n"),
    ];
    let encodings = [
        ("transfer-encoding : chunked\r\n", whole.clone()),
        ("transfer-encoding: xchunked\r\n", whole.clone()),
        ("transfer-encoding: chunked;q=1\r\n", whole.clone()),
        ("transfer-encoding: \"chunked\"\r\n", whole.clone()),
        ("transfer-encoding:\r\n chunked\r\n", whole.clone()),
        ("transfer-encoding: \r\ntransfer-encoding: chunked\r\n", whole),
        ("transfer-encoding: chunked\r\n", chunk(&format!("0x{size}"))),
        ("transfer-encoding: chunked\r\n", chunk(&format!("+{size}"))),
        ("transfer-encoding: chunked\r\n", chunk(&format!("-{size}"))),
        ("transfer-encoding: chunked\r\n", chunk(&format!("{size}g"))),
        ("transfer-encoding: chunked\r\n", chunk("fffffffffffffffff")),
        ("transfer-encoding: chunked\r\n", chunk("")),
    ];
    let lengths = lengths.iter().map(|headers| (headers.as_str(), webhook.body.clone()));
    for (headers, bytes) in lengths.chain(encodings) {
        let answer = send(&line, &webhook, headers, &bytes);
        assert!((400..500).contains(&answer.status) && answer.status != 401, "{headers:?}: {answer:?}");
        assert!(answer.closed, "{headers:?}: {answer:?}");
        if headers == "transfer-encoding: chunked\r\n" {
            assert_eq!((answer.status, answer.problem_code()), (400, "chunks".to_owned()), "{answer:?}");
        }
    }
    let jobs = line.host.ctl(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(0), "{jobs:#}");
}

#[test]
fn chunks_in_http_1_0_are_refused() {
    let line = line();
    let webhook = created("acme", "1");
    let head = format!("POST {} HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", webhook.path);
    let answer = http::over_tcp(line.host.address(), &[head.as_bytes(), &chunked(&webhook.body, 100)].concat());
    assert_eq!((answer.status, answer.closed), (400, true), "{answer:?}");
}

#[test]
fn what_is_no_http_gets_an_answer_and_no_job() {
    let line = line();
    for bytes in [&b"GARBAGE\r\n\r\n"[..], b"POST /webhooks/acme HTTP/1.1\r\ncontent-length: x\r\n\r\n"] {
        assert_eq!(http::over_tcp(line.host.address(), bytes).status, 400, "{bytes:?}");
    }
    assert_eq!(line.host.http("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_request_names_its_host_once() {
    let line = line();
    for (hosts, version, status) in [
        ("host: a\r\n", "1.1", 200),
        ("host: a\r\nhost: a\r\n", "1.1", 400),
        ("host: a\r\nhost: b\r\n", "1.0", 400),
        ("", "1.1", 400),
        ("", "1.0", 200),
    ] {
        let request = format!("GET /healthz HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        let answer = http::over_tcp(line.host.address(), request.as_bytes());
        assert_eq!(answer.status, status, "{hosts:?} in {version}: {answer:?}");
        if status == 400 {
            assert_eq!(answer.problem_code(), "host");
        }
    }
}
