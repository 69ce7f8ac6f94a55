//! Whatever crosses the boundary comes back equal, and no panic crosses it: a plugin and a host in one process, with the
//! real root module between them.

#![allow(unsafe_code, reason = "an instance is made as the host's loader makes it")]
#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use plugin_abi::{
    __private::Adapter,
    host::{self, CallContext, CallFault, HostSide, WebhookParts},
    prelude::*,
    raw::{PluginModuleRef, RawInstance, header},
    testing::{FakeHost, hex_mac},
    time::OffsetDateTime,
    types::Credential,
    wire::TICKET_TEXT_BYTES_MAX,
};
use proptest::{
    collection::vec,
    option::of,
    prelude::{Just, Strategy, any, prop_oneof, proptest},
};

/// What a method was given.
struct Given<'a> {
    tenant: &'a Tenant<'a>,
    webhook: Option<&'a Webhook<'a>>,
    ticket_id: &'a str,
    note: Option<&'a Note<'a>>,
}

/// What a method answers.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    Flag(bool),
    Metadata(TicketMetadata),
    Ticket(Option<Ticket>),
}

type OnNew = fn(&Host<'_>) -> Result<(), PluginError>;
type Script = Rc<dyn Fn(&Given<'_>) -> Result<Answer, PluginError>>;

thread_local! {
    /// What the plugin on this thread does in each call; all calls of a test are made on the test's thread.
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
    static ON_NEW: RefCell<OnNew> = const { RefCell::new(|_| Ok(())) };
    static ON_DROP: RefCell<fn()> = const { RefCell::new(|| {}) };
}

struct Scripted;

fn act(given: &Given<'_>) -> Result<Answer, PluginError> {
    let script = SCRIPT.with_borrow(Clone::clone).expect("the test wrote a script");
    script(given)
}

fn flag(answer: Answer) -> bool {
    if let Answer::Flag(flag) = answer { flag } else { panic!("the script answers {answer:?}") }
}

impl TicketingToolPlugin for Scripted {
    const INFO: PluginInfo = plugin_info!("scripted");
    const FINDS_NOTES: bool = true;

    fn new(host: &Host<'_>) -> Result<Self, PluginError> {
        ON_NEW.with_borrow(|act| *act)(host).map(|()| Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        act(&Given { tenant, webhook: Some(webhook), ticket_id: "", note: None }).map(flag)
    }

    fn extract_metadata(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        match act(&Given { tenant, webhook: Some(webhook), ticket_id: "", note: None })? {
            Answer::Metadata(metadata) => Ok(metadata),
            other => panic!("the script answers {other:?}"),
        }
    }

    fn get_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        match act(&Given { tenant, webhook: None, ticket_id, note: None })? {
            Answer::Ticket(ticket) => Ok(ticket),
            other => panic!("the script answers {other:?}"),
        }
    }

    fn update_ticket(&self, tenant: &Tenant<'_>, ticket_id: &str, note: &Note<'_>) -> Result<bool, PluginError> {
        act(&Given { tenant, webhook: None, ticket_id, note: Some(note) }).map(flag)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        ON_DROP.with_borrow(|act| *act)();
    }
}

/// The plugin as the host has it.
struct Loaded {
    instance: RawInstance,
    host: Box<HostSide<FakeHost>>,
}

const METHODS: [&str; 4] = ["validate", "extract", "get", "update"];
const HEADERS: [(&str, &[u8]); 4] = [("b", b"1"), ("a", b"\xff\x00"), ("b", b"2"), ("empty", b"")];

impl Loaded {
    fn new(fake: FakeHost) -> Result<Self, Option<CallFault>> {
        let host = Box::new(HostSide(fake));
        let module: PluginModuleRef =
            header::<Adapter<Scripted>>().init_root_module().expect("plugin and host are of one build");
        let mut fault = None;
        // SAFETY: the module is this executable's own, which stays mapped; the box keeps the host where it is until after
        // `destroy`; the plugin starts no thread.
        let instance = unsafe {
            RawInstance::create(module, &*host, 1, &host::create_request("9.8.7"), &mut |reply| {
                fault = host::error_in(reply);
            })
        };
        instance.map(|instance| Self { instance, host }).ok_or(fault)
    }

    fn plain() -> Self {
        Self::new(FakeHost::new()).unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    /// Makes one call in which the plugin runs this script.
    fn call(
        &self,
        method: &str,
        script: impl Fn(&Given<'_>) -> Result<Answer, PluginError> + 'static,
    ) -> Result<Answer, CallFault> {
        SCRIPT.set(Some(Rc::new(script)));
        let settings =
            BTreeMap::from([("edition".to_owned(), "cloud".to_owned()), ("ünused".to_owned(), String::new())]);
        let context = CallContext {
            tenant_id: "globex",
            base_url: "https://desk.example/base",
            settings: &settings,
            attempt: 3,
            idempotency_key: Some("key"),
            deadline: instant(1_800_000_000, 999_999_999),
            replay_window: Duration::from_millis(300_001),
            replay_ahead: Duration::from_millis(45_001),
        };
        let webhook = WebhookParts {
            method: "POST",
            path: "/webhooks/globex",
            query: "a=%20",
            headers: || HEADERS.into_iter(),
            body: b"\0\xfe{}",
            received_at: instant(-5, 1),
        };
        let note = Note::new("*m*", "<p>h</p>", "té", "[x]");
        let (plugin, host) = (&self.instance, &*self.host);
        match method {
            "validate" => context
                .with_webhook(&webhook, |fields| host::validate_webhook(plugin, host, 2, fields))
                .map(|validated| Answer::Flag(validated.authentic)),
            "extract" => context
                .with_webhook(&webhook, |fields| host::extract_metadata(plugin, host, 2, fields))
                .map(Answer::Metadata),
            "get" => context
                .with_ticket("T/1 é", None, |fields| host::get_ticket(plugin, host, 2, fields))
                .map(Answer::Ticket),
            "update" => context
                .with_ticket("T/1 é", Some(&note), |fields| host::update_ticket(plugin, host, 2, fields))
                .map(|updated| {
                    assert!(updated.finds_notes, "the constant is told with each answer");
                    Answer::Flag(updated.taken)
                }),
            other => panic!("there is no method {other}"),
        }
    }

    fn destroy(self) -> Option<CallFault> {
        let mut fault = None;
        self.instance.destroy(&mut |reply| fault = host::error_in(reply));
        fault
    }
}

fn instant(seconds: i64, nanoseconds: u32) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanoseconds).unwrap()
}

/// Checks that every method gives back `error` when its plugin answers it.
fn check_error(error: &PluginError) {
    let plugin = Loaded::plain();
    for method in METHODS {
        let answered = error.clone();
        let outcome = plugin.call(method, move |_| Err(answered.clone()));
        assert_eq!(outcome, Err(CallFault::Plugin(error.clone())), "{method}");
    }
    assert_eq!(plugin.destroy(), None);
}

#[test]
fn a_call_arrives_as_it_was_made() {
    let plugin = Loaded::plain();
    for method in METHODS {
        let answer = match method {
            "extract" => Answer::Metadata(TicketMetadata::other()),
            "get" => Answer::Ticket(None),
            _ => Answer::Flag(true),
        };
        let (expected, in_webhook) = (answer.clone(), matches!(method, "validate" | "extract"));
        let outcome = plugin.call(method, move |given| {
            let tenant = given.tenant;
            assert_eq!((tenant.id(), tenant.base_url()), ("globex", "https://desk.example/base"));
            assert_eq!(
                (tenant.setting("edition"), tenant.setting("ünused"), tenant.setting("x")),
                (Some("cloud"), Some(""), None)
            );
            assert_eq!((tenant.attempt(), tenant.idempotency_key()), (3, Some("key")));
            assert_eq!(tenant.deadline(), instant(1_800_000_000, 999_999_999));
            assert_eq!(tenant.replay_window(), Duration::from_millis(300_001));
            assert_eq!(tenant.replay_ahead(), Duration::from_millis(45_001));
            assert_eq!(given.webhook.is_some(), in_webhook);
            if let Some(webhook) = given.webhook {
                assert_eq!((webhook.method(), webhook.path(), webhook.query()), ("POST", "/webhooks/globex", "a=%20"));
                assert!(webhook.headers().eq(HEADERS));
                assert_eq!((webhook.header("a"), webhook.header("b")), (Some(&b"\xff\x00"[..]), None));
                assert_eq!((webhook.body(), webhook.received_at()), (&b"\0\xfe{}"[..], instant(-5, 1)));
            } else {
                assert_eq!(given.ticket_id, "T/1 é");
            }
            if let Some(note) = given.note {
                assert_eq!(
                    (note.markdown(), note.html(), note.text(), note.marker()),
                    ("*m*", "<p>h</p>", "té", "[x]")
                );
            }
            Ok(answer.clone())
        });
        assert_eq!(outcome, Ok(expected), "{method}");
    }
    assert_eq!(plugin.call("update", |_| Ok(Answer::Flag(false))), Ok(Answer::Flag(false)));
    assert_eq!(plugin.destroy(), None);
}

#[test]
fn every_error_comes_back_equal() {
    let text = || "it is the tool's fault: \u{1F525}".to_owned();
    for error in [
        PluginError::Malformed(text()),
        PluginError::Validation(vec![]),
        PluginError::Validation(vec![FieldError::new("a.b", "is missing"), FieldError::new("", "")]),
        PluginError::Api { status: None, message: text() },
        PluginError::Api { status: Some(599), message: String::new() },
        PluginError::Authentication(text()),
        PluginError::RateLimit { retry_after: None, message: text() },
        PluginError::RateLimit { retry_after: Some(Duration::from_millis(93_001)), message: text() },
        PluginError::Configuration(text()),
        PluginError::NotFound(text()),
        PluginError::Cancelled,
        PluginError::Panicked { message: text(), location: "src/lib.rs:1:2".to_owned() },
    ] {
        check_error(&error);
    }
}

#[test]
fn the_information_is_in_the_module() {
    let module: PluginModuleRef = header::<Adapter<Scripted>>().init_root_module().unwrap();
    assert_eq!(module.info().as_str(), Scripted::INFO.json());
    let record: plugin_abi::export::InfoRecord = plugin_abi::serde_json::from_str(module.info().as_str()).unwrap();
    assert_eq!((record.tool_type.as_str(), record.name.as_str(), record.abi_major), ("scripted", "plugin-abi", 1));
}

#[test]
fn new_sees_the_host_and_its_errors_come_back() {
    ON_NEW.set(|host| Err(PluginError::Configuration(format!("{} {}", host.version(), host.now().unix_timestamp()))));
    let fault = Loaded::new(FakeHost::new().at(instant(77, 0))).err();
    assert_eq!(fault, Some(Some(CallFault::Plugin(PluginError::Configuration("9.8.7 77".to_owned())))));
}

#[test]
fn the_host_answers_callbacks() {
    let mac = hex_mac(b"s3cret", &[b"one", b"two"]);
    let mac: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&mac[2 * at..2 * at + 2], 16).unwrap()).collect();
    let fake = FakeHost::new().at(instant(1_700_000_000, 5)).secret("key", "s3cret").secret("odd", "no hex");
    let plugin = Loaded::new(fake).unwrap_or_else(|fault| panic!("{fault:?}"));
    let outcome = plugin.call("validate", move |given| {
        let tenant = given.tenant;
        assert_eq!(tenant.now(), instant(1_700_000_000, 5));
        assert_eq!(tenant.verify_hmac_sha256("key", &[b"one", b"two"], &mac), Ok(true));
        assert_eq!(tenant.verify_hmac_sha256("key", &[b"o", b"n", b"e", b"t", b"w", b"o"], &mac), Ok(true));
        assert_eq!(tenant.verify_hmac_sha256("key", &[b"two", b"one"], &mac), Ok(false));
        assert_eq!(tenant.verify_hmac_sha256("none", &[b"one", b"two"], &mac), Ok(false));
        assert_eq!(tenant.verify_hmac_sha256_with("odd", KeyForm::Hex, &[], &mac).unwrap_err().kind(), "configuration");
        assert_eq!(tenant.verify_secret("key", b"s3cret"), Ok(true));
        assert_eq!(tenant.verify_secret("key", b"\xff"), Ok(false));
        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            tenant.log(level, "line é");
        }
        Ok(Answer::Flag(true))
    });
    assert_eq!(outcome, Ok(Answer::Flag(true)));
    let levels: Vec<_> = plugin.host.0.logged().into_iter().map(|(level, text)| (level, text == "line é")).collect();
    assert_eq!(levels, [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error].map(|level| (level, true)));
    assert_eq!(plugin.destroy(), None);
}

