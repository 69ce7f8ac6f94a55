//! The host's two addresses that do not name a tenant, and which addresses mean the same.

use std::borrow::Cow;

/// Where created tickets are told.
pub const TICKET_CREATED: &str = "/api/webhooks/ticket-created";
/// Where solved tickets are told.
pub const RESOLVED_TICKET: &str = "/webhook/servicedesk/resolved-ticket";

/// The path as the host knows it: without doubled slashes and a slash at the end, and with letters, digits and hyphens that
/// were percent-encoded decoded. Anything else stays encoded, so no path becomes another's.
pub fn normal(path: &str) -> Cow<'_, str> {
    let is_normal = !path.contains('%') && !path.contains("//") && (path.len() < 2 || !path.ends_with('/'));
    if is_normal {
        return path.into();
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(next) = rest.chars().next() {
        let decoded = decoded(rest);
        if decoded.is_some() || next != '/' || !normal.ends_with('/') {
            normal.push(decoded.unwrap_or(next));
        }
        rest = &rest[decoded.map_or(next.len_utf8(), |_| ENCODED_BYTES)..];
    }
    if normal.len() > 1 && normal.ends_with('/') {
        normal.pop();
    }
    normal.into()
}

/// `%41`
const ENCODED_BYTES: usize = 3;

/// The letter, digit or hyphen whose encoding stands at the beginning.
fn decoded(text: &str) -> Option<char> {
    let digits = text.strip_prefix('%')?.get(..ENCODED_BYTES - 1)?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    (byte.is_ascii_alphanumeric() || byte == b'-').then(|| char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_the_same_become_the_same() {
        for (path, expected) in [
            ("/webhooks/acme", "/webhooks/acme"),
            ("/webhooks/acme/", "/webhooks/acme"),
            ("//webhooks///acme//", "/webhooks/acme"),
            ("/webhooks/ac%2Dme", "/webhooks/ac-me"),
            ("/%77ebhooks/%61cme%31", "/webhooks/acme1"),
            ("/webhooks/acme%2F", "/webhooks/acme%2F"),
            ("/webhooks/a%2fb", "/webhooks/a%2fb"),
            ("/webhooks/a%2e%2E", "/webhooks/a%2e%2E"),
            ("/webhooks/a%+1b", "/webhooks/a%+1b"),
            ("/webhooks/a%4", "/webhooks/a%4"),
            ("/webhooks/a%%41", "/webhooks/a%A"),
            ("/webhooks/a%C3%A9", "/webhooks/a%C3%A9"),
            ("/webhooks/é//", "/webhooks/é"),
            ("/", "/"),
            ("//", "/"),
            ("", ""),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }
}
