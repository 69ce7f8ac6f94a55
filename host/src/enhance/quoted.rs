//! Strangers' text made safe for a note: one line, cut to a limit, no markup, no mentions.

/// Marks the place where a text was cut.
const CUT_MARK: char = '…';
/// An invisible character that keeps programs from reading `@` and a name as a mention.
const WORD_JOINER: char = '\u{2060}';

/// A piece of ticket text. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quoted(String);

impl Quoted {
    /// Makes a text safe. Every run of white space and control characters becomes one space, characters that hide or
    /// reorder text are removed, and `@` before a name no longer mentions anyone. The result has at most `chars_max`
    /// characters including the cut mark, and no more of a long text is read than needed. `None` if nothing is left.
    pub(super) fn new(text: &str, chars_max: usize) -> Option<Self> {
        let mut line = String::new();
        let (mut count, mut gap) = (0, false);
        let mut last = ' ';
        for c in text.chars().filter(|c| !is_deceptive(*c)) {
            if c.is_whitespace() || c.is_control() {
                gap = true;
                continue;
            }
            let gap = std::mem::take(&mut gap) && !line.is_empty();
            // An `@` within a word is an address, which people copy. At the start of a word it would mention somebody.
            let joiner = c == '@' && (gap || !last.is_alphanumeric());
            count += 1 + usize::from(gap) + usize::from(joiner);
            if count > chars_max {
                return Self::cut(line, chars_max);
            }
            line.extend(gap.then_some(' '));
            line.push(c);
            line.extend(joiner.then_some(WORD_JOINER));
            last = c;
        }
        (!line.is_empty()).then_some(Self(line))
    }

    /// As [`new`](Self::new), for a text that may be missing.
    pub(super) fn of(text: Option<&str>, chars_max: usize) -> Option<Self> {
        Self::new(text?, chars_max)
    }

    fn cut(mut line: String, chars_max: usize) -> Option<Self> {
        if let Some((end, _)) = line.char_indices().nth(chars_max.checked_sub(1)?) {
            line.truncate(end);
        }
        line.truncate(line.trim_end().len());
        line.push(CUT_MARK);
        Some(Self(line))
    }

    /// The text as plain text.
    pub(super) fn plain(&self) -> &str {
        &self.0
    }

    /// The text as CommonMark. Every character with a meaning is escaped, including those that mean something only in a
    /// dialect, such as `www.` or `:`. It must not begin a line.
    pub(super) fn markdown(&self) -> String {
        let mut escaped = String::with_capacity(self.0.len() + self.0.len() / 4);
        for c in self.0.chars() {
            if c.is_ascii_punctuation() {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    }
}

/// Characters that reverse the direction of text, have no width, or are no text at all. The joiners that some scripts
/// and emoji need are allowed.
fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

    use super::*;

    fn plain(text: &str, chars_max: usize) -> Option<String> {
        Quoted::new(text, chars_max).map(|quoted| quoted.plain().to_owned())
    }

    #[test]
    fn text_becomes_one_visible_line() {
        for (text, expected) in [
            ("", None),
            (" \r\n\t\u{2028}\u{0}", None),
            ("\u{202e}\u{200b}\u{feff}", None),
            ("  a\r\n\r\n# b\u{7}c ", Some("a # b c")),
            ("user\u{202e}gnp.exe", Some("usergnp.exe")),
            ("mail alice@example.com", Some("mail alice@example.com")),
            ("@all see .@bob", Some("@\u{2060}all see .@\u{2060}bob")),
            ("a\u{200b}@b a \u{200b}@b", Some("a@b a @\u{2060}b")),
            ("👩\u{200d}🚒", Some("👩\u{200d}🚒")),
        ] {
            assert_eq!(plain(text, 100).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn text_is_cut_with_a_mark_one_past_its_limit() {
        for (text, chars_max, expected) in [
            ("äöüß", 4, Some("äöüß")),
            ("äöüßx", 4, Some("äöü…")),
            ("äöüß \n", 4, Some("äöüß")),
            ("ab cd", 4, Some("ab…")),
            ("ab @cd", 4, Some("ab…")),
            ("x", 1, Some("x")),
            ("xy", 1, Some("…")),
        ] {
            assert_eq!(plain(text, chars_max).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn markdown_shows_the_text_and_makes_nothing_of_it() {
        for text in [
            "[click](http://evil.example)",
            "![x](http://evil.example/pixel.png)",
            "<script>alert(1)</script>",
            "<http://evil.example> www.evil.example http://evil.example",
            "&lt;b&gt; &#64;",
            "**b** __b__ ~~s~~ `c` $m$ ^s^ ==h== |a|b| [^1] [[wiki]] :::",
            "trailing \\",
        ] {
            check_inert(text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_markup(text in any::<String>(), hostile in r"[\[\]()<>!*_~`#&;:@/.|\\^$={}\n a-z0-9-]{0,80}") {
            check_inert(&text);
            check_inert(&hostile);
        }

        #[test]
        fn no_text_is_longer_than_its_limit(text in any::<String>(), chars_max in 1_usize..40) {
            let length = plain(&text, chars_max).map_or(0, |line| line.chars().count());
            prop_assert!(length <= chars_max);
        }
    }

    /// Checks that every dialect the parser knows reads the text as one paragraph of the same text.
    #[track_caller]
    fn check_inert(text: &str) {
        let Some(quoted) = Quoted::new(text, 1_000) else { return };
        let dialects = Options::all() - Options::ENABLE_SMART_PUNCTUATION - Options::ENABLE_OLD_FOOTNOTES;
        let mut shown = String::new();
        for event in Parser::new_ext(&format!("x {}", quoted.markdown()), dialects) {
            match event {
                Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph) => {}
                Event::Text(part) => shown.push_str(&part),
                other => panic!("{text:?} made {other:?}"),
            }
        }
        assert_eq!(shown, format!("x {}", quoted.plain()));
    }
}
