//! A plugin of 1.1 in a host of 1.0. The host omits fields of 1.1 from its requests, and reads replies by the numbers
//! that it knows.

#![allow(unsafe_code, reason = "an instance is made as the host's loader makes it")]

use plugin_abi::{
    __private::Adapter,
    host::HostSide,
    prelude::*,
    raw::{Field, Method, RawInstance, Tag, header},
    testing::FakeHost,
    time::Duration,
};

/// A plugin that reports its ticket as reopened. It accepts webhooks signed as many seconds ahead as the body says, if
/// that is recent.
struct Current;

impl TicketingToolPlugin for Current {
    const INFO: PluginInfo = plugin_info!("current");

    fn new(_host: &Host<'_>) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn validate_webhook(&self, tenant: &Tenant<'_>, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        let ahead: u32 = webhook.json().parse()?;
        Ok(tenant.is_fresh(webhook.received_at() + Duration::seconds(ahead.into()), webhook.received_at()))
    }

    fn extract_metadata(&self, _tenant: &Tenant<'_>, _webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
        Ok(TicketMetadata::new("7", Event::Reopened))
    }

    fn get_ticket(&self, _tenant: &Tenant<'_>, _ticket_id: &str) -> Result<Option<Ticket>, PluginError> {
        Ok(None)
    }

    fn update_ticket(&self, _tenant: &Tenant<'_>, _id: &str, _note: &Note<'_>) -> Result<bool, PluginError> {
        Ok(false)
    }
}

/// The reply's fields.
fn call(method: Method, request: &[Field<'_>]) -> Vec<(Tag, Vec<u8>)> {
    let module = header::<Adapter<Current>>().init_root_module().expect("plugin and host are of one build");
    let host = HostSide(FakeHost::new());
    // SAFETY: the module is this executable's own, which stays mapped, and `host` stays where it is until the plugin has
    // been destroyed.
    let plugin =
        unsafe { RawInstance::create(module, &host, 0, &[Field::text(Tag::HOST_VERSION, "1.0.0")], &mut |_| {}) };
    let plugin = plugin.expect("it is made");
    let mut answer = Vec::new();
    plugin.call(method, &host, 1, request, &mut |reply| {
        answer = reply.iter().map(|field| (field.tag(), field.bytes().to_vec())).collect();
    });
    plugin.destroy(&mut |_| {});
    answer
}

/// The kind of event as 1.0 reads its number: unknown ones make no work.
fn event_of_1_0(number: u8) -> &'static str {
    match number {
        1 => "created",
        2 => "updated",
        3 => "resolved",
        _ => "other",
    }
}

#[test]
fn a_reopened_ticket_makes_no_work() {
    let reply = call(Method::EXTRACT_METADATA, &[Field::new(Tag::BODY, b"{}")]);
    let (_, event) = reply.iter().find(|(tag, _)| *tag == Tag::EVENT).expect("it says what happened");
    assert_eq!(event_of_1_0(event[0]), "other", "{reply:?}");
}

#[test]
fn half_a_minute_ahead_is_taken_where_the_host_does_not_say_how_much() {
    // Whole milliseconds; times are in seconds and nanoseconds.
    let window = 300_000_u64.to_le_bytes();
    let ahead = 120_000_u64.to_le_bytes();
    let received = [&1_772_439_300_i64.to_le_bytes()[..], &0_u32.to_le_bytes()].concat();
    for (of_the_tenant, seconds, expected) in
        [(None, "30", 1), (None, "31", 0), (Some(&ahead), "31", 1), (Some(&ahead), "120", 1), (Some(&ahead), "121", 0)]
    {
        let mut request = vec![
            Field::new(Tag::REPLAY_WINDOW, &window),
            Field::new(Tag::RECEIVED_AT, &received),
            Field::new(Tag::BODY, seconds.as_bytes()),
        ];
        request.extend(of_the_tenant.map(|ahead| Field::new(Tag::REPLAY_AHEAD, ahead)));
        // A host of 1.0 ignores the additional reason.
        let reply = call(Method::VALIDATE_WEBHOOK, &request);
        let outcome = reply.iter().find(|(tag, _)| *tag == Tag::OUTCOME).map(|(_, value)| &value[..]);
        assert_eq!(outcome, Some(&[expected][..]), "{seconds} s ahead, {of_the_tenant:?}");
    }
}
