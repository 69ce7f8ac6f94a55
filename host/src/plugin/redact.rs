//! What of a tenant's secrets comes back: a tool may echo what it was sent, a plugin may tell what it was presented.
//! Both are searched for the secret in every form in which it is likely to stand.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem::find;
use plugin_abi::{PluginError, http::Response};
use zeroize::Zeroizing;

/// What stands in a secret's place.
const REPLACEMENT: &str = "[secret]";
/// Shorter texts stand in an answer, or look like a form of a secret, by chance. In bytes.
const FORM_BYTES_MIN: usize = 6;
const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// The texts to look for, the longest first.
pub(super) struct Forms(Vec<Zeroizing<String>>);

impl Forms {
    /// All forms of these secrets.
    pub(super) fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms: Vec<Zeroizing<String>> = Vec::new();
        for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
            let encoded = encoded(secret).into_iter().map(Zeroizing::new);
            forms.extend(encoded.filter(|form| form.len() >= FORM_BYTES_MIN));
            forms.push(Zeroizing::new(secret.to_owned()));
        }
        forms.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self(forms)
    }

    /// Takes the secrets out of a text that people will read, however short they are.
    pub(super) fn clean(&self, text: &mut String) {
        for form in &self.0 {
            if find(text.as_bytes(), form.as_bytes()).is_some() {
                *text = text.replace(form.as_str(), REPLACEMENT);
            }
        }
    }

    /// Takes the secrets out of an error.
    pub(super) fn clean_error(&self, error: &mut PluginError) {
        texts_of(error).into_iter().for_each(|text| self.clean(text));
    }

    /// The tool's answer without the secrets, before the plugin makes a note or an error of it.
    pub(super) fn clean_answer(&self, answer: Response) -> Response {
        let forms = || self.0.iter().filter(|form| form.len() >= FORM_BYTES_MIN);
        let is_in = |bytes: &[u8]| forms().any(|form| find(bytes, form.as_bytes()).is_some());
        if !is_in(answer.body()) && !answer.headers().any(|(_, value)| is_in(value.as_bytes())) {
            return answer;
        }
        let cleaned = |bytes: &[u8]| forms().fold(bytes.to_vec(), |bytes, form| replaced(bytes, form.as_bytes()));
        let text = |value: &str| String::from_utf8_lossy(&cleaned(value.as_bytes())).into_owned();
        let headers = answer.headers().map(|(name, value)| (name.to_owned(), text(value))).collect();
        Response::new(answer.status(), headers, cleaned(answer.body()))
    }
}

fn replaced(bytes: Vec<u8>, form: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some(at) = find(rest, form) {
        kept.extend_from_slice(&rest[..at]);
        kept.extend_from_slice(REPLACEMENT.as_bytes());
        rest = &rest[at + form.len()..];
    }
    if kept.is_empty() && rest.len() == bytes.len() {
        return bytes;
    }
    kept.extend_from_slice(rest);
    kept
}

/// As JSON (with `/` escaped or not), HTML, percent-encoded, hexadecimal, and Base64 of a text that holds the secret.
fn encoded(secret: &str) -> Vec<String> {
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
        hex(secret, UPPER),
        hex(secret, LOWER),
    ];
    for offset in 0..3 {
        let text = Zeroizing::new([&[0; 2][..offset], secret.as_bytes()].concat());
        // Only the digits that the secret alone decides: those at the seams hold bits of what stands beside it.
        let seams = ([0, 2, 3][offset], usize::from(!text.len().is_multiple_of(3)));
        for digits in [STANDARD_NO_PAD.encode(&*text), URL_SAFE_NO_PAD.encode(&*text)] {
            forms.push(digits.get(seams.0..digits.len() - seams.1).unwrap_or_default().to_owned());
        }
    }
    forms
}

/// As it stands between the quotation marks.
fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn hex(text: &str, digits: &[u8; 16]) -> String {
    text.bytes().flat_map(|byte| pair(byte, digits)).collect()
}

/// Everything but RFC 3986's unreserved characters is encoded.
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