#[test]
fn requests_and_answers_come_through_equal() {
    let requests = || {
        vec![
            Request::get("/plain"),
            Request::get("/q").path("a/b é").query("x", "&=").header("accept", "text/é").bearer("key"),
            Request::post("/f")
                .form(&[("a", "1&2"), ("b", "")])
                .basic("user", "key")
                .timeout(Duration::from_millis(1500)),
            Request::put("/j").json(&plugin_abi::serde_json::json!({"a": [1, null]})).basic_user("key", "X"),
            Request::patch("/b").body("application/octet-stream", vec![0, 255]).header_secret("authtoken", "key"),
            Request::delete("/d").header_secret_with_scheme("authorization", "Zoho-oauthtoken", "key"),
        ]
    };
    let headers = vec![("content-type".to_owned(), "x".to_owned()), ("set-cookie".to_owned(), String::new())];
    let answers = [
        Ok(Response::new(599, headers, vec![0, 255])),
        Ok(Response::new(204, Vec::new(), "")),
        Err(PluginError::Cancelled),
    ];
    for answer in answers {
        let count = requests().len();
        let fake = FakeHost::new().secret("key", "s3cret");
        let fake = (0..count).fold(fake, |fake, _| fake.answer_with(answer.clone()));
        let plugin = Loaded::new(fake).unwrap_or_else(|fault| panic!("{fault:?}"));
        let outcome = plugin.call("get", move |given| {
            for request in requests() {
                assert_eq!(given.tenant.http(request), answer);
            }
            assert_eq!(given.tenant.http(Request::get("/").path("..")).unwrap_err().kind(), "configuration");
            assert_eq!(given.tenant.http(Request::get("/").bearer("none")).unwrap_err().kind(), "configuration");
            Ok(Answer::Ticket(None))
        });
        assert_eq!(outcome, Ok(Answer::Ticket(None)));
        for (made, seen) in requests().iter().zip(plugin.host.0.requests()) {
            assert_eq!((made.target(), made.parts()), (seen.target(), seen.parts()));
        }
        assert_eq!(plugin.host.0.requests().len(), count);
        assert_eq!(plugin.destroy(), None);
    }
    // The names of secrets cross, and nothing of the secrets.
    assert_eq!(requests()[2].parts().2.map(Credential::secret), Some("key"));
}

