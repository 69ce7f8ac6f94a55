//! Whether a note of ours is in a list of notes. The list is looked through and not kept, and what others have written on the
//! ticket cannot be at fault.

use std::fmt;

use plugin_abi::{
    html,
    json::{self, Json},
    payload::{Part, Scalar},
    serde::{
        Deserialize, Deserializer as _,
        de::{SeqAccess, Visitor},
    },
    serde_json::{self, value::RawValue},
};

/// Whether the marker stands in one of the notes of this answer.
///
/// # Errors
/// When there is a list that cannot be read: then there is no telling.
pub(super) fn hold_marker(body: &[u8], marker: &str) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Answer<'a> {
        // Named after the wrapper of a single note, which differs by deployment.
        #[serde(borrow, alias = "request_notes")]
        notes: Option<&'a RawValue>,
    }

    let answer: Answer<'_> = json::parse(body)?;
    let Some(notes) = answer.notes else { return Ok(false) };
    serde_json::Deserializer::from_str(notes.get()).deserialize_seq(Marked(marker))
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Existing<'a> {
    #[serde(borrow)]
    description: Scalar<'a>,
}

struct Marked<'m>(&'m str);

impl<'de> Visitor<'de> for Marked<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of notes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut notes: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(note) = notes.next_element::<&RawValue>()? {
            let is_marked = |note: Part<'_, Existing<'_>>| {
                let text = note.object().and_then(|note| note.description.text());
                text.is_some_and(|text| html::holds_marker(text, self.0))
            };
            // What cannot be read on its own is not a note of ours.
            found |= Json::from(note).parse().is_ok_and(is_marked);
        }
        Ok(found)
    }
}
