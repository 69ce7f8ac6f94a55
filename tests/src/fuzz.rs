//! Properties of everything that reads strangers' input: the bodies of the fuzz targets in `tests/fuzz`, and of the
//! tests that run them without a fuzzer. For payloads it is the SDK's `assert_answered`.

use patchbay::{http::tenant_scan::tenant_id, ids::ToolType, plugin::elf};
use plugin_abi::{
    json::Json,
    payload::instant,
    prelude::*,
    serde_json::Value,
    signature::{Encoding, Presented, Timestamped},
    testing::{FakeHost, base64_mac},
    time::format_description::well_known::Rfc3339,
};

/// The host's inspection of a plugin's file can name whatever it accepts.
pub fn elf_note(bytes: &[u8]) {
    if let Ok(elf::Notes { info, .. }) = elf::inspect(bytes) {
        ToolType::parse(&info.tool_type).expect("what is taken has a tool type");
    }
}

/// The scan for a body's tenant agrees with a full reader wherever that can read the body.
pub fn tenant_scan(body: &[u8]) {
    let of_json = |charset: &str| Some(format!("application/json; charset={charset}").into_bytes());
    for content_type in [None, of_json("iso-8859-1"), of_json("utf-16"), of_json("shift_jis")] {
        let content_type = content_type.as_deref();
        let whole = Json::new(body, content_type).parse::<Value>();
        if let (Some(found), Ok(value)) = (tenant_id(body, content_type), whole) {
            assert_eq!(value["tenant_id"], found);
        }
    }
}

/// A parsed time of a payload can be written, and reads back as the same.
pub fn times(text: &[u8]) {
    let Some(at) = std::str::from_utf8(text).ok().and_then(instant) else { return };
    let written = at.format(&Rfc3339).expect("years have four digits");
    assert_eq!(instant(&written), Some(at), "{written}");
}

/// The ready schemes, on lines of a proof and a time stamp with a body after them: without the secret nothing is
/// authentic.
pub fn signatures(bytes: &[u8]) {
    thread_local! {
        // No input can contain a proof with this secret: it is as long as a MAC, and made by this very program.
        static HOST: FakeHost = FakeHost::new().secret("s", &base64_mac(b"fuzz", &[b"secret"]));
    }
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let (proof, stamp, body) = (next(), next(), next());
    let scheme = Timestamped::new("proof", "stamp", Encoding::Base64).separator(":");
    let headers = [
        ("proof", proof),
        ("stamp", stamp),
        ("authorization", proof),
        ("webhook-id", b"msg_1"),
        ("webhook-timestamp", stamp),
        ("webhook-signature", proof),
    ];
    HOST.with(|host| {
        let tenant = host.tenant();
        host.with_webhook(&headers, "", body, |webhook| {
            let verdicts = [
                signature::hub(&tenant, "s", webhook, "proof"),
                signature::bare(&tenant, "s", webhook, "proof", Encoding::Hex),
                signature::bare(&tenant, "s", webhook, "proof", Encoding::Base64),
                signature::timestamped(&tenant, "s", webhook, &scheme),
                signature::standard_webhooks(&tenant, "s", webhook),
                signature::static_token(&tenant, "s", webhook, "authorization"),
                Presented::Basic { user: "patchbay" }.holds(&tenant, "s", webhook),
                signature::atlassian_connect(&tenant, "s", webhook, ""),
            ];
            assert!(verdicts.iter().all(|verdict| *verdict == Ok(false)), "{verdicts:?}");
        });
    });
}
