//! Real senders' bodies, and a hundred thousand generated ones.

use plugin_abi::testing::Random;
use serde_json::Value;

use super::*;

const LATIN_1: &str = "application/json; charset=ISO-8859-1";
const UTF_16: &str = "application/json; charset=utf-16";

#[track_caller]
fn check(body: &[u8], content_type: Option<&str>, expected: Option<&str>) {
    let found = tenant_id(body, content_type.map(str::as_bytes));
    assert_eq!(found.as_deref(), expected, "{} {content_type:?}", body.escape_ascii());
}

#[test]
fn only_one_top_level_text_counts() {
    for (body, expected) in [
        (r#"{"tenant_id":"acme"}"#, Some("acme")),
        (r#"{"a":{"tenant_id":"x"},"tenant_id":"acme","b":[1]}"#, Some("acme")),
        (r#"{"\u0074enant_id":"acme"}"#, Some("acme")),
        (r#"{"tenant_id":"a","tenant_id":"a"}"#, None),
        (r#"{"tenant_id":"a","\u0074enant_id":"b"}"#, None),
        (r#"{"tenant_id":null,"tenant_id":"b"}"#, None),
        (r#"{"tenant_id":7}"#, None),
        (r#"{"tenant_id":7.0}"#, None),
        (r#"{"tenant_id":null}"#, None),
        (r#"{"tenant_id":["acme"]}"#, None),
        (r#"{"other":"acme"}"#, None),
        (r#"["tenant_id"]"#, None),
        (r#"["acme"]"#, None),
        (r#"{"tenant_id":"acme"} {}"#, None),
        (r#"{"tenant_id":"acme""#, None),
        ("", None),
    ] {
        check(body.as_bytes(), None, expected);
        check(body.as_bytes(), Some(LATIN_1), expected);
        check(format!("\u{feff}{body}").as_bytes(), None, expected);
        check(&utf16(body, u16::to_le_bytes), Some(UTF_16), expected);
        check(&utf16(body, u16::to_be_bytes), None, expected);
    }
}

#[test]
fn what_stands_elsewhere_may_be_dirty() {
    for dirty in [r#""cut \ud83d""#, r#""\udc00\ud800""#, "1e400", "99999999999999999999999", "5158.0"] {
        check(format!(r#"{{"a":{dirty},"tenant_id":"acme"}}"#).as_bytes(), None, Some("acme"));
        check(format!(r#"{{"tenant_id":"acme","subject":[{dirty}]}}"#).as_bytes(), None, Some("acme"));
    }
    check(br#"{"cut \ud83d":1,"tenant_id":"acme"}"#, None, Some("acme"));
    check(br#"{"cut \ud83d":1,"tenant_id":"acme","\u0074enant_id":"acme"}"#, None, None);
    check(b"{\"a\":\"\xed\xa0\xbd \xff\",\"tenant_id\":\"acme\"}", None, Some("acme"));
    check(b"{\"a\":\"B\xfcro\",\"tenant_id\":\"acme\"}", Some(LATIN_1), Some("acme"));
    check(b"{\"a\":\"B\xfcro\",\"tenant_id\":\"acme\"}", Some("application/json"), Some("acme"));
    check(br#"{"tenant_id":"acme\ud83d"}"#, None, Some("acme\u{fffd}"));
}

#[test]
fn nothing_is_a_way_to_hurt() {
    const TIMES: usize = 200_000;
    let deep = format!(r#"{{"a":{}{},"tenant_id":"acme"}}"#, "[".repeat(TIMES), "]".repeat(TIMES));
    check(deep.as_bytes(), None, Some("acme"));
    check(format!("\u{feff}{deep}").as_bytes(), None, Some("acme"));
    let cut = format!(r#"{{"a\ud83d":"{}","tenant_id":"acme"}}"#, r"\ud83d".repeat(TIMES));
    check(cut.as_bytes(), None, Some("acme"));
    let many = format!(r#"{{{}"tenant_id":"acme"}}"#, r#""\ud83d":1e5,"#.repeat(TIMES));
    check(many.as_bytes(), None, Some("acme"));
}

fn utf16(text: &str, order: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

/// A body, and its content.
struct Body {
    bytes: Vec<u8>,
    content_type: Option<&'static str>,
    tenant_id: Option<String>,
}

/// Pieces of texts: plain, to be escaped, beyond ASCII, and both halves of a surrogate pair.
const PIECES: [&[u16]; 9] =
    [&[0x61], &[0x41, 0x2d, 0x37], &[0x22], &[0x5c], &[0x0a], &[0xfc], &[0x20ac], &[0xd83d], &[0xde00]];

fn any_text(random: &mut Random) -> Vec<u16> {
    (0..random.below(4)).flat_map(|_| PIECES[random.below(PIECES.len())]).copied().collect()
}

/// A JSON text in UTF-16, which may contain halves of pairs.
fn written(random: &mut Random, text: &[u16], escape_beyond: u16) -> Vec<u16> {
    let mut out = vec![0x22];
    // Escapes all halves in a text or none: two adjacent ones form a pair.
    let escape_halves = random.below(2) == 0;
    for unit in text {
        let must = *unit < 0x20 || matches!(unit, 0x22 | 0x5c) || *unit > escape_beyond;
        let may = if matches!(unit, 0xd800..=0xdfff) { escape_halves } else { random.below(8) == 0 };
        if must || may {
            out.extend(format!("\\u{unit:04x}").encode_utf16());
        } else {
            out.push(*unit);
        }
    }
    out.push(0x22);
    out
}

fn any_body(random: &mut Random) -> Body {
    const KEY: &str = "tenant_id";
    const OTHERS: [&str; 10] = [
        "null",
        "true",
        "-7",
        "5158.0",
        "1e400",
        "12345678901234567890123",
        "[]",
        "[[{}],{\"tenant_id\":\"x\"}]",
        "{\"tenant_id\":\"y\",\"tenant_id\":1}",
        "[\"\\ud83d\"]",
    ];
    let form = random.below(6);
    // Characters outside ISO-8859-1 are escaped.
    let escape_beyond = if form == 5 { 0xff } else { u16::MAX };
    let mut body: Vec<u16> = Vec::new();
    let mut named = Vec::new();
    for _ in 0..random.below(5) {
        body.push(if body.is_empty() { 0x7b } else { 0x2c });
        let is_named = random.below(3) == 0;
        let key = if is_named { KEY.encode_utf16().collect() } else { any_text(random) };
        body.extend(written(random, &key, escape_beyond));
        body.extend(" : ".encode_utf16());
        let value = (random.below(4) > 0).then(|| any_text(random));
        match &value {
            Some(text) => body.extend(written(random, text, escape_beyond)),
            // Numbers too large for any machine are left out, because every reader reads them as texts.
            None if is_named => body.extend(OTHERS[random.below(4)].encode_utf16()),
            None => body.extend(OTHERS[random.below(OTHERS.len())].encode_utf16()),
        }
        if is_named {
            named.push(value);
        }
    }
    body.extend(if body.is_empty() { &[0x7b, 0x7d][..] } else { &[0x7d] });
    let damage = random.below(12);
    match damage {
        0 => drop(body.pop()),
        1 => body.push(0x78),
        2 => body = [&[0x5b], &body[..], &[0x5d]].concat(),
        _ => {}
    }
    let tenant_id = match &named[..] {
        [Some(text)] if damage > 2 => Some(String::from_utf16_lossy(text)),
        _ => None,
    };
    let (bytes, content_type) = encoded(&body, form);
    Body { bytes, content_type, tenant_id }
}

fn encoded(body: &[u16], form: usize) -> (Vec<u8>, Option<&'static str>) {
    let mark = [0xfeff];
    match form {
        0 => (wtf8(body), None),
        1 => (wtf8(&[&mark, body].concat()), Some("application/json; charset=utf-8")),
        2 => (body.iter().copied().flat_map(u16::to_le_bytes).collect(), Some(UTF_16)),
        3 => ([&mark, body].concat().into_iter().flat_map(u16::to_be_bytes).collect(), Some("application/json")),
        4 => (body.iter().copied().flat_map(u16::to_be_bytes).collect(), None),
        _ => (body.iter().map(|unit| unit.to_le_bytes()[0]).collect(), Some(LATIN_1)),
    }
}

/// UTF-8, with half a pair encoded as Java does.
fn wtf8(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) => {
                let [high, low] = half.unpaired_surrogate().to_be_bytes();
                bytes.extend([0xed, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]);
            }
        }
    }
    bytes
}

/// The host finds the same tenant in each body as a plugin, and it is the one written into the body.
#[test]
fn host_and_plugins_see_the_same_tenant() {
    const BODIES: u64 = 100_000;
    let mut named = 0;
    for seed in 0..BODIES {
        let Body { bytes, content_type, tenant_id: expected } = any_body(&mut Random(seed));
        let content_type = content_type.map(str::as_bytes);
        let shown = || format!("{} {content_type:?}", bytes.escape_ascii());
        let found = tenant_id(&bytes, content_type);
        assert_eq!(found, expected, "{}", shown());
        named += u64::from(found.is_some());
        let json = Json::new(&bytes, content_type);
        // A plugin reads more fields than the tenant, so more may be repaired.
        let read = json.object(|bytes| {
            members(bytes, &["subject", "tenant_id", "a"]).map_err(|fault| PluginError::Malformed(fault.to_string()))
        });
        if let Ok([_, tenant, _]) = read {
            assert_eq!(tenant.text(), found.as_deref(), "{}", shown());
        }
        if let (Some(found), Ok(value)) = (&found, json.parse::<Value>()) {
            assert_eq!(value["tenant_id"], **found, "{}", shown());
        }
    }
    assert!((BODIES / 10..BODIES / 2).contains(&named), "{named} bodies name a tenant");
}