/// A panic's payload whose drop panics too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload's drop");
    }
}

const PANICS: [(fn(), &str); 4] = [
    (|| panic!("plain"), "plain"),
    (|| panic!("with {}", "parts"), "with parts"),
    (|| std::panic::panic_any(7), "(the panic's payload is not text)"),
    (|| std::panic::panic_any(Bomb), "(the panic's payload is not text)"),
];

fn assert_panicked(fault: Option<CallFault>, expected: &str) {
    match fault {
        Some(CallFault::Plugin(PluginError::Panicked { message, location })) => {
            assert_eq!(message, expected);
            assert!(location.contains("roundtrip.rs:"), "{location}");
        }
        other => panic!("{other:?} is no panic"),
    }
}

#[test]
fn panics_in_methods_become_errors_and_the_plugin_goes_on() {
    let plugin = Loaded::plain();
    for method in METHODS {
        for (panics, expected) in PANICS {
            let outcome = plugin.call(method, move |_| {
                panics();
                Ok(Answer::Flag(true))
            });
            assert_panicked(outcome.err(), expected);
            assert_eq!(plugin.call("validate", |_| Ok(Answer::Flag(true))), Ok(Answer::Flag(true)));
        }
    }
    let long = plugin.call("get", |_| panic!("{}", "é".repeat(10_000))).unwrap_err();
    assert!(matches!(long, CallFault::Plugin(PluginError::Panicked { message, .. }) if message.len() == 2048));
    assert_eq!(plugin.destroy(), None);
}

