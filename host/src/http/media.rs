//! Refuses bodies that nobody here can read, by their headers alone and for every tenant.

use hyper::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use plugin_abi::json;

use super::answer::BadRequest;

/// Maximum number of characters of an unknown charset that the answer repeats.
const CHARSET_CHARS_MAX: usize = 40;

/// Refuses any content encoding except `identity`, and JSON in an unknown charset. Other content types are left to the
/// plugin.
pub(super) fn check_media(headers: &HeaderMap) -> Result<(), BadRequest> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    for encoding in encodings.map(<[u8]>::trim_ascii) {
        if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
            return Err(BadRequest::ContentEncoding);
        }
    }
    // If there are several content types, the first counts, as for the plugin that reads the body.
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).filter(|kind| json::is_json(kind));
    match content_type.and_then(json::unknown_charset) {
        Some(charset) if !charset.is_empty() => {
            Err(BadRequest::Charset(charset.chars().take(CHARSET_CHARS_MAX).collect()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[(&'static str, &'static str)], expected: Result<(), BadRequest>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        assert_eq!(check_media(&headers), expected, "{lines:?}");
    }

    #[test]
    fn bodies_are_read_as_they_are() {
        for encodings in [&[][..], &["identity"], &[""], &[" Identity "], &["identity, identity"], &["identity", ","]] {
            let lines: Vec<_> = encodings.iter().map(|encoding| ("content-encoding", *encoding)).collect();
            check(&lines, Ok(()));
        }
        for encodings in [&["gzip"][..], &["br"], &["identity, gzip"], &["identity", "x-y"], &["gzip;q=0"], &["a\tb"]] {
            let lines: Vec<_> = encodings.iter().map(|encoding| ("content-encoding", *encoding)).collect();
            check(&lines, Err(BadRequest::ContentEncoding));
        }
    }

    #[test]
    fn json_comes_in_a_charset_that_is_known() {
        for content_type in [
            "application/json",
            "application/json; charset=UTF-8",
            "application/json; charset=iso-8859-1",
            "application/vnd.desk+json;charset=\"Shift_JIS\"",
            "application/json; charset=",
            "application/json; charset",
            "text/plain; charset=klingon",
            "application/x-www-form-urlencoded; charset=klingon",
            "",
        ] {
            check(&[("content-type", content_type)], Ok(()));
        }
        let unknown = |charset: &str| Err(BadRequest::Charset(charset.to_owned()));
        check(&[("content-type", "application/json; charset=utf-7")], unknown("utf-7"));
        check(&[("content-type", "Text/JSON; x=y; CHARSET=\"klingon\"")], unknown("klingon"));
        check(&[("content-type", "application/problem+json;charset=UTF_8")], unknown("UTF_8"));
        check(&[("content-type", "application/json; charset=iso-2022-kr")], unknown("iso-2022-kr"));
        let first = [("content-type", "application/json; charset=x"), ("content-type", "application/json")];
        check(&first, unknown("x"));
        const EXACTLY: &str = "application/json; charset=0123456789012345678901234567890123456789";
        const BEYOND: &str = "application/json; charset=0123456789012345678901234567890123456789x";
        for content_type in [EXACTLY, BEYOND] {
            check(&[("content-type", content_type)], unknown("0123456789012345678901234567890123456789"));
        }
    }
}
