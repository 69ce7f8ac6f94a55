//! What a name says that people gave to a status or a resolution.

/// Whether a name says one of these things: as all of it, at its beginning or at its end. Case, punctuation and apostrophes
/// make no difference. The sayings are in lower case, letters and digits only, with one blank between words.
///
/// ```
/// use plugin_abi::payload::says_one_of;
/// const UNSOLVED: [&str; 2] = ["wont do", "duplicate"];
/// for name in ["Won’t Do", "WON'T DO", "Closed (duplicate)", "Duplicate of another ticket"] {
///     assert!(says_one_of(name, &UNSOLVED));
/// }
/// assert!(!says_one_of("Done", &UNSOLVED) && !says_one_of("No duplicates left", &UNSOLVED));
/// ```
pub fn says_one_of(name: &str, sayings: &[&str]) -> bool {
    let mut words = String::with_capacity(name.len() + 2);
    words.push(' ');
    for c in name.chars() {
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        } else if !matches!(c, '\'' | '\u{2019}' | '`' | '\u{b4}') && !words.ends_with(' ') {
            words.push(' ');
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    sayings.iter().map(|saying| format!(" {saying} ")).any(|saying| {
        // At its edges: in the middle a word may be denied.
        words.starts_with(&saying) || words.ends_with(&saying)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_at_either_end_count() {
        for (name, expected) in [
            ("cancelled", true),
            ("  Cancelled ", true),
            ("CANCELLED BY THE CUSTOMER", true),
            ("Closed - cancelled", true),
            ("closed_cancelled", true),
            ("Won't Fix", true),
            ("wont-fix", true),
            ("Won\u{2019}t fix (out of scope)", true),
            ("Uncancelled", false),
            ("cancelledness", false),
            ("was cancelled and then done", false),
            ("fix", false),
            ("won t fix", false),
            ("", false),
            (" - ", false),
        ] {
            assert_eq!(says_one_of(name, &["cancelled", "wont fix"]), expected, "{name}");
        }
    }
}
