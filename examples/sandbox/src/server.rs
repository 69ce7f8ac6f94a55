//! The running sandbox: a listener on loopback, its thread, and the handling of a request from arrival to answer.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{net::TcpStream, runtime, sync::oneshot, task::JoinSet};

use crate::{
    answer::{Answer, AnswerBody, Closed, Delivery},
    call::Call,
    control,
    fault::Fault,
    oauth::{self, Oauth, OauthClient, OauthGrant},
    script::{self, Played, Script},
    state::{RecordedRequest, State, StateFull, Ticket, TicketFields, TooFewNotes, limits},
    tools::{Site, Tool},
};

/// The default credential of the tools.
pub const DEFAULT_TOKEN: &str = "sandbox-token";

/// The configuration of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxConfig {
    /// A loopback address; port 0 means any free port.
    pub listen: SocketAddr,
    /// The only credential that the tools accept; not empty.
    pub token: String,
    /// The answers of the tool under `/script`; without them, that tool does not exist.
    pub script: Option<Script>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), token: DEFAULT_TOKEN.to_owned(), script: None }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not loopback: a sandbox shows secrets to everybody who can reach it.
    #[error("{0} is not a loopback address; the sandbox listens nowhere else")]
    NotLoopback(SocketAddr),
    /// The credential is empty, which would let everybody in.
    #[error("the token is empty, or cannot stand in a header")]
    InvalidToken,
    /// The address is in use, or the system provides no socket or thread.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The requested address.
        listen: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// A running sandbox. It stops when dropped.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    state: Arc<State>,
    oauth: Arc<Oauth>,
    runtime: runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sandbox {
    /// Listens, and serves on a thread of its own. Connections are accepted once this returns.
    pub fn start(config: SandboxConfig) -> Result<Self, StartError> {
        let listen = config.listen;
        if !listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(listen));
        }
        if config.token.is_empty() || HeaderValue::from_str(&config.token).is_err() {
            return Err(StartError::InvalidToken);
        }
        Self::serve(config).map_err(|source| StartError::Listen { listen, source })
    }

    fn serve(config: SandboxConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let state = Arc::new(State::default());
        let oauth = Arc::new(Oauth::default());
        let server = Arc::new(Server {
            state: Arc::clone(&state),
            oauth: Arc::clone(&oauth),
            token: config.token,
            script: config.script.map(Played::new),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || runtime.block_on(accept(listener, server, stopped)))?;
        Ok(Self { addr, state, oauth, runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The listening address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as an `http://` URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The base URL for a tenant of this tool; the cloud's still lacks `/app/<portal>`.
    pub fn base_url(&self, tool: Tool) -> String {
        format!("{}{}", self.url(), tool.base_path())
    }

    /// Creates a ticket, or replaces an existing one's fields and keeps its notes.
    ///
    /// # Panics
    /// When the id is not valid in the tool.
    pub fn put_ticket(&self, tool: Tool, id: &str, fields: TicketFields) -> Result<(), StateFull> {
        assert_eq!(tool.broken_id_rule(id), None, "{id:?} at {}", tool.name());
        self.state.put_ticket(tool, id, fields).map(drop)
    }

    /// A ticket with its current notes.
    pub fn ticket(&self, tool: Tool, id: &str) -> Option<Ticket> {
        self.state.ticket(tool, id)
    }

    /// Waits until the ticket, which need not exist yet, has this many notes.
    ///
    /// # Panics
    /// When called from async code, which it would block.
    pub fn wait_for_notes(&self, tool: Tool, id: &str, notes: usize, timeout: Duration) -> Result<Ticket, TooFewNotes> {
        self.runtime.block_on(self.state.wait_for_notes(tool, id, notes, timeout))
    }

    /// Replaces the list of faults. The first one that matches a request acts.
    ///
    /// # Panics
    /// When a fault cannot be carried out, such as a status of 42.
    pub fn set_faults(&self, faults: Vec<Fault>) -> Result<(), StateFull> {
        for fault in &faults {
            assert_eq!(fault.check(), Ok(()), "{fault:?}");
        }
        self.state.set_faults(faults)
    }

    /// Sets the client of the token endpoint, without any issued tokens.
    pub fn set_oauth(&self, client: OauthClient) {
        self.oauth.set(Some(client));
    }

    /// The URL of the token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}{}", self.url(), oauth::PATH)
    }

    /// The issued tokens, oldest first.
    pub fn oauth_grants(&self) -> Vec<OauthGrant> {
        self.oauth.grants()
    }

    /// Invalidates all issued access tokens.
    pub fn revoke_access_tokens(&self) {
        self.oauth.revoke_access();
    }

    /// Invalidates the client's refresh token.
    pub fn revoke_refresh_token(&self) {
        self.oauth.revoke_refresh();
    }

    /// The received requests, oldest first, without those to the control API.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.requests(0)
    }

    /// Closes the listener and all connections at once, and returns once they are closed. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Without a receiver the thread has already ended.
            let _ended = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("sandbox: the serving thread panicked");
        }
    }
}

