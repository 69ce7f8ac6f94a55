//! A blocking HTTP/1.1 client for TCP and Unix sockets, with one request per connection. It shows answers unchanged and
//! sends any bytes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use sandbox::webhook::SignedRequest;
use serde_json::Value;

/// Maximum time for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header names, in lower case, and values, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether the other side closed the connection after it.
    pub closed: bool,
}

impl Answer {
    /// The value of this header (lower case); the first if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {} {}", self.status, self.text()))
    }

    /// The field `code` of a problem's body.
    ///
    /// # Panics
    /// When the answer is not an RFC 9457 problem with our correlation id in header and body.
    #[track_caller]
    pub fn problem_code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["correlation_id"].as_str(), self.header("x-correlation-id"), "{self:?}");
        assert!(body["title"].is_string() && body["type"].is_string(), "{body}");
        body["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// The seconds in `Retry-After`.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.header("retry-after")?.parse().ok()
    }
}

/// Builds a request. The length is added; everything else is as given.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// The request that delivers a webhook.
pub fn delivery(webhook: &SignedRequest) -> Vec<u8> {
    let headers: Vec<_> = webhook.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    request("POST", &webhook.path, &headers, &webhook.body)
}

/// Sends these bytes over TCP and reads one answer.
///
/// # Panics
/// When no whole answer comes.
#[track_caller]
pub fn over_tcp(address: SocketAddr, bytes: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).unwrap_or_else(|fault| panic!("{address}: {fault}"));
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time-out above zero can be set");
    exchange(stream, bytes)
}

/// Sends these bytes over TCP and reads one answer; `None` if the other side ends before the answer is complete.
///
/// # Panics
/// When the answer takes too long.
#[track_caller]
pub fn try_over_tcp(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time-out above zero can be set");
    try_exchange(stream, bytes).ok()
}

/// A connection for several requests.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects; `None` if nobody listens there.
    pub fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time-out above zero can be set");
        stream.set_nodelay(true).expect("a connected socket has options");
        Some(Self(stream))
    }

    /// Sends a request and reads its answer; `None` if the other side ends before the answer is complete.
    ///
    /// # Panics
    /// When the answer takes too long.
    #[track_caller]
    pub fn exchange(&self, bytes: &[u8]) -> Option<Answer> {
        try_exchange(&self.0, bytes).ok()
    }
}

/// Sends these bytes over a Unix socket and reads one answer.
///
/// # Panics
/// When no whole answer comes.
#[track_caller]
pub fn over_unix(socket: &Path, bytes: &[u8]) -> Answer {
    let stream = UnixStream::connect(socket).unwrap_or_else(|fault| panic!("{}: {fault}", socket.display()));
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a time-out above zero can be set");
    exchange(stream, bytes)
}

#[track_caller]
fn exchange(stream: impl Read + Write, bytes: &[u8]) -> Answer {
    try_exchange(stream, bytes).unwrap_or_else(|broken| panic!("{broken}"))
}

/// Sends and reads. The error says how the connection ended without a complete answer.
#[track_caller]
fn try_exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Result<Answer, String> {
    // A server may answer and close before it has read everything. Only the answer counts then.
    let sent = stream.write_all(bytes);
    let mut received = Vec::new();
    let head_end = loop {
        if let Some(at) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if !read_more(&mut stream, &mut received) {
            let read = text(&received);
            return Err(format!("the connection ended without an answer; sent: {sent:?}, read: {read:?}"));
        }
    };
    let head = text(&received[..head_end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let length: usize = length.unwrap_or(0);
    let mut body = received.split_off(head_end + 4);
    while body.len() < length {
        if !read_more(&mut stream, &mut body) {
            return Err(format!("the answer broke off after {} of {length} bytes", body.len()));
        }
    }
    let says_close = headers.iter().any(|(name, value)| name == "connection" && value.eq_ignore_ascii_case("close"));
    let closed = says_close && !read_more(&mut stream, &mut body);
    assert_eq!(body.len(), length, "more than the announced body: {:?}", text(&body));
    Ok(Answer { status, headers, body, closed })
}

/// Reads more bytes. Returns false at the end of the stream, or if the other side has reset it.
fn read_more(stream: &mut impl Read, into: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        Ok(bytes) => {
            into.extend_from_slice(&buffer[..bytes]);
            true
        }
        Err(fault) if fault.kind() == std::io::ErrorKind::ConnectionReset => false,
        Err(fault) => panic!("while an answer was read: {fault}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
