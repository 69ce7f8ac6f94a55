//! What a name says that people gave to a status or a resolution.

use std::iter;

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
    let says = |rest: &str| sayings.iter().any(|saying| rest.strip_prefix(saying).is_some_and(is_end));
    normal(name).lines().any(|part| beginnings(part).any(says))
}

/// The name in lower case, with one blank between words and each of its parts on a line of its own.
fn normal(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    let mut gap = None;
    for c in name.chars() {
        match c {
            '\'' | '\u{2019}' | '`' | '\u{b4}' => {}
            c if c.is_alphanumeric() => {
                normal.extend(gap.take().filter(|_| !normal.is_empty()));
                normal.extend(c.to_lowercase());
            }
            // Behind a blank a hyphen is a dash.
            '-' if gap.is_some() => gap = Some('\n'),
            c if c.is_whitespace() || matches!(c, '-' | '_') => gap = gap.or(Some(' ')),
            _ => gap = Some('\n'),
        }
    }
    normal
}

/// The part from its first word on, and from each word behind a connecting one.
fn beginnings(part: &str) -> impl Iterator<Item = &str> {
    let behind = part.match_indices(' ').filter_map(|(at, _)| {
        let before = part[..at].rsplit(' ').next()?;
        CONNECTING.contains(&before).then(|| &part[at + 1..])
    });
    iter::once(part).chain(behind)
}

/// Whether what follows a saying is nothing, or begins with a connecting word.
fn is_end(rest: &str) -> bool {
    let next = rest.strip_prefix(' ').map(|rest| rest.split(' ').next().unwrap_or(rest));
    next.map_or(rest.is_empty(), |word| CONNECTING.contains(&word))
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
            ("Closed -cancelled", true),
            ("-cancelled-", true),
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
