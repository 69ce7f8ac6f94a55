//! Limits on the stored texts of a ticket. They are far above what a person writes, and keep the rest from filling
//! disks.

use plugin_abi::types::{Event, TicketMetadata};

/// Maximum length of a subject, in characters.
pub const SUBJECT_CHARS_MAX: usize = 500;
/// Maximum length of a description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 20_000;
/// Maximum length of the text of a solution, in characters.
pub const RESOLUTION_CHARS_MAX: usize = 10_000;
/// Maximum length of a tag, a priority or a link, in characters. Longer ones are dropped, because cutting would turn
/// them into others.
pub const NAME_CHARS_MAX: usize = 2_000;
/// Maximum number of tags.
pub const TAGS_MAX: usize = 100;

/// Cuts all texts of the metadata. Identifiers stay as they are.
pub fn cut(mut metadata: TicketMetadata) -> TicketMetadata {
    if let Event::Resolved { resolution, tags, .. } = &mut metadata.event {
        *resolution = cut_to(resolution.take(), RESOLUTION_CHARS_MAX);
        tags.retain(|tag| is_name(tag));
        tags.truncate(TAGS_MAX);
    }
    metadata.subject = cut_to(metadata.subject, SUBJECT_CHARS_MAX);
    metadata.description = cut_to(metadata.description, DESCRIPTION_CHARS_MAX);
    metadata.raw_priority = metadata.raw_priority.filter(|priority| is_name(priority));
    metadata.url = metadata.url.filter(|url| is_name(url));
    metadata
}

/// Cuts a text to this many characters.
pub fn cut_to(text: Option<String>, chars_max: usize) -> Option<String> {
    text.map(|mut text| {
        if let Some((end, _)) = text.char_indices().nth(chars_max) {
            text.truncate(end);
            // Otherwise the text would keep the memory of its full length.
            text.shrink_to_fit();
        }
        text
    })
}

fn is_name(text: &str) -> bool {
    text.chars().nth(NAME_CHARS_MAX).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters_and_names_are_whole_or_gone() {
        for (chars, kept) in [(0, 0), (499, 499), (500, 500), (501, 500), (9_999, 500)] {
            let text = cut_to(Some("ü".repeat(chars)), SUBJECT_CHARS_MAX).unwrap();
            assert_eq!(text.chars().count(), kept);
        }
        assert_eq!(cut_to(None, 1), None);
        let long = |chars: usize| Some("x".repeat(chars + 1));
        let mut metadata = TicketMetadata::new("7", Event::Created);
        (metadata.subject, metadata.description) = (long(SUBJECT_CHARS_MAX), long(DESCRIPTION_CHARS_MAX));
        (metadata.url, metadata.raw_priority) = (long(NAME_CHARS_MAX), Some("P1".to_owned()));
        let tags = [vec!["t".to_owned(); TAGS_MAX + 1], vec!["x".repeat(NAME_CHARS_MAX + 1)]].concat();
        metadata.event = Event::Resolved { resolution: long(RESOLUTION_CHARS_MAX), resolved_at: None, tags };
        let cut = cut(metadata);
        let chars = |text: &Option<String>| text.as_ref().map(|text| text.chars().count());
        assert_eq!(chars(&cut.subject), Some(SUBJECT_CHARS_MAX));
        assert_eq!(chars(&cut.description), Some(DESCRIPTION_CHARS_MAX));
        assert_eq!((cut.url, cut.raw_priority), (None, Some("P1".to_owned())));
        let Event::Resolved { resolution, tags, .. } = cut.event else { panic!() };
        assert_eq!((chars(&resolution), tags.len()), (Some(RESOLUTION_CHARS_MAX), TAGS_MAX));
    }
}
