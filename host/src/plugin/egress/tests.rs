//! Where requests may go, and what of an answer is taken: against tools on loopback that send whatever they like.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::{
    config::Config as HostConfig,
    ids::{TenantId, ToolType},
    tenant::NewTenant,
};

const OK: &str = "HTTP/1.1 200 OK\r\n";
/// What a tool says that closes. Else the client keeps the connection, and its next request may run into the close.
const CLOSE: &str = "connection: close\r\n";
const BYTES_MAX: usize = 256 << 10;
/// What ureq takes.
const HEADERS_MAX: usize = 128;
/// No answer here takes so long: each ends by its size.
const TIME_MAX: Duration = Duration::from_secs(600);

#[test]
fn requests_stay_where_the_operator_said() {
    let mut new = NewTenant::new(
        TenantId::parse("acme").unwrap(),
        ToolType::parse("desk").unwrap(),
        "https://desk.example/base/",
    );
    new.allow_origins = vec!["https://login.example".to_owned()];
    let tenant = new.check().unwrap();
    for (asked, expected) in [
        ("/api/1", Some("https://desk.example/base/api/1")),
        ("/../other", None),
        ("https://desk.example/anywhere", Some("https://desk.example/anywhere")),
        ("https://login.example/token", Some("https://login.example/token")),
        ("https://login.example:444/token", None),
        ("http://login.example/token", None),
        ("https://evil.example/", None),
        ("//evil.example/", Some("https://desk.example/base//evil.example/")),
        ("api/1", None),
    ] {
        assert_eq!(target(&tenant, asked).ok().as_ref().map(Url::as_str), expected, "{asked}");
    }
}

#[test]
fn what_is_never_called_is_not_connected_to_by_any_name() {
    let resolve = |host: &str| {
        let uri: Uri = format!("https://{host}/").parse().unwrap();
        let timeout = NextTimeout { after: TIME_MAX.into(), ..NextTimeout::default() };
        LaneResolver.resolve(&uri, &Config::default(), timeout).map(|addresses| addresses[0].ip())
    };
    for host in ["169.254.169.254", "100.100.100.200", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"] {
        let refused = resolve(host).unwrap_err().to_string();
        assert!(refused.contains("are never called"), "{host}: {refused}");
    }
    for host in ["127.0.0.1", "10.0.0.5", "localhost"] {
        assert!(resolve(host).is_ok(), "{host}");
    }
}

/// A client with these limits, and a tenant whose tool answers every request so.
struct Bed {
    egress: Egress,
    tenant: Tenant,
}

impl Bed {
    fn new(answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if stream.read(&mut byte)? == 0 {
                            return Ok(());
                        }
                        request.extend(byte);
                    }
                    answer(&mut stream)?;
                    // Closed with something unread, the connection would be reset and the answer be lost.
                    stream.shutdown(Shutdown::Write)?;
                    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
                });
            }
        });
        let mut config = HostConfig::load(None, std::iter::empty(), std::path::Path::new("/nowhere")).unwrap().http;
        (config.read, config.answer_bytes_max, config.answers_bytes_max) = (TIME_MAX, BYTES_MAX, 2 * BYTES_MAX);
        let new = NewTenant::new(TenantId::parse("acme").unwrap(), ToolType::parse("desk").unwrap(), url);
        Self { egress: Egress::new(&config), tenant: new.check().unwrap() }
    }

    /// A tool that sends these bytes and closes.
    fn of(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::new(move |stream| stream.write_all(&answer))
    }

    fn get(&self) -> Result<Answer, PluginError> {
        let deadline = Instant::now() + TIME_MAX;
        self.egress.send(Outgoing {
            tenant: &self.tenant,
            request: &Request::get("/7"),
            credential: None,
            deadline,
            asker: None,
        })
    }

    fn token(&self) -> Result<Zeroizing<Vec<u8>>, PluginError> {
        let deadline = Instant::now() + TIME_MAX;
        let url = &self.tenant.base_url;
        self.egress.ask_for_token(&self.tenant, url, None, ("text/plain", b""), deadline).map(|(_, body)| body)
    }
}

fn packed(bytes: usize) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&vec![b' '; bytes]).unwrap();
    packer.finish().unwrap()
}

fn plain(status: &str, bytes: usize) -> Vec<u8> {
    [format!("HTTP/1.1 {status}\r\n{CLOSE}content-length: {bytes}\r\n\r\n").as_bytes(), &vec![b' '; bytes]].concat()
}

fn chunked(bytes: usize) -> Vec<u8> {
    let head = format!("{OK}{CLOSE}transfer-encoding: chunked\r\n\r\n");
    let chunks = vec![b' '; bytes];
    let chunks =
        chunks.chunks(1 << 10).flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    head.into_bytes().into_iter().chain(chunks).chain(*b"0\r\n\r\n").collect()
}

fn unending(bytes: usize) -> Vec<u8> {
    [format!("{OK}\r\n").as_bytes(), &vec![b' '; bytes]].concat()
}