struct Server {
    state: Arc<State>,
    oauth: Arc<Oauth>,
    token: String,
    script: Option<Played>,
}

/// How long accepting pauses when the system has no more descriptors, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < limits::CONNECTIONS_MAX => match accepted {
                Ok((socket, _peer)) => drop(connections.spawn(converse(socket, Arc::clone(&server)))),
                Err(error) => {
                    eprintln!("sandbox: cannot take a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn converse(socket: TcpStream, server: Arc<Server>) {
    let service = service_fn(|request| {
        let server = Arc::clone(&server);
        async move { server.answer(request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::REQUEST_READ_S_MAX))
        .serve_connection(TokioIo::new(socket), service);
    // A connection ends with an error if a fault closes it or a client goes away; both are normal here.
    let _how = connection.await;
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Closed> {
        let (head, body) = request.into_parts();
        let delivery = match read(body).await {
            Ok(body) => self.deliver(&Call { head, body }).await,
            Err(refusal) => Delivery::Whole(refusal),
        };
        delivery.into_response()
    }

    async fn deliver(&self, call: &Call) -> Delivery {
        if let Some(path) = call.path().strip_prefix(control::PREFIX) {
            return Delivery::Whole(control::answer(&self.state, &self.oauth, call, path).await);
        }
        if call.path() == oauth::PATH {
            let number = self.state.record(call, None, None);
            let answer = self.oauth.answer(call);
            self.state.answered(number, answer.status);
            return Delivery::Whole(answer);
        }
        if let Some(script) = &self.script
            && let Some(path) = call.path().strip_prefix(script::BASE_PATH)
        {
            let number = self.state.record(call, None, None);
            let answer = script.answer(call, path);
            self.state.answered(number, answer.status);
            return Delivery::Whole(answer);
        }
        let Some((tool, path)) = Tool::at(call.path()) else {
            let number = self.state.record(call, None, None);
            self.state.answered(number, StatusCode::NOT_FOUND);
            return Delivery::Whole(refusal(StatusCode::NOT_FOUND, "no tool lives at this path"));
        };
        let operation = tool.operation(&call.head.method, path);
        let fault = self.state.take_fault(tool, operation);
        let number = self.state.record(call, Some((tool, operation)), fault.as_ref());
        let presented = self.oauth.presented(call);
        let token = presented.as_deref().unwrap_or(&self.token);
        let work = || tool.answer(&Site { state: &self.state, token }, call, path);
        let delivery = match fault {
            None => Delivery::Whole(work()),
            Some(fault) => {
                tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
                match fault.effect {
                    None => Delivery::Whole(work()),
                    Some(effect) => effect.apply(tool, work),
                }
            }
        };
        if let Delivery::Whole(answer) | Delivery::Cut(answer) = &delivery {
            self.state.answered(number, answer.status);
        }
        delivery
    }
}

async fn read(body: Incoming) -> Result<Bytes, Answer> {
    let all = Limited::new(body, limits::REQUEST_BODY_BYTES_MAX).collect();
    match tokio::time::timeout(Duration::from_secs(limits::REQUEST_READ_S_MAX), all).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 1 MiB"))
        }
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "the body ended early")),
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

fn refusal(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": message }))
}

#[cfg(test)]
mod tests;