/// The texts of an error that a plugin may have made from a tool's answer.
fn texts_of(error: &mut PluginError) -> Vec<&mut String> {
    match error {
        PluginError::Malformed(text)
        | PluginError::Authentication(text)
        | PluginError::Configuration(text)
        | PluginError::NotFound(text)
        | PluginError::Api { message: text, .. }
        | PluginError::RateLimit { message: text, .. }
        | PluginError::Panicked { message: text, .. } => vec![text],
        PluginError::Validation(faults) => {
            faults.iter_mut().flat_map(|fault| [&mut fault.field, &mut fault.message]).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRET: &str = r#"s3cret-"of"\<the>/tool&'s+"#;

    fn forms(secrets: &[&'static str]) -> Forms {
        Forms::of(secrets.iter().copied())
    }

    #[test]
    fn a_secret_is_taken_out_in_every_form() {
        for (told, expected) in [
            (format!("you sent {SECRET}, twice {SECRET}"), "you sent [secret], twice [secret]"),
            (format!("{SECRET:?}"), r#""[secret]""#),
            (serde_json::json!({ "x": format!("{SECRET:?}") }).to_string(), r#"{"x":"\"[secret]\""}"#),
            (r#"{"sent":"s3cret-\"of\"\\<the>\/tool&'s+"}"#.to_owned(), r#"{"sent":"[secret]"}"#),
            ("<b>s3cret-&quot;of&quot;\\&lt;the&gt;/tool&amp;&#39;s+</b>".to_owned(), "<b>[secret]</b>"),
            ("?t=s3cret-%22of%22%5C%3Cthe%3E%2Ftool%26%27s%2B&x".to_owned(), "?t=[secret]&x"),
            ("?t=s3cret-%22of%22%5c%3cthe%3e%2ftool%26%27s%2b&x".to_owned(), "?t=[secret]&x"),
            (SECRET.bytes().map(|byte| format!("{byte:02X}")).collect(), "[secret]"),
            ("nothing of it".to_owned(), "nothing of it"),
        ] {
            let mut text = told.clone();
            forms(&[SECRET]).clean(&mut text);
            assert_eq!(text, expected, "{told}");
            let answer = Response::new(500, vec![("location".to_owned(), told.clone())], told.clone());
            let answer = forms(&[SECRET]).clean_answer(answer);
            assert_eq!((answer.header("location"), &*answer.text()), (Some(expected), expected), "{told}");
        }
    }

    #[test]
    fn base64_of_a_text_that_holds_it_tells_at_most_its_edges() {
        for user in ["", "a", "ab", "abc", "someone@desk.example"] {
            for after in ["", ":", ":x", ":xy"] {
                for encoded in [
                    STANDARD.encode(format!("{user}{SECRET}{after}")),
                    URL_SAFE.encode(format!("{user}{SECRET}{after}")),
                ] {
                    let mut text = encoded.clone();
                    forms(&[SECRET]).clean(&mut text);
                    assert!(text.contains(REPLACEMENT), "{user:?} {after:?}: {encoded} {text}");
                    let left = text.replace(REPLACEMENT, "").len();
                    assert!(left <= (user.len() + after.len()) * 4 / 3 + 6, "{user:?} {after:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn a_short_secret_leaves_answers_whole_and_no_error() {
        let answer = Response::new(200, Vec::new(), "an ordinary text");
        assert_eq!(forms(&["or"]).clean_answer(answer.clone()), answer);
        let mut error = PluginError::field("or", "neither or");
        forms(&["or", ""]).clean_error(&mut error);
        assert_eq!(error, PluginError::field(REPLACEMENT, "neither [secret]"));
    }

    #[test]
    fn bytes_that_are_no_text_stay_beside_it() {
        let body = [b"\xff\x00", SECRET.as_bytes(), b"\xfe"].concat();
        let answer = forms(&[SECRET]).clean_answer(Response::new(200, Vec::new(), body));
        assert_eq!(answer.body(), b"\xff\x00[secret]\xfe");
    }
}
