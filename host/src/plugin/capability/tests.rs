//! What the answers of one tenant's calls take of the room for them, and for how long.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::{
    config::Config,
    ids::TenantId,
    tenant::{NewTenant, directory::tests::open_in},
};

/// More than half of it is one tenant's whole part of the room.
const ANSWER_BYTES: usize = 256 << 10;

struct Bed {
    capability: Capability,
    tenant: Arc<Tenant>,
    _runtime: Runtime,
    _folder: TempDir,
}

impl Bed {
    /// A generation with two threads, and a tenant whose tool answers all that it is asked with [`ANSWER_BYTES`].
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let clock = Clock::system();
        let (_store, directory) = runtime.block_on(open_in(folder.path(), &clock));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {ANSWER_BYTES}\r\n\r\n");
                // A host that has no room for it hangs up.
                let _gone = stream.read(&mut [0; 4096]);
                let _gone = stream.write_all(&[head.as_bytes(), &[b' '; ANSWER_BYTES]].concat());
            }
        });
        let tool_type = ToolType::parse("desk").unwrap();
        let tenant = NewTenant::new(TenantId::parse("acme").unwrap(), tool_type.clone(), url).check().unwrap();
        let mut config = Config::load(None, std::iter::empty(), Path::new("/nowhere")).unwrap().http;
        (config.answer_bytes_max, config.answers_bytes_max) = (ANSWER_BYTES, 2 * ANSWER_BYTES);
        let capability = Capability::new(tool_type, 1, Services::new(directory, &config, clock), 2);
        Self { capability, tenant: Arc::new(tenant), _runtime: runtime, _folder: folder }
    }

    fn begin(&self, place: usize) -> u64 {
        let scope = CallScope {
            tenant: Arc::clone(&self.tenant),
            method: Method::GET_TICKET,
            time: Arc::new(CallTime::new(&self.capability.services.pulse, Duration::from_secs(60))),
            correlation_id: CorrelationId::fresh(),
            job: None,
        };
        self.capability.begin(place, scope)
    }

    /// How many bytes the call got; a word when it got none.
    fn ask(&self, call: u64) -> Result<usize, &'static str> {
        let answer = self.capability.http(call, &Request::get("/7"));
        answer.map(|answer| answer.body().len()).map_err(|error| error.kind())
    }
}

#[test]
fn an_answer_takes_room_until_its_call_asks_again_or_ends() {
    let bed = Bed::new();
    let (one, other) = (bed.begin(0), bed.begin(1));
    assert_eq!(bed.ask(one), Ok(ANSWER_BYTES));
    assert_eq!(bed.ask(other), Err("api"), "the plugin still has the answer of the first call");
    assert_eq!(bed.ask(one), Ok(ANSWER_BYTES), "its next answer takes the place of the one before");
    assert_eq!(bed.ask(other), Err("api"));
    bed.capability.end(0, None);
    assert_eq!(bed.ask(one), Err("configuration"), "that call is over");
    assert_eq!(bed.ask(other), Ok(ANSWER_BYTES));
}
