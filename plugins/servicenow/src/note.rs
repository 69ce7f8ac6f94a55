//! A note in the form of a journal field.

use std::borrow::Cow;

use plugin_abi::{prelude::*, text};

/// How notes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Plain text: what every instance shows as it is.
    Text,
    /// HTML between `[code]` tags, which instances render unless `glide.ui.security.allow_codetag` is off
    /// (<https://www.servicenow.com/docs/r/platform-administration/render-journal-field-entries-as-html.html>).
    Html,
}

/// The note in at most `chars_max` characters, its marker whole. One that is too long is cut, as text: cut HTML would be
/// broken HTML.
pub(crate) fn journal_entry(note: &Note<'_>, format: Format, chars_max: usize) -> String {
    if format == Format::Html {
        let html = format!("[code]{}[/code]", without_code_tags(note.html()));
        if html.chars().nth(chars_max).is_none() {
            return html;
        }
    }
    text::within(&without_code_tags(note.text()), note.marker(), chars_max)
}

/// The text with a blank inside each `[code]` and `[/code]`: what the note quotes was written by others, and between such
/// tags the tool would render their markup.
fn without_code_tags(text: &str) -> Cow<'_, str> {
    let is_tag = |at: usize| {
        let rest = &text.as_bytes()[at + 1..];
        let name = rest.strip_prefix(b"/").unwrap_or(rest);
        name.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"code]"))
    };
    let mut tags = text.match_indices('[').map(|(at, _)| at).filter(|at| is_tag(*at)).peekable();
    if tags.peek().is_none() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut copied = 0;
    for at in tags {
        out.push_str(&text[copied..=at]);
        out.push(' ');
        copied = at + 1;
    }
    (out + &text[copied..]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: &str = "[patchbay 7]";

    fn check(html: &str, text: &str, format: Format, chars_max: usize, expected: &str) {
        let note = Note::new("", html, text, MARKER);
        assert_eq!(journal_entry(&note, format, chars_max), expected);
    }

    #[test]
    fn notes_are_written_in_their_format() {
        let (html, text) = ("<p>a &amp; b [patchbay 7]</p>", "a & b\n[patchbay 7]");
        check(html, text, Format::Text, 100, text);
        check(html, text, Format::Html, 100, "[code]<p>a &amp; b [patchbay 7]</p>[/code]");
        check(html, text, Format::Html, 42, "[code]<p>a &amp; b [patchbay 7]</p>[/code]");
        check(html, text, Format::Html, 41, text);
    }

    #[test]
    fn a_long_note_is_cut_and_keeps_its_marker() {
        let text = format!("{}\n{MARKER}", "é".repeat(100));
        check("", &text, Format::Text, 113, &text);
        check("", &text, Format::Text, 50, &format!("{} … [shortened]\n{MARKER}", "é".repeat(23)));
    }

    #[test]
    fn what_a_note_quotes_is_never_rendered() {
        for (quoted, expected) in [
            ("[code]<b>x</b>[/code]", "[ code]<b>x</b>[ /code]"),
            ("[CODE][/Code]", "[ CODE][ /Code]"),
            ("[[code]", "[[ code]"),
            ("[cod", "[cod"),
            ("[", "["),
            ("[codes] [é]", "[codes] [é]"),
        ] {
            check("", quoted, Format::Text, 1_000, expected);
            check(quoted, "", Format::Html, 1_000, &format!("[code]{expected}[/code]"));
        }
    }
}