#[test]
fn panics_in_new_and_drop_become_errors() {
    ON_NEW.set(|_| panic!("in new"));
    assert_panicked(Loaded::new(FakeHost::new()).err().flatten(), "in new");
    ON_NEW.set(|_| std::panic::panic_any(Bomb));
    assert_panicked(Loaded::new(FakeHost::new()).err().flatten(), "(the panic's payload is not text)");
    ON_NEW.set(|_| Ok(()));
    for (panics, expected) in PANICS {
        ON_DROP.set(panics);
        assert_panicked(Loaded::plain().destroy(), expected);
    }
    ON_DROP.set(|| {});
    assert_eq!(Loaded::plain().destroy(), None);
}

#[test]
fn a_reply_past_the_hosts_limits_is_refused() {
    let plugin = Loaded::plain();
    for (bytes, tags) in [((16 << 20) + 1, 0), (0, 4097)] {
        let outcome = plugin.call("extract", move |_| {
            let tags = vec![String::new(); tags];
            let resolution = Some("x".repeat(bytes));
            Ok(Answer::Metadata(TicketMetadata::new("1", Event::Resolved { resolution, resolved_at: None, tags })))
        });
        assert!(matches!(outcome, Err(CallFault::InvalidReply(_))), "{bytes} bytes, {tags} tags");
    }
    assert_eq!(plugin.destroy(), None);
}

