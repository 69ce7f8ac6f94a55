//! What of a tenant's secrets comes back: a tool may echo what it was sent, a plugin may tell what it was presented.
//! Both are searched for the secret in every form in which it is likely to stand.

use std::{collections::BTreeSet, sync::Arc};

use memchr::memmem::find;
use plugin_abi::{PluginError, http::Response};

use crate::tenant::{Tenant, directory::TenantDirectory, secrets::SecretText};

/// What stands in a secret's place.
const REPLACEMENT: &str = "[secret]";
/// Shorter texts stand in an answer, or look like a form of a secret, by chance. In bytes.
const FORM_BYTES_MIN: usize = 6;

/// The secrets to look for.
pub(super) struct Redaction(Vec<Arc<[SecretText]>>);

/// Takes these secrets out of a text that people will read, however short they are.
pub(super) fn clean_of<'a>(secrets: impl IntoIterator<Item = &'a SecretText>, text: &mut String) {
    clean(text, &forms(secrets));
}

/// Takes a tenant's secrets out of what was said about one of its webhooks. Any thread.
pub fn clean_webhook_text(directory: &TenantDirectory, tenant: &Tenant, text: &mut String) {
    Redaction::of(secrets_of(directory, tenant)).clean(text);
}

/// A tenant's secrets, each with all of its versions that are good. One that cannot be opened was shown to nobody.
pub(super) fn secrets_of(directory: &TenantDirectory, tenant: &Tenant) -> Vec<Arc<[SecretText]>> {
    let names: BTreeSet<_> = directory.secret_infos(tenant).into_iter().map(|info| info.name).collect();
    names.iter().filter_map(|name| directory.secrets(tenant, name).ok()).collect()
}

impl Redaction {
    /// Of these secrets, each with all of its versions that are good.
    pub(super) fn of(secrets: impl IntoIterator<Item = Arc<[SecretText]>>) -> Self {
        Self(secrets.into_iter().collect())
    }

    fn forms(&self) -> Vec<&str> {
        forms(self.0.iter().flat_map(|versions| versions.iter()).flat_map(SecretText::texts))
    }

    /// Takes the secrets out of a text that people will read, however short they are.
    pub(super) fn clean(&self, text: &mut String) {
        clean(text, &self.forms());
    }

    /// Takes the secrets out of an error.
    pub(super) fn clean_error(&self, error: &mut PluginError) {
        let forms = self.forms();
        texts_of(error).into_iter().for_each(|text| clean(text, &forms));
    }

    /// The tool's answer without the secrets, before the plugin makes a note or an error of it.
    pub(super) fn clean_answer(&self, answer: Response) -> Response {
        let mut forms = self.forms();
        forms.retain(|form| form.len() >= FORM_BYTES_MIN);
        let is_in = |bytes: &[u8]| forms.iter().any(|form| find(bytes, form.as_bytes()).is_some());
        if !is_in(answer.body()) && !answer.headers().any(|(_, value)| is_in(value.as_bytes())) {
            return answer;
        }
        let cleaned = |bytes: &[u8]| forms.iter().fold(bytes.to_vec(), |bytes, form| replaced(bytes, form.as_bytes()));
        let text = |value: &str| String::from_utf8_lossy(&cleaned(value.as_bytes())).into_owned();
        let headers = answer.headers().map(|(name, value)| (name.to_owned(), text(value))).collect();
        Response::new(answer.status(), headers, cleaned(answer.body()))
    }
}

/// The texts to look for, the longest first.
fn forms<'a>(secrets: impl IntoIterator<Item = &'a SecretText>) -> Vec<&'a str> {
    let mut forms = Vec::new();
    for secret in secrets {
        forms.extend(secret.encoded().iter().map(|form| form.as_str()).filter(|form| form.len() >= FORM_BYTES_MIN));
        forms.push(secret.expose());
    }
    forms.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    forms.dedup();
    forms
}

fn clean(text: &mut String, forms: &[&str]) {
    for form in forms {
        if find(text.as_bytes(), form.as_bytes()).is_some() {
            *text = text.replace(form, REPLACEMENT);
        }
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
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE},
    };

    use super::*;

    const SECRET: &str = r#"s3cret-"of"\<the>/tool&'s+"#;

    fn redaction(secret: &str) -> Redaction {
        Redaction::of([Arc::from([SecretText::new(secret.to_owned()).unwrap()])])
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
            redaction(SECRET).clean(&mut text);
            assert_eq!(text, expected, "{told}");
            let answer = Response::new(500, vec![("location".to_owned(), told.clone())], told.clone());
            let answer = redaction(SECRET).clean_answer(answer);
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
                    redaction(SECRET).clean(&mut text);
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
        assert_eq!(redaction("or").clean_answer(answer.clone()), answer);
        let mut error = PluginError::field("or", "neither or");
        redaction("or").clean_error(&mut error);
        assert_eq!(error, PluginError::field(REPLACEMENT, "neither [secret]"));
    }

    #[test]
    fn bytes_that_are_no_text_stay_beside_it() {
        let body = [b"\xff\x00", SECRET.as_bytes(), b"\xfe"].concat();
        let answer = redaction(SECRET).clean_answer(Response::new(200, Vec::new(), body));
        assert_eq!(answer.body(), b"\xff\x00[secret]\xfe");
    }
}
