//! What of a tenant's secrets comes back: a tool may echo what it was sent, a plugin may tell what it was presented.
//! Both are searched for the secret in every form in which it is likely to stand.

use std::{collections::BTreeSet, sync::Arc};

use memchr::memmem::find;
use plugin_abi::PluginError;

use crate::tenant::{Tenant, directory::TenantDirectory, secrets::SecretText};

/// What stands in a secret's place.
const REPLACEMENT: &str = "[secret]";
/// The same in an answer, for a form that is shorter: an answer must not grow in memory.
const SHORT_REPLACEMENT: &str = "[key]";
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

    /// Takes the secrets out of the tool's answer, where it lies, before the plugin makes a note or an error of it.
    pub(super) fn clean_answer(&self, headers: &mut [(String, String)], body: &mut Vec<u8>) {
        let mut forms = self.forms();
        forms.retain(|form| form.len() >= FORM_BYTES_MIN);
        for form in forms {
            replace(body, form.as_bytes());
            for (_, value) in &mut *headers {
                if find(value.as_bytes(), form.as_bytes()).is_some() {
                    *value = value.replace(form, replacement(form.as_bytes()));
                }
            }
        }
    }
}

/// What stands in the place of this form in an answer; never longer than the form.
fn replacement(form: &[u8]) -> &'static str {
    if form.len() < REPLACEMENT.len() { SHORT_REPLACEMENT } else { REPLACEMENT }
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

/// Replaces the form without another copy of the bytes, which may be many.
fn replace(bytes: &mut Vec<u8>, form: &[u8]) {
    let replacement = replacement(form).as_bytes();
    let (mut kept, mut read) = (0, 0);
    while let Some(at) = find(&bytes[read..], form) {
        bytes.copy_within(read..read + at, kept);
        kept += at;
        bytes[kept..kept + replacement.len()].copy_from_slice(replacement);
        kept += replacement.len();
        read += at + form.len();
    }
    if read > 0 {
        bytes.copy_within(read.., kept);
        bytes.truncate(bytes.len() - (read - kept));
    }
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

    /// What becomes of this as the value of a header and as a body.
    fn cleaned(secret: &str, told: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        let mut headers = [("location".to_owned(), String::from_utf8_lossy(told.as_ref()).into_owned())];
        let mut body = told.as_ref().to_vec();
        redaction(secret).clean_answer(&mut headers, &mut body);
        let [(_, value)] = headers;
        (value, body)
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
            let (headers, body) = cleaned(SECRET, &told);
            assert_eq!((headers, body), (expected.to_owned(), expected.as_bytes().to_vec()), "{told}");
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
        assert_eq!(cleaned("or", "an ordinary text").1, b"an ordinary text");
        let mut error = PluginError::field("or", "neither or");
        redaction("or").clean_error(&mut error);
        assert_eq!(error, PluginError::field(REPLACEMENT, "neither [secret]"));
    }

    #[test]
    fn bytes_that_are_no_text_stay_beside_it() {
        let body = [b"\xff\x00", SECRET.as_bytes(), b"\xfe"].concat();
        assert_eq!(cleaned(SECRET, body).1, b"\xff\x00[secret]\xfe");
    }

    #[test]
    fn an_answer_is_no_longer_afterwards_and_is_not_copied() {
        for (secret, expected) in [("hunter", "[key]"), ("hunter2", "[key]"), ("hunter-2", "[secret]")] {
            let mut body = format!("{secret}{secret} and {secret}!").into_bytes();
            let (place, capacity) = (body.as_ptr(), body.capacity());
            redaction(secret).clean_answer(&mut [], &mut body);
            assert_eq!(String::from_utf8(body.clone()).unwrap(), format!("{expected}{expected} and {expected}!"));
            assert_eq!((body.as_ptr(), body.capacity()), (place, capacity), "{secret}");
        }
    }
}
