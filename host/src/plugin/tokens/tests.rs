//! Tokens from an endpoint on loopback that answers by a list, and counts.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::{
    config::Config,
    ids::ToolType,
    store::LiveJobs,
    tenant::{NewTenant, change::TenantChange, directory::tests::open_in},
};

const TIME_MAX: Duration = Duration::from_secs(20);

struct Bed {
    tokens: Arc<Tokens>,
    directory: TenantDirectory,
    tenant: Arc<Tenant>,
    clock: Clock,
    asked: Arc<Mutex<Vec<String>>>,
    endpoint: Option<JoinHandle<()>>,
    runtime: Runtime,
    _folder: TempDir,
}

impl Bed {
    /// An endpoint that answers so, in this order, and a tenant whose secret `key` has the refresh token `r0`.
    fn new(answers: impl IntoIterator<Item = (u16, serde_json::Value)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let clock = Clock::system();
        let (_store, directory) = runtime.block_on(open_in(folder.path(), &clock));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let id = TenantId::parse("acme").unwrap();
        let new = NewTenant::new(id, ToolType::parse("desk").unwrap(), &url);
        let secrets = vec![("key".to_owned(), secret(&url, "r0"))];
        let tenant = runtime.block_on(directory.add(new, secrets)).unwrap();
        let config = Config::load(None, std::iter::empty(), folder.path()).unwrap();
        let egress = Arc::new(Egress::new(&config.http));
        let tokens = Arc::new(Tokens::new(directory.clone(), egress, clock.clone()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let endpoint = Some(serve(listener, answers.into_iter().collect(), Arc::clone(&asked)));
        Self { tokens, directory, tenant, clock, asked, endpoint, runtime, _folder: folder }
    }

    fn token(&self) -> Result<AccessToken, PluginError> {
        self.tokens.token(&self.tenant, "key", Instant::now() + TIME_MAX).map(|token| token.expect("it is oauth2"))
    }

    #[track_caller]
    fn gives(&self, expected: &str) -> AccessToken {
        let token = self.token().unwrap();
        assert_eq!(token[0].expose(), expected);
        token
    }

    /// The refresh tokens that were shown to the endpoint; all its answers are used up.
    #[track_caller]
    fn showed(mut self, expected: &[&str]) {
        self.endpoint.take().expect("it is waited for once").join().unwrap();
        assert_eq!(*self.asked.lock().unwrap(), expected);
    }
}

fn secret(url: &str, refresh_token: &str) -> SecretText {
    let object = json!({
        "token_url": format!("{url}/token"), "grant": "refresh_token", "client_id": "me", "client_secret": "hunter2",
        "refresh_token": refresh_token,
    });
    SecretText::new(json!({ "oauth2": object }).to_string()).unwrap()
}

/// One connection for each answer.
fn serve(
    listener: TcpListener,
    mut answers: VecDeque<(u16, serde_json::Value)>,
    asked: Arc<Mutex<Vec<String>>>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        while let Some((status, body)) = answers.pop_front() {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 1024]);
            let form = loop {
                let length = stream.read(&mut piece).unwrap();
                assert!(length > 0, "the request is whole");
                request.extend_from_slice(&piece[..length]);
                let text = String::from_utf8(request.clone()).unwrap();
                // The secret is the last field.
                if let Some((_, form)) = text.split_once("\r\n\r\n").filter(|(_, form)| form.ends_with("hunter2")) {
                    break form.to_owned();
                }
            };
            let token = form.split('&').find_map(|field| field.strip_prefix("refresh_token=")).unwrap();
            asked.lock().unwrap().push(token.to_owned());
            let body = body.to_string();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
                .unwrap();
        }
    })
}

fn grants(token: &str, refresh_token: Option<&str>) -> (u16, serde_json::Value) {
    (200, json!({ "access_token": token, "expires_in": 3600, "refresh_token": refresh_token }))
}

#[test]
fn many_calls_at_once_share_one_token() {
    let bed = Bed::new([grants("t1", None)]);
    thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(|| drop(bed.gives("t1"))))));
    bed.showed(&["r0"]);
}

#[test]
fn many_calls_at_once_share_one_failure_too() {
    let bed = Bed::new([(503, json!({}))]);
    thread::scope(|scope| {
        (0..16).for_each(|_| drop(scope.spawn(|| assert_eq!(bed.token().unwrap_err().kind(), "api"))));
    });
    bed.showed(&["r0"]);
}

#[test]
fn a_token_is_renewed_before_its_end_with_the_refresh_token_of_the_last_answer() {
    let bed = Bed::new([grants("t1", Some("r1")), grants("t2", None), grants("t3", Some("r2")), grants("t4", None)]);
    for expected in ["t1", "t2", "t3", "t4"] {
        bed.gives(expected);
        bed.clock.advance_ms(3_539_000);
        bed.gives(expected);
        bed.clock.advance_ms(1_000);
    }
    bed.showed(&["r0", "r1", "r1", "r2"]);
}

