//! Atlassian Connect: a JSON Web Token that signs a request's method, path and query. It does not sign the body.
//!
//! <https://developer.atlassian.com/cloud/bitbucket/query-string-hash/>, the same for all of Atlassian's products.

use sha2::{Digest, Sha256};

use super::{Why, jwt_hs256};
use crate::{PluginError, http::percent_encode, plugin::Tenant, types::Webhook};

/// `Authorization: JWT <token>` under the secret that the app shares with the site, with the claim `qsh` for this very
/// request. `base_path` is the path of the app's base URL, which is not signed: `/jira` or empty. What else such tokens are
/// made for (`qsh` of a context) is refused.
///
/// # Errors
/// `Configuration` when the secret cannot be used.
pub fn atlassian_connect(
    tenant: &Tenant<'_>,
    secret: &str,
    webhook: &Webhook<'_>,
    base_path: &str,
) -> Result<bool, PluginError> {
    let Some(("JWT", token)) = webhook.header_text("authorization").and_then(|value| value.trim().split_once(' '))
    else {
        return tenant.not_authentic(&Why::header(webhook, "authorization", "JWT and a JSON Web Token"));
    };
    let Some(claims) = jwt_hs256(tenant, secret, token.trim(), webhook.received_at())? else { return Ok(false) };
    let below_base = webhook.path().strip_prefix(base_path.trim_end_matches('/'));
    let path = below_base.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(webhook.path());
    let expected = query_string_hash(webhook.method(), path, webhook.query());
    if claims.get("qsh").and_then(|qsh| qsh.as_str()) != Some(&expected) {
        let why = "the token was made for another request (its claim qsh): look at the base path, and at what a proxy does \
                   to paths";
        return tenant.not_authentic(&Why::Other(why));
    }
    Ok(true)
}

/// The claim `qsh` of a request: lower-case hexadecimal digits of a SHA-256.
fn query_string_hash(method: &str, path: &str, query: &str) -> String {
    let path = match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.replace('&', "%26"),
    };
    let canonical = format!("{}&{path}&{}", method.to_ascii_uppercase(), canonical_query(query));
    Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parameters sorted, each encoded anew, the values of a repeated one joined by commas, the token itself left out.
fn canonical_query(query: &str) -> String {
    let mut parameters: Vec<_> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
        .map(|(name, value)| (encoded_anew(name), encoded_anew(value)))
        .filter(|(name, _)| name != "jwt")
        .collect();
    parameters.sort_unstable();
    let mut canonical = String::new();
    let mut last = None;
    for (name, value) in &parameters {
        if last == Some(name) {
            canonical.push(',');
        } else {
            if last.is_some() {
                canonical.push('&');
            }
            canonical.push_str(name);
            canonical.push('=');
        }
        canonical.push_str(value);
        last = Some(name);
    }
    canonical
}

fn encoded_anew(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let (byte, tail) = match (byte, tail) {
            (b'+', _) => (b' ', tail),
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (b'%', tail),
            },
            _ => (*byte, tail),
        };
        decoded.push(byte);
        rest = tail;
    }
    let mut encoded = String::new();
    percent_encode(&mut encoded, &decoded);
    encoded
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::proptest;
    use time::macros::datetime;

    use super::{super::BASE64_URL, *};
    use crate::testing::{FakeHost, FakeWebhook, base64_mac};

    /// The first four are published with Atlassian's libraries.
    #[test]
    fn hashes_of_requests() {
        let sha256 = |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for ((method, path, query), canonical) in [
            (("GET", "", ""), "GET&/&"),
            (("get", "/path/", ""), "GET&/path&"),
            (("GET", "/something", ""), "GET&/something&"),
            (("GET", "/something", "simple=key"), "GET&/something&simple=key"),
            (("GET", "/a&b", ""), "GET&/a%26b&"),
            (
                ("GET", "/path/to/service", "zee_last=param&repeated=parameter%201&first=param&repeated=parameter+2"),
                "GET&/path/to/service&first=param&repeated=parameter%201,parameter%202&zee_last=param",
            ),
            (("POST", "/x", "jwt=abc&b=%7e*&a&&c=%zz%4"), "POST&/x&a=&b=~%2A&c=%25zz%254"),
        ] {
            assert_eq!(query_string_hash(method, path, query), sha256(canonical), "{canonical}");
        }
        let root = query_string_hash("GET", "/", "");
        assert!(root.starts_with("c88caad1") && root.ends_with("3239"), "{root}");
        let path = query_string_hash("GET", "/path", "");
        assert!(path.starts_with("799be84a") && path.ends_with("3ac2"), "{path}");
    }

    #[test]
    fn a_token_is_for_one_request() {
        let now = datetime!(2026-01-08 10:00:00 UTC);
        let token = |qsh: &str, key: &str| {
            let claims = format!(r#"{{"iss":"site","exp":{},"qsh":"{qsh}"}}"#, now.unix_timestamp() + 60);
            let signed =
                format!("{}.{}", BASE64_URL.encode(r#"{"typ":"JWT","alg":"HS256"}"#), BASE64_URL.encode(claims));
            let mac = base64_mac(key.as_bytes(), &[signed.as_bytes()]);
            let mac = base64::engine::general_purpose::STANDARD.decode(mac).expect("its own Base64");
            format!("{signed}.{}", BASE64_URL.encode(mac))
        };
        let ours = query_string_hash("POST", "/webhooks/acme", "event=created");
        let below = query_string_hash("POST", "/acme", "event=created");
        for (header, base_path, expected) in [
            (format!("JWT {}", token(&ours, "s")), "", true),
            (format!("JWT {}", token(&below, "s")), "/webhooks", true),
            (format!("JWT {}", token(&below, "s")), "/webhooks/", true),
            (format!("JWT {}", token(&ours, "s")), "/web", true),
            (format!("JWT {}", token(&below, "s")), "", false),
            (format!("JWT {}", token(&ours, "other")), "", false),
            (format!("Bearer {}", token(&ours, "s")), "", false),
            (format!("JWT {}", token("context-qsh", "s")), "", false),
            (format!("JWT {}", token(&query_string_hash("POST", "/webhooks/acme", ""), "s")), "", false),
            ("JWT".to_owned(), "", false),
        ] {
            let host = FakeHost::new().secret("hook", "s");
            let webhook = FakeWebhook::post("{}").header("authorization", header.clone()).query("event=created");
            let webhook = webhook.received_at(now);
            let verified = atlassian_connect(&host.tenant(), "hook", &webhook.borrow(), base_path);
            assert_eq!(verified, Ok(expected), "{header} {base_path}");
        }
    }

    proptest! {
        #[test]
        fn any_query_has_a_hash(path in "\\PC{0,20}", query in "[a-c%0-9=&+é]{0,40}") {
            assert_eq!(query_string_hash("POST", &path, &query).len(), 64);
        }
    }
}