fn gzip(bytes: usize) -> Vec<u8> {
    let packed = packed(bytes);
    [format!("{OK}{CLOSE}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len()).as_bytes(), &packed]
        .concat()
}

#[test]
fn an_answer_is_taken_at_its_limit_and_not_one_past_it_however_it_is_packed() {
    for (form, answer) in [
        ("with its length", (|bytes| plain("200 OK", bytes)) as fn(usize) -> Vec<u8>),
        ("in chunks", chunked),
        ("until it closes", unending),
        ("packed", gzip),
    ] {
        for bytes in [0, 1, SMALL_BYTES, SMALL_BYTES + 1, BYTES_MAX] {
            let taken = Bed::of(answer(bytes)).get().map(|answer| answer.body.len());
            assert_eq!(taken, Ok(bytes), "{form}");
        }
        let error = Bed::of(answer(BYTES_MAX + 1)).get().err();
        let Some(PluginError::Malformed(message)) = error else { panic!("{form}: {error:?}") };
        assert!(message.starts_with("GET /7: the tool's answer 200 has more than 262144 bytes"), "{message}");
        assert!(message.contains("http.answer_bytes_max"), "{message}");
        assert_eq!(Bed::of(answer(SMALL_BYTES)).token().map(|body| body.len()), Ok(SMALL_BYTES), "{form}");
        let error = Bed::of(answer(SMALL_BYTES + 1)).token().err();
        assert!(matches!(&error, Some(PluginError::Api { status: None, .. })), "{form}: {error:?}");
    }
}

#[test]
fn what_failed_fails_by_its_status_however_large_it_is() {
    let error = Bed::of(plain("503 Service Unavailable", BYTES_MAX + 1)).get().err();
    assert!(matches!(&error, Some(PluginError::Api { status: Some(503), .. })), "{error:?}");
}

/// 64 MiB in 64 KiB: gzip may come in parts.
fn bomb() -> Vec<u8> {
    let packed = packed(1 << 20).repeat(64);
    assert!(packed.len() < BYTES_MAX, "{} bytes", packed.len());
    [format!("{OK}{CLOSE}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len()).as_bytes(), &packed]
        .concat()
}

#[test]
fn a_bomb_ends_at_the_limit_where_a_limit_on_what_comes_does_not_end_it() {
    let bed = Bed::of(bomb());
    let body = ureq::get(bed.tenant.base_url.as_str()).call().unwrap().into_body();
    let control = body.into_with_config().limit(BYTES_MAX as u64).read_to_vec().unwrap();
    assert_eq!(control.len(), 64 << 20);
    assert!(matches!(bed.get().err(), Some(PluginError::Malformed(_))));
}

#[test]
fn what_a_tool_sends_takes_room_and_what_it_announces_does_not() {
    let bed = Bed::of(plain("200 OK", BYTES_MAX));
    let first = bed.get().unwrap();
    let error = bed.get().err();
    let Some(PluginError::Api { status: None, message }) = error else { panic!("{error:?}") };
    assert!(message.contains("http.answers_bytes_max"), "{message}");
    let announces = plain("200 OK", BYTES_MAX)[..1_000].to_vec();
    let other = Bed { tenant: Bed::of(announces).tenant, ..bed };
    let error = other.get().err();
    assert!(matches!(&error, Some(PluginError::Api { message, .. }) if message.contains("broke off")), "{error:?}");
    let small = Bed { tenant: Bed::of(plain("200 OK", SMALL_BYTES)).tenant, ..other };
    assert_eq!((small.get().err(), small.token().err()), (None, None));
    drop(first);
    let again = Bed { tenant: Bed::of(plain("200 OK", BYTES_MAX)).tenant, ..small };
    assert!(again.get().is_ok());
}

#[test]
fn heads_have_limits() {
    let answer = |headers: &str| format!("{OK}{headers}content-length: 2\r\n\r\n{{}}");
    let many = |count: usize| answer(&"x: y\r\n".repeat(count - 1));
    let long = |bytes: usize| {
        let beside = answer("x: \r\n").len() - "{}".len();
        answer(&format!("x: {}\r\n", "a".repeat(bytes - beside)))
    };
    for taken in [many(HEADERS_MAX), long(HEAD_BYTES_MAX)] {
        assert_eq!(Bed::of(taken).get().map(|answer| answer.body), Ok(b"{}".to_vec()));
    }
    for refused in [many(HEADERS_MAX + 1), many(1_000_000), long(HEAD_BYTES_MAX + 1), long(50 << 20)] {
        let error = Bed::of(refused).get().err();
        assert!(matches!(&error, Some(PluginError::Api { status: None, .. })), "{error:?}");
    }
}

#[test]
fn what_does_not_end_is_cut_off_by_its_bytes() {
    let (chunked, packed_head) = ("transfer-encoding: chunked\r\n\r\n", "content-encoding: gzip\r\n\r\n");
    for (name, head, endless) in [
        ("interim answers", String::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
        ("a body", format!("{OK}\r\n"), b"x".to_vec()),
        ("trailers", format!("{OK}{chunked}0\r\n"), b"x: y\r\n".to_vec()),
        ("the size of a chunk", format!("{OK}{chunked}1;"), b"x".to_vec()),
        ("chunks", format!("{OK}{chunked}"), b"1\r\nx\r\n".to_vec()),
        ("nothing, packed", format!("{OK}{packed_head}"), packed(0)),
    ] {
        let endless = endless.repeat(1_000);
        let bed = Bed::new(move |stream| {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(&endless)?;
            }
        });
        let error = bed.get().err();
        let Some(PluginError::Api { message, .. } | PluginError::Malformed(message)) = &error else {
            panic!("{name}: {error:?}")
        };
        assert!(!message.contains("timeout"), "{name}: {message}");
    }
}
