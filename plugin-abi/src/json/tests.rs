//! Dirty JSON of every kind, and any JSON at all: what is valid is read, and nothing panics.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::payload::{Scalar, members};

#[track_caller]
fn check(bytes: &[u8], content_type: &str, expected: &str) {
    let json = Json::new(bytes, Some(content_type.as_bytes()));
    let value: Value = json.parse().unwrap_or_else(|error| panic!("{}: {error}", bytes.escape_ascii()));
    assert_eq!(value, serde_json::from_str::<Value>(expected).unwrap(), "{}", bytes.escape_ascii());
}

fn utf16(text: &str, order: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

#[test]
fn charsets_and_byte_order_marks() {
    const PLAIN: &str = "application/json";
    let ticket = r#"{"subject":"Drücker № 7"}"#;
    check(b"\xef\xbb\xbf{\"a\":1}", PLAIN, r#"{"a":1}"#);
    check(b"\xef\xbb\xbf\xef\xbb\xbf1", PLAIN, "1");
    check(b"{\"a\":\"Dr\xfccker\"}", "application/json; charset=ISO-8859-1", r#"{"a":"Drücker"}"#);
    check(b"{\"a\":\"Dr\xfccker\"}", "application/json; charset=\"Latin1\"", r#"{"a":"Drücker"}"#);
    check(b"{\"a\":\"\x80 5 \x96 6\"}", "text/json;version=1;CharSet=windows-1252 ", r#"{"a":"€ 5 – 6"}"#);
    check(b"{\"a\":\"\x83\x5c\"}", "application/json; charset=Shift_JIS", r#"{"a":"ソ"}"#);
    check(b"{\"a\":\"\x1b$B%=\x1b(B\"}", "application/json; charset=ISO-2022-JP", r#"{"a":"ソ"}"#);
    check(b"{\"a\":\"\xd0\xd2\"}", "application/json; charset=koi8-r", r#"{"a":"пр"}"#);
    check(ticket.as_bytes(), "application/json; charset=utf-8", ticket);
    check(ticket.as_bytes(), "application/json; charset=no-such-charset", ticket);
    check(ticket.as_bytes(), "application/json; charset=iso-2022-kr", ticket);
    for content_type in [PLAIN, "application/json; charset=utf-16", "application/json; charset=UTF-16LE"] {
        check(&utf16(ticket, u16::to_le_bytes), content_type, ticket);
        check(&utf16(&format!("\u{feff}{ticket}"), u16::to_le_bytes), content_type, ticket);
        check(&utf16(&format!("\u{feff}{ticket}"), u16::to_be_bytes), content_type, ticket);
    }
    check(&utf16(ticket, u16::to_be_bytes), "application/json; charset=utf-16", ticket);
    // A mark says more than a content type.
    check(&[b"\xef\xbb\xbf", ticket.as_bytes()].concat(), "application/json; charset=ISO-8859-1", ticket);
}

#[test]
fn half_characters_and_bytes_that_are_none() {
    for (bytes, expected) in [
        (&br#"["cut \ud83d"]"#[..], r#"["cut �"]"#),
        (br#"["\ude00\ud83d\ude00\uD83D"]"#, r#"["�😀�"]"#),
        (br#"["\ud83d\ud83d\ude00\n"]"#, r#"["�😀\n"]"#),
        (br#"["\\ud83d"]"#, r#"["\\ud83d"]"#),
        (br#"["\ud83d\\ude00"]"#, r#"["�\\ude00"]"#),
        (br#"{"\udfff":"\u0041"}"#, r#"{"�":"A"}"#),
        (b"[\"\xed\xa0\xbd\"]", r#"["�"]"#),
        (b"[\"\xed\xa0\xbd\xed\xb8\x80\"]", r#"["😀"]"#),
        (b"[\"\xed\xb8\x80\xed\xa0\xbd \xed\xa0\"]", r#"["�� ��"]"#),
        (b"[\"Dr\xfccker \xe9\"]", r#"["Dr�cker �"]"#),
    ] {
        check(bytes, "application/json", expected);
    }
}

#[test]
fn numbers_of_every_kind() {
    let scalar = |text: &str| {
        let text = format!(r#"{{"a":{text}}}"#);
        let json = Json::new(text.as_bytes(), None);
        let [a] = json.read(|bytes| members(bytes, &["a"])).unwrap_or_else(|error| panic!("{text}: {error}"));
        match a {
            Scalar::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
            Scalar::Number(number) => Scalar::Number(number),
            Scalar::Other => Scalar::Other,
            other => panic!("{text}: {other:?}"),
        }
    };
    for (text, expected) in [
        ("5158.0", 5158),
        ("1.796E12", 1_796_000_000_000),
        ("1.5e+1", 15),
        ("1500e-2", 15),
        ("0.0", 0),
        ("-0", 0),
        ("-0.0e5", 0),
        ("0e999999999999999999999", 0),
        ("9007199254740991.0", 9_007_199_254_740_991),
        ("9007199254740993", 9_007_199_254_740_993),
        ("9007199254740993.0", 9_007_199_254_740_993),
        ("100000000000000101.0", 100_000_000_000_000_101),
        ("1.00000000000000101e17", 100_000_000_000_000_101),
        ("18446744073709551615", u64::MAX),
        ("1.8446744073709551615e19", u64::MAX),
    ] {
        assert_eq!(scalar(text), Scalar::Number(expected), "{text}");
    }
    let digits = "1".repeat(100);
    let longer = "1".repeat(101);
    for (text, expected) in [
        ("18446744073709551616", "18446744073709551616"),
        ("36893488147419103233.00", "36893488147419103233"),
        ("1e99", &format!("1{}", "0".repeat(99))),
        (&digits, &digits),
        (&longer, &longer),
        ("1e100", "1e100"),
        ("1e400", "1e400"),
        ("1e99999999999999999999999", "1e99999999999999999999999"),
    ] {
        assert_eq!(scalar(text), Scalar::Text(expected.into()), "{text}");
    }
    for text in ["0.5", "-1", "-5158.0", "1e-300", "2.5e-1", "0.1e1000e"] {
        if text.ends_with('e') {
            let text = format!(r#"{{"a":{text}}}"#);
            assert!(Json::new(text.as_bytes(), None).read(|bytes| members(bytes, &["a"])).is_err(), "{text}");
        } else {
            assert_eq!(scalar(text), Scalar::Other, "{text}");
        }
    }
}

#[test]
fn what_is_no_json_stays_none_and_the_place_is_told() {
    for text in ["", "{", r#"{"a":"#, "01", "1.", ".5", "1e", "+1", "\"\\ud83\"", "\"\\", "\"a\nb\"", "nul", "{}{}"] {
        assert!(Json::new(text.as_bytes(), None).parse::<Value>().is_err(), "{text}");
    }
    let Err(PluginError::Malformed(message)) = Json::new(b"\xef\xbb\xbf{\"a\":\n tru}", None).parse::<Value>() else {
        panic!("it was read")
    };
    assert!(message.contains("line 2 column 5"), "{message}");
    let no_object = Json::new(b" [1]", None).object(|_| Ok(()));
    assert_eq!(no_object, Err(PluginError::Malformed("not a JSON object".to_owned())));
    assert_eq!(Json::new(b"\xef\xbb\xbf {}", None).object(|bytes| Ok(bytes.to_vec())), Ok(b" {}".to_vec()));
}

#[test]
fn a_body_without_faults_is_read_once() {
    let calls = std::cell::Cell::new(0);
    let json = Json::new(br#"{"a":1}"#, Some(b"application/json"));
    let read = json.read(|bytes| {
        calls.set(calls.get() + 1);
        if bytes.is_empty() { Ok(()) } else { Err("no") }
    });
    assert_eq!((read, calls.get()), (Err("no"), 1), "there was nothing to mend");
}

#[test]
fn content_types() {
    for (content_type, is, unknown) in [
        ("application/json", true, None),
        ("Application/JSON; charset=utf-8", true, None),
        ("application/problem+json;charset=\"x-nothing\"", true, Some("x-nothing")),
        ("text/json; charset= ascii ;x=y", true, None),
        ("application/jsonp", false, None),
        ("text/plain; charset=klingon", false, Some("klingon")),
        ("application/json; charset", true, None),
        // The standard knows it by name, and has nobody read it.
        ("application/json; charset=iso-2022-kr", true, Some("iso-2022-kr")),
        ("", false, None),
    ] {
        assert_eq!(is_json(content_type.as_bytes()), is, "{content_type}");
        assert_eq!(unknown_charset(content_type.as_bytes()).as_deref(), unknown, "{content_type}");
    }
}

/// A text as its pieces are written, and what it says.
fn text() -> impl Strategy<Value = (Vec<u8>, String)> {
    let plain = "[ -!#-\\[\\]-~é№😀]{0,4}".prop_map(|text: String| (text.clone().into_bytes(), text));
    let escaped = any::<u16>().prop_map(|unit| {
        let said = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
        (format!("\\u{unit:04x}").into_bytes(), said.to_string())
    });
    let pair = any::<char>().prop_filter("of two units", |c| c.len_utf16() == 2).prop_map(|c| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units);
        (format!("\\u{:04X}\\u{:04x}", units[0], units[1]).into_bytes(), c.to_string())
    });
    let short = prop_oneof![
        Just((br#"\""#.to_vec(), "\"".to_owned())),
        Just((br"\\".to_vec(), "\\".to_owned())),
        Just((br"\/".to_vec(), "/".to_owned())),
        Just((br"\n".to_vec(), "\n".to_owned())),
    ];
    // WTF-8, with something behind it: two halves would be one character.
    let half = (0xA0_u8..=0xBF, 0x80_u8..=0xBF)
        .prop_map(|(second, third)| (vec![0xED, second, third, b'.'], "\u{fffd}.".to_owned()));
    // A single escape between two others that could pair with it gets a separator, for the same reason.
    let escaped = escaped.prop_map(|(mut bytes, said)| {
        bytes.push(b'_');
        (bytes, said + "_")
    });
    prop::collection::vec(prop_oneof![plain, escaped, pair, short, half], 0..6).prop_map(|pieces| {
        let bytes = pieces.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        (bytes, pieces.into_iter().map(|(_, said)| said).collect())
    })
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    [b"\"", bytes, b"\""].concat()
}

/// Any JSON as bytes, and as serde_json understands it once it is mended.
fn any_json() -> impl Strategy<Value = (Vec<u8>, Option<Value>)> {
    let literal = prop_oneof![
        Just((b"null".to_vec(), Some(Value::Null))),
        Just((b"true".to_vec(), Some(Value::Bool(true)))),
        Just((b"false".to_vec(), Some(Value::Bool(false)))),
    ];
    // What a number becomes depends on whether anything was mended; that it can be read is what counts here.
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,8})?([eE][+-]?[0-9]{1,4})?"
        .prop_map(|text: String| (text.into_bytes(), None));
    let text = text().prop_map(|(bytes, said)| (quoted(&bytes), Some(Value::String(said))));
    let leaf = prop_oneof![literal, number, text];
    leaf.prop_recursive(6, 64, 5, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5).prop_map(|items| {
            let bytes = items.iter().map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>().join(&b" ,\t"[..]);
            let value = items.into_iter().map(|(_, value)| value).collect::<Option<Vec<_>>>();
            ([b"[", &bytes[..], b" ]"].concat(), value.map(Value::Array))
        });
        let object =
            prop::collection::btree_map("[a-z]{1,6}", (super::tests::text(), inner), 0..5).prop_map(|members| {
                let mut written = Vec::new();
                let mut value = Some(serde_json::Map::new());
                for (name, ((key, said), (bytes, inner))) in members {
                    // The name before it keeps keys apart.
                    written.push([&quoted(&[name.as_bytes(), &key].concat())[..], b" :\r\n", &bytes].concat());
                    match (&mut value, inner) {
                        (Some(map), Some(inner)) => drop(map.insert(name + &said, inner)),
                        _ => value = None,
                    }
                }
                ([b"{", &written.join(&b","[..])[..], b"}"].concat(), value.map(Value::Object))
            });
        prop_oneof![list, object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_json_is_read((bytes, expected) in any_json(), mark in any::<bool>()) {
        let bytes = if mark { [b"\xef\xbb\xbf", &bytes[..]].concat() } else { bytes };
        let value: Result<Value, _> = Json::new(&bytes, None).parse();
        prop_assert!(value.is_ok(), "{}: {:?}", bytes.escape_ascii(), value);
        if let Some(expected) = expected {
            prop_assert_eq!(value.unwrap(), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, label in "[a-z0-9-]{0,12}") {
        let content_type = format!("application/json; charset={label}");
        let _any = Json::new(&bytes, Some(content_type.as_bytes())).parse::<Value>();
        let _mended = mend::mended(&bytes, Charset::Utf8);
    }
}

/// What looked at two million bytes again for each of them would not end.
#[test]
fn mending_is_one_pass() {
    const BYTES: usize = 2 << 20;
    for text in [
        br"\ud83d".repeat(BYTES / 6),
        [b"\"", &br"\ud83d".repeat(BYTES / 6)[..]].concat(),
        b"\xed\xa0\xbd".repeat(BYTES / 3),
        b"1e5,".repeat(BYTES / 4),
        b"9".repeat(BYTES),
        b"-".repeat(BYTES),
    ] {
        let mended = mend::mended(&text, Charset::Utf8);
        assert!(mended.is_none_or(|mended| mended.len() <= 2 * BYTES));
    }
}

#[test]
fn a_text_that_would_become_much_longer_is_not_mended() {
    const MIB: usize = 1 << 20;
    for (item, charset, most) in [
        // Of one byte three: twice that, and one MiB.
        (&b"\xff"[..], Charset::Utf8, MIB),
        (b"\x80", Charset::of(Some(b"text/json; charset=windows-1252")), MIB - 10),
        // Of five bytes 20, and 103.
        (b"1e18,", Charset::Utf8, MIB / 10),
        (b"1e99,", Charset::Utf8, MIB / 93),
    ] {
        let mended = |count| mend::mended(&item.repeat(count), charset).map(|text| text.len());
        assert!(mended(most).is_some(), "{} times {}", item.escape_ascii(), most);
        for too_many in [most + 11, 2 * most] {
            assert_eq!(mended(too_many), None, "{} times {too_many}", item.escape_ascii());
        }
    }
}
