//! What a name says that people gave to a status or a resolution.

/// Words between what a name says and what it says of it: "Cancelled by the customer", "Closed as duplicate".
const CONNECTING: [&str; 13] =
    ["after", "as", "at", "by", "closed", "due", "for", "into", "of", "on", "resolved", "to", "with"];

/// Whether a name says one of these things, alone or as a part of its own: before or behind punctuation or a connecting word.
/// Case, apostrophes, and hyphens within words make no difference. The sayings are in lower case, letters and digits only,
/// with one blank between words.
///
/// ```
/// use plugin_abi::payload::says_one_of;
/// const UNSOLVED: [&str; 2] = ["wont do", "duplicate"];
/// for name in ["Won’t Do", "wont-do", "Closed (duplicate)", "Duplicate of IT-7"] {
///     assert!(says_one_of(name, &UNSOLVED));
/// }
/// assert!(!says_one_of("Done", &UNSOLVED) && !says_one_of("Duplicate address removed", &UNSOLVED));
/// ```
pub fn says_one_of(name: &str, sayings: &[&str]) -> bool {
    let name = name.to_lowercase().replace(['\'', '\u{2019}', '`', '\u{b4}'], "").replace(" - ", ":");
    let is_within = |c: char| c.is_alphanumeric() || c.is_whitespace() || matches!(c, '-' | '_');
    name.split(|c| !is_within(c)).any(|part| {
        let words: Vec<&str> = part.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let is_apart = |beside: Option<&&str>| beside.is_none_or(|word| CONNECTING.contains(word));
        // A saying may hold connecting words itself: "unable to reproduce".
        sayings.iter().any(|saying| {
            let count = saying.split(' ').count();
            let mut runs = words.windows(count).enumerate();
            runs.any(|(at, run)| {
                saying.split(' ').eq(run.iter().copied())
                    && is_apart(words[..at].last())
                    && is_apart(words.get(at + count))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_its_own_counts() {
        for (name, expected) in [
            ("cancelled", true),
            ("  Cancelled ", true),
            ("CANCELLED BY THE CUSTOMER", true),
            ("Closed - cancelled", true),
            ("Closed: Cancelled.", true),
            ("Closed cancelled", true),
            ("closed_cancelled", true),
            ("Cancelled due to policy", true),
            ("Cancelled/withdrawn", true),
            ("Cancelled into #949", true),
            ("Cancelled with IT-7", true),
            ("Won't Fix", true),
            ("wont-fix", true),
            ("Won\u{2019}t fix (out of scope)", true),
            ("Resolved as won`t fix", true),
            ("Uncancelled", false),
            ("Not cancelled", false),
            ("Cancelled order was shipped", false),
            ("fix", false),
            ("wont", false),
            ("closed", false),
            ("", false),
            (" - ", false),
        ] {
            assert_eq!(says_one_of(name, &["cancelled", "wont fix"]), expected, "{name}");
        }
    }

    #[test]
    fn a_saying_may_hold_connecting_words() {
        for (name, expected) in [
            ("Unable to Reproduce", true),
            ("Closed as unable to reproduce by support", true),
            ("Closed: unable-to-reproduce.", true),
            ("unable to", false),
            ("reproduce", false),
            ("Unable to reproduce it", false),
            ("Not unable to reproduce", false),
            ("Cancelled to reproduce", false),
        ] {
            assert_eq!(says_one_of(name, &["unable to reproduce"]), expected, "{name}");
        }
    }
}