#[test]
fn a_refused_token_is_renewed_once_for_all_who_had_it() {
    let bed = Bed::new([grants("t1", None), grants("t2", None), grants("t3", None)]);
    let deadline = Instant::now() + TIME_MAX;
    let first = bed.gives("t1");
    let renewed = |refused| bed.tokens.renewed(&bed.tenant, "key", refused, deadline).unwrap();
    for _ in 0..2 {
        assert_eq!(renewed(&first).expect("another")[0].expose(), "t2");
    }
    let shown: Vec<_> = bed.tokens.shown(&bed.tenant).iter().map(|token| token[0].expose().to_owned()).collect();
    assert_eq!(shown, ["t2", "t1"], "an answer that comes late may echo the first");
    bed.tokens.was_futile(&bed.tenant, "key");
    let second = bed.gives("t2");
    assert!(renewed(&second).is_none(), "the tool refuses whatever it is shown");
    bed.clock.advance_ms(FUTILE_MS);
    assert_eq!(renewed(&second).expect("another")[0].expose(), "t3");
    bed.showed(&["r0", "r0", "r0"]);
}

#[test]
fn an_endpoint_that_fails_is_left_alone_for_as_long_as_that_kind_of_failure_lasts() {
    let answers = [(429, json!({})), (400, json!({ "error": "invalid_grant" })), grants("t1", None)];
    let bed = Bed::new(answers);
    for (kind, pause_ms) in [("rate_limit", PAUSE_MS), ("authentication", REFUSED_PAUSE_MS)] {
        assert_eq!(bed.token().unwrap_err().kind(), kind);
        assert_eq!(bed.token().unwrap_err().kind(), kind, "nobody is asked");
        bed.clock.advance_ms(pause_ms);
    }
    bed.gives("t1");
    let status = bed.tokens.status(&bed.tenant, "key");
    assert_eq!(status.expires_ms.zip(status.obtained_ms).map(|(to, from)| to - from), Some(3_600_000));
    assert_eq!(status.last_error.expect("it is kept").1.kind(), "authentication");
    bed.showed(&["r0", "r0", "r0"]);
}

#[test]
fn a_secret_that_is_set_anew_counts_at_once() {
    let bed = Bed::new([grants("t1", Some("r1")), (400, json!({ "error": "invalid_grant" })), grants("t2", None)]);
    bed.gives("t1");
    bed.clock.advance_ms(3_600_000);
    assert_eq!(bed.token().unwrap_err().kind(), "authentication");
    let url = bed.tenant.base_url.as_str().trim_end_matches('/');
    bed.runtime.block_on(bed.directory.set_secret(&bed.tenant.id, "key", secret(url, "s0"), 60_000)).unwrap();
    bed.gives("t2");
    bed.showed(&["r0", "r1", "s0"]);
}

#[test]
fn what_was_given_in_exchange_does_not_replace_what_somebody_has_set() {
    let bed = Bed::new([]);
    let deadline = Instant::now() + TIME_MAX;
    let (id, url) = (&bed.tenant.id, bed.tenant.base_url.as_str().trim_end_matches('/'));
    let (version, _) = bed.directory.versioned_secrets(&bed.tenant, "key").unwrap();
    let exchange =
        |version, token| bed.directory.exchange_secret(id, "key", version, Arc::new(secret(url, token)), deadline);
    let newer = exchange(version, "r1").unwrap();
    bed.runtime.block_on(bed.directory.set_secret(id, "key", secret(url, "s0"), 0)).unwrap();
    assert_eq!(exchange(newer, "r2"), Err(ExchangeError::Superseded));
    let (_, secrets) = bed.directory.versioned_secrets(&bed.tenant, "key").unwrap();
    assert!(secrets.len() == 1 && secrets[0].expose().contains("\"s0\""));
    bed.showed(&[]);
}

#[test]
fn a_token_that_was_obtained_for_one_tool_is_not_shown_to_another() {
    let mut bed = Bed::new([grants("t1", None), grants("t2", None), grants("t3", None)]);
    let endpoint = bed.tenant.base_url.to_string();
    let old = bed.gives("t1");
    let (base_url, allow_origins) = (Some("https://new.example".to_owned()), vec![endpoint]);
    let change = TenantChange { base_url, allow_origins, ..TenantChange::default() };
    let change = bed.directory.change(&bed.tenant.id, change, Vec::new(), LiveJobs::Stay);
    bed.tenant = bed.runtime.block_on(change).unwrap().tenant;
    bed.gives("t2");
    bed.gives("t2");
    let shown: Vec<_> = bed.tokens.shown(&bed.tenant).iter().map(|token| token[0].expose().to_owned()).collect();
    assert_eq!(shown, ["t2", "t1"], "an answer of the old tool may still echo it");
    bed.tenant = bed.runtime.block_on(bed.directory.pause(&bed.tenant.id)).unwrap();
    bed.gives("t2");
    let deadline = Instant::now() + TIME_MAX;
    let renewed = bed.tokens.renewed(&bed.tenant, "key", &old, deadline).unwrap().expect("the new one");
    assert_eq!(renewed[0].expose(), "t2", "the old tool's refusal is none of this token");
    bed.clock.advance_ms(3_600_000);
    bed.gives("t3");
    bed.showed(&["r0", "r0", "r0"]);
}

#[test]
fn tokens_that_ended_are_not_kept() {
    let bed = Bed::new([grants("t1", None)]);
    bed.gives("t1");
    bed.tokens.forget_stale();
    assert_eq!(bed.tokens.shown(&bed.tenant).len(), 1);
    bed.clock.advance_ms(3_600_000);
    bed.tokens.forget_stale();
    assert_eq!(bed.tokens.shown(&bed.tenant).len(), 0);
    bed.showed(&["r0"]);
}