#[test]
fn the_host_keeps_the_beginning_of_a_long_text_of_a_ticket() {
    let plugin = Loaded::plain();
    for (given, kept) in [
        ("x".repeat(TICKET_TEXT_BYTES_MAX), TICKET_TEXT_BYTES_MAX),
        ("x".repeat(TICKET_TEXT_BYTES_MAX + 1), TICKET_TEXT_BYTES_MAX),
        ("x".repeat(TICKET_TEXT_BYTES_MAX - 1) + "é", TICKET_TEXT_BYTES_MAX - 1),
    ] {
        let mut ticket = Ticket::new("7");
        (ticket.subject, ticket.description, ticket.resolution) = (Some(given.clone()), Some(given.clone()), None);
        let outcome = plugin.call("get", move |_| Ok(Answer::Ticket(Some(ticket.clone()))));
        let Ok(Answer::Ticket(Some(ticket))) = outcome else { panic!("{outcome:?}") };
        for text in [ticket.subject, ticket.description] {
            assert_eq!(text.as_deref(), Some(&given[..kept]));
        }
    }
    assert_eq!(plugin.destroy(), None);
}

fn any_time() -> impl Strategy<Value = OffsetDateTime> {
    // The years -9999 to 9999, all that `time` has.
    (-377_705_116_800_i64..=253_402_300_799, 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| instant(seconds, nanos))
}

fn any_priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Medium), Just(Priority::High)]
}

fn any_event() -> impl Strategy<Value = Event> {
    let resolved = (of(any::<String>()), of(any_time()), vec(any::<String>(), 0..5))
        .prop_map(|(resolution, resolved_at, tags)| Event::Resolved { resolution, resolved_at, tags });
    prop_oneof![Just(Event::Created), Just(Event::Updated), Just(Event::Reopened), Just(Event::Other), resolved]
}

fn any_metadata() -> impl Strategy<Value = TicketMetadata> {
    let texts = (any::<String>(), vec(of(any::<String>()), 6));
    (texts, any_event(), any_priority(), of(any_time()), of(any_time())).prop_map(
        |((id, texts), event, priority, created_at, occurred_at)| {
            let mut metadata = TicketMetadata::new(id, event);
            let mut texts = texts.into_iter();
            let mut next = || texts.next().flatten();
            metadata.tenant_id = next();
            metadata.subject = next();
            metadata.description = next();
            metadata.raw_priority = next();
            metadata.delivery_id = next();
            metadata.url = next();
            metadata.priority = priority;
            metadata.created_at = created_at;
            metadata.occurred_at = occurred_at;
            metadata
        },
    )
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    let texts = (any::<String>(), any::<String>(), vec(of(any::<String>()), 6));
    (texts, any_priority(), vec(of(any_time()), 3)).prop_map(|((id, raw, texts), priority, times)| {
        let mut ticket = Ticket::new(id);
        let mut texts = texts.into_iter();
        let mut next = || texts.next().flatten();
        ticket.subject = next();
        ticket.description = next();
        ticket.status = next();
        ticket.requester = next();
        ticket.resolution = next();
        ticket.url = next();
        ticket.raw = raw;
        ticket.priority = priority;
        (ticket.created_at, ticket.updated_at, ticket.resolved_at) = (times[0], times[1], times[2]);
        ticket
    })
}

proptest! {
    #[test]
    fn any_metadata_comes_back_equal(metadata in any_metadata()) {
        let plugin = Loaded::plain();
        let answer = Answer::Metadata(metadata);
        let expected = answer.clone();
        assert_eq!(plugin.call("extract", move |_| Ok(answer.clone())), Ok(expected));
        assert_eq!(plugin.destroy(), None);
    }

    #[test]
    fn any_ticket_comes_back_equal_but_for_its_raw_json(ticket in any_ticket()) {
        let plugin = Loaded::plain();
        let mut expected = ticket.clone();
        expected.raw.clear();
        let answer = Answer::Ticket(Some(ticket));
        assert_eq!(plugin.call("get", move |_| Ok(answer.clone())), Ok(Answer::Ticket(Some(expected))));
        assert_eq!(plugin.destroy(), None);
    }

    #[test]
    fn any_fault_list_comes_back_equal(faults in vec((any::<String>(), any::<String>()), 0..20)) {
        check_error(&PluginError::Validation(faults.into_iter().map(|(field, text)| FieldError::new(field, text)).collect()));
    }
}
