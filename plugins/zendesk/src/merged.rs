//! Ends of a ticket that solve nothing. Zendesk has one that looks like a solution: a ticket that was merged into another is
//! closed, and its last public comment says so.
//!
//! | End | How it shows |
//! |---|---|
//! | merged into another ticket | closed with the tag `closed_by_merge`; in accounts in English also a comment, public or not, "This request was closed and merged into request #949" |
//! | marked as spam, deleted | events of their own, never a change of status to solved or closed |
//! | suspended | no ticket, until an agent recovers it |
//!
//! <https://support.zendesk.com/hc/en-us/articles/4408882445594> (merging);
//! <https://developer.zendesk.com/api-reference/ticketing/tickets/tickets/#merge-tickets-into-target-ticket>. A follow-up
//! inherits the tags of the closed ticket (<https://support.zendesk.com/hc/en-us/articles/8421655952026>), so the tag counts
//! on closed tickets only: the follow-up of a merged one is solved first, and told of then.

use plugin_abi::serde_json::value::RawValue;

/// What Zendesk adds to the tags of a ticket that it closes because of a merge.
pub(crate) const MERGE_TAG: &str = "closed_by_merge";
/// The tag as it stands in a list of tags.
const MERGE_TAG_LISTED: &str = "\"closed_by_merge\"";

/// Whether the tag is in a list of tags. Looked for as it is written, since there may be many, and none has a quote.
pub(crate) fn is_among(tags: &RawValue) -> bool {
    tags.get().contains(MERGE_TAG_LISTED)
}

/// Whether a comment says that its ticket was merged into another. Apps that merge put their name into the sentence.
pub(crate) fn is_end(comment: &str) -> bool {
    is_notice(comment, "this request was closed and merged", "into request #")
}

/// Whether a comment says that another ticket was merged into its own: no answer either.
pub(crate) fn is_addition(comment: &str) -> bool {
    is_notice(comment, "request", "into this request") && is_notice(comment, "request", "closed and merged")
}

/// Whether the first line begins with the one and has the other, in small letters both.
fn is_notice(comment: &str, beginning: &str, part: &str) -> bool {
    let first_line = comment.trim_start().lines().next().unwrap_or_default().to_ascii_lowercase();
    first_line.starts_with(beginning) && first_line.contains(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_of_a_merge() {
        for (comment, end, addition) in [
            ("This request was closed and merged into request #949", true, false),
            (" This request was closed and merged into request #7 \"VPN is down\".", true, false),
            ("This request was closed and merged by Deduper into request #7", true, false),
            ("Request #8 \"VPN\" was closed and merged into this request. Last comment: …", false, true),
            ("Requests #8, #9 were closed and merged into this request.", false, true),
            ("Request #8 was closed and merged by Deduper into this request.", false, true),
            ("Was this request closed and merged into request #949?", false, false),
            ("Request a new badge. Then all was closed and\nmerged into this request", false, false),
            ("Request a badge.\nIt was closed and merged into this request", false, false),
            ("Ré", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_end(comment), is_addition(comment)), (end, addition), "{comment}");
        }
    }
}
