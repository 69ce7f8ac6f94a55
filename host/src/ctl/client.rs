//! A blocking client of the admin API, with one connection for each request.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, runtime::Runtime};

use super::{
    failure::Failure,
    peer::{self, Found},
};
use crate::admin::wire::Problem;

/// Default paths of the socket; the first that exists is used.
pub const SOCKETS: [&str; 2] = [HERE, "/run/patchbay/admin.sock"];
const HERE: &str = "state/admin.sock";
/// Maximum time for an answer, in seconds. A reload tries every new plugin, one after the other.
pub const ANSWER_S_MAX: u64 = 600;
/// Maximum size of an answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A client of the host. It has its own runtime, so it must not be used within another.
pub struct Client {
    socket: PathBuf,
    found: Found,
    runtime: Runtime,
}

impl Client {
    /// A client for this socket, or for the first of [`SOCKETS`] that exists.
    pub fn find(socket: Option<PathBuf>) -> Result<Self, Failure> {
        let named = socket.filter(|path| !path.as_os_str().is_empty());
        let is_named = named.is_some();
        let found = named.or_else(|| SOCKETS.iter().map(PathBuf::from).find(|path| path.exists()));
        let socket = found.ok_or_else(|| {
            let problem = Problem::new("HOST_UNREACHABLE", "no admin socket was found")
                .why(format!("there is neither {} nor {}", SOCKETS[0], SOCKETS[1]))
                .mend("start patchbay, or name its socket: --socket PATH or PATCHBAY_SOCKET");
            Failure::unreachable(problem)
        })?;
        let found = if is_named || socket != Path::new(HERE) { Found::Named } else { Found::Here };
        Self::over(socket, found)
    }

    /// A client for this socket. It does not connect yet.
    pub fn new(socket: PathBuf) -> Result<Self, Failure> {
        Self::over(socket, Found::Named)
    }

    fn over(socket: PathBuf, found: Found) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            let problem = Problem::new("NO_RUNTIME", format!("the system gives no event queue: {error}"));
            Failure::failed(problem.mend("raise the limits of open files and memory of the user who asks"))
        })?;
        Ok(Self { socket, found, runtime })
    }

    /// Sends `GET path`.
    pub fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        self.call(Method::GET, path, Bytes::new())
    }

    /// Sends `DELETE path`.
    pub fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        self.call(Method::DELETE, path, Bytes::new())
    }

    /// Sends `POST path`.
    pub fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, Failure> {
        self.call(Method::POST, path, json(body))
    }

    /// Sends `PUT path`.
    pub fn put<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, Failure> {
        self.call(Method::PUT, path, json(body))
    }

    /// Sends `PATCH path`.
    pub fn patch<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, Failure> {
        self.call(Method::PATCH, path, json(body))
    }

    fn call<A: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<A, Failure> {
        let asks = method == Method::GET;
        let limit = Duration::from_secs(ANSWER_S_MAX);
        let (status, body) = self
            .runtime
            .block_on(async {
                tokio::time::timeout(limit, exchange(&self.socket, self.found, method, path, body)).await
            })
            .unwrap_or(Err(Broken::Silent))
            .map_err(|broken| broken.failure(&self.socket, asks))?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| unreadable(&format!("its answer cannot be read: {error}")));
        }
        Err(serde_json::from_slice::<Problem>(&body)
            .map_or_else(|_| unreadable(&format!("it answered {status} without a reason")), Failure::failed))
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("what travels on the wire has a JSON form").into()
}

fn unreadable(why: &str) -> Failure {
    let problem = Problem::new("BAD_ANSWER", "the host's answer makes no sense")
        .why(why)
        .mend("use the plugin-ctl that came with this patchbay; see whether the socket is patchbay's");
    Failure::failed(problem)
}

/// Why an exchange ended without an answer.
enum Broken {
    Connect(io::Error),
    Stranger(Failure),
    Exchange(String),
    TooLarge,
    Silent,
}

async fn exchange(
    socket: &Path,
    found: Found,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), Broken> {
    let broken = |error: hyper::Error| Broken::Exchange(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(Broken::Connect)?;
    peer::check(&stream, socket, found).map_err(Broken::Stranger)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // An error of the connection is reported by the request too.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "patchbay")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Broken::Exchange(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            Broken::TooLarge
        } else {
            Broken::Exchange(error.to_string())
        }
    })?;
    Ok((status, body.to_bytes()))
}

impl Broken {
    fn failure(self, socket: &Path, asks: bool) -> Failure {
        let socket = socket.display();
        let mut problem = Problem::new("HOST_UNREACHABLE", format!("no host answers on {socket}"));
        let (why, mend) = match self {
            Self::Connect(error) => {
                let mend = match error.kind() {
                    io::ErrorKind::PermissionDenied => "run plugin-ctl as the user that patchbay runs as",
                    _ => "start patchbay, or name its socket: --socket PATH or PATCHBAY_SOCKET",
                };
                return Failure::unreachable(problem.why(error.to_string()).mend(mend));
            }
            Self::Stranger(failure) => return failure,
            Self::TooLarge => return unreadable(&format!("it has over {ANSWER_BYTES_MAX} bytes")),
            Self::Exchange(why) => (why, "see the host's log"),
            Self::Silent => {
                (format!("nothing came for {ANSWER_S_MAX} s"), "see the host's log for what it is busy with")
            }
        };
        problem.message = format!("the host on {socket} went away before it answered");
        if !asks {
            problem = problem.state("it is not known whether the change was made; look before you try again");
        }
        Failure::unreachable(problem.why(why).mend(mend))
    }
}
