//! How much a case without a failure has tried. A case that tried nothing is skipped, never passed.

use serde::{Deserialize, Serialize};

/// How far a case without a failure went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tried {
    /// All of it was tried.
    Whole,
    /// Part was not tried, because of what this sentence names.
    Wanting(String),
    /// There is nothing to try, for the reason in this sentence.
    Nothing(String),
}

/// Counts what a case has tried over all given webhooks.
#[derive(Debug, Default)]
pub(super) struct Tally {
    is_tried: bool,
    wanting: Vec<String>,
}

impl Tally {
    /// Counts a webhook that was tried.
    pub(super) fn tried(&mut self) {
        self.is_tried = true;
    }

    /// Notes a webhook that could not be tried because something about it is unknown.
    pub(super) fn wants(&mut self, webhook: &str) {
        self.wanting.push(format!("{webhook:?}"));
    }

    /// The total. `want` follows the names of the webhooks that lack something; `nothing` says why there was nothing to
    /// try.
    pub(super) fn end(self, want: &str, nothing: &str) -> Tried {
        match (self.wanting.as_slice(), self.is_tried) {
            ([], true) => Tried::Whole,
            ([], false) => Tried::Nothing(nothing.to_owned()),
            ([one], _) => Tried::Wanting(format!("webhook {one} {want}")),
            (several, _) => Tried::Wanting(format!("each of the webhooks {} {want}", several.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_webhook_that_was_not_tried_keeps_a_case_from_being_whole() {
        for (tried, wanting, expected) in [
            (true, &[][..], Tried::Whole),
            (false, &[], Tried::Nothing("it signs none".to_owned())),
            (true, &["a"], Tried::Wanting("webhook \"a\" needs b".to_owned())),
            (false, &["a", "c"], Tried::Wanting("each of the webhooks \"a\", \"c\" needs b".to_owned())),
        ] {
            let mut tally = Tally::default();
            if tried {
                tally.tried();
            }
            wanting.iter().for_each(|name| tally.wants(name));
            assert_eq!(tally.end("needs b", "it signs none"), expected);
        }
    }
}
