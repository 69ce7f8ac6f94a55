//! Encoded forms of a secret. Texts from tools and plugins are searched for them.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// The secret in JSON (with `/` escaped or not), HTML, percent-encoding, hexadecimal, and Base64 of a text that
/// contains it.
pub(super) fn encoded(secret: &str) -> Vec<String> {
    let json = json_escaped(secret);
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut forms = vec![
        // A text that quotes JSON is often in JSON itself.
        json_escaped(&json),
        json.replace('/', "\\/"),
        json,
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        html.replace('"', "&#34;").replace('\'', "&#x27;"),
        html,
        percent(secret, UPPER),
        percent(secret, LOWER),
        // The form in the body of a token request.
        byte_serialize(secret.as_bytes()).collect(),
        hex(secret, UPPER),
        hex(secret, LOWER),
    ];
    for offset in 0..3 {
        let text = Zeroizing::new([&[0; 2][..offset], secret.as_bytes()].concat());
        // Keeps only the digits that depend on the secret alone: those at the ends also contain bits of the text around
        // it.
        let seams = ([0, 2, 3][offset], usize::from(!text.len().is_multiple_of(3)));
        for digits in [STANDARD_NO_PAD.encode(&*text), URL_SAFE_NO_PAD.encode(&*text)] {
            forms.push(digits.get(seams.0..digits.len() - seams.1).unwrap_or_default().to_owned());
        }
    }
    forms
}

/// The text as it stands between quotation marks in JSON.
fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn hex(text: &str, digits: &[u8; 16]) -> String {
    text.bytes().flat_map(|byte| pair(byte, digits)).collect()
}

/// Encodes everything except RFC 3986's unreserved characters.
fn percent(text: &str, digits: &[u8; 16]) -> String {
    let mut encoded = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend(pair(byte, digits));
        }
    }
    encoded
}

fn pair(byte: u8, digits: &[u8; 16]) -> [char; 2] {
    [byte >> 4, byte & 15].map(|nibble| char::from(digits[usize::from(nibble)]))
}
