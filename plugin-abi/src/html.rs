//! Between HTML and text: many tools keep descriptions, resolutions and notes as HTML.

use std::borrow::Cow;

use crate::{text::CUT, types::Note};

/// Most bytes of text that [`to_text`] makes.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a character reference, `&` and `;` included.
const REFERENCE_BYTES_MAX: usize = 12;

/// The text of an HTML fragment, or of a text that was never HTML: tags out, references resolved, blanks joined, block
/// elements on lines of their own. In one pass; cut at [`TEXT_BYTES_MAX`].
pub fn to_text(html: &str) -> String {
    let mut text = Text { out: String::with_capacity(html.len().min(TEXT_BYTES_MAX)), space: false };
    // Past the last end none is looked for: to look again for each of many open brackets would take quadratic time.
    let (last_tag_end, last_comment_end) = (html.rfind('>').unwrap_or(0), html.rfind("-->").unwrap_or(0));
    let mut rest = html;
    while !rest.is_empty() && text.out.len() < TEXT_BYTES_MAX {
        let (plain, tail) = rest.split_at(rest.find(['<', '&']).unwrap_or(rest.len()));
        plain.chars().for_each(|character| text.push(character));
        rest = tail;
        let at = html.len() - rest.len();
        let markup = if rest.starts_with("<!--") {
            (at < last_comment_end).then(|| comment(rest)).flatten()
        } else {
            (at < last_tag_end).then(|| tag(rest)).flatten()
        };
        if let Some((tag, after)) = markup {
            rest = if is_hidden(tag) { after_end_of(tag, after) } else { after };
            if is_block(tag) {
                text.line();
            }
        } else if let Some((character, after)) = reference(rest) {
            text.push(character);
            rest = after;
        } else if let Some(character) = rest.chars().next() {
            text.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    let end = text.out.floor_char_boundary(TEXT_BYTES_MAX);
    text.out.truncate(text.out[..end].trim_end().len());
    text.out
}

/// A text as HTML of at most `chars_max` characters, cut where it must be, with `ending` always whole at its end.
pub fn from_text(text: &str, ending: &str, chars_max: usize) -> String {
    let ending = format!("<br>{}", ending.chars().map(escaped).collect::<String>());
    let room = chars_max.saturating_sub(ending.chars().count() + CUT.chars().count());
    let mut html = String::new();
    let mut chars = 0;
    for character in text.chars().map(escaped) {
        chars += character.chars().count();
        if chars > room {
            html.push_str(CUT);
            break;
        }
        html.push_str(&character);
    }
    html + &ending
}

/// The note's HTML when it has at most `chars_max` characters, else the beginning of its text as HTML, since cut HTML would
/// be broken HTML; the marker is whole in both.
pub fn of_note<'a>(note: &Note<'a>, chars_max: usize) -> Cow<'a, str> {
    if note.html().chars().nth(chars_max).is_none() {
        note.html().into()
    } else {
        from_text(note.text(), note.marker(), chars_max).into()
    }
}

/// Whether the marker stands in a note that is read back, also when the tool has rewritten the HTML around the marker's
/// characters. An empty marker stands nowhere.
pub fn holds_marker(html: &str, marker: &str) -> bool {
    !marker.is_empty() && (html.contains(marker) || to_text(html).contains(marker))
}

fn escaped(character: char) -> String {
    match character {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\n' => "<br>".to_owned(),
        other => other.to_string(),
    }
}

/// Text that is being made: blanks and lines are written when something follows them.
struct Text {
    out: String,
    space: bool,
}

impl Text {
    fn push(&mut self, character: char) {
        if character.is_whitespace() {
            self.space = true;
            return;
        }
        if std::mem::take(&mut self.space) && !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push(' ');
        }
        self.out.push(character);
    }

    fn line(&mut self) {
        self.space = false;
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }
}

/// The comment that begins here, as a tag of no name, and what follows it.
fn comment(rest: &str) -> Option<(&str, &str)> {
    let (_, after) = rest.strip_prefix("<!--")?.split_once("-->")?;
    Some(("!", after))
}

/// The tag that begins here, without its brackets, and what follows it. `a < b` begins none.
fn tag(rest: &str) -> Option<(&str, &str)> {
    let inner = rest.strip_prefix('<')?;
    inner.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/' || first == '!').then_some(())?;
    inner.split_once('>')
}

fn name(tag: &str) -> &str {
    let name = tag.strip_prefix('/').unwrap_or(tag);
    &name[..name.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(name.len())]
}

fn is_block(tag: &str) -> bool {
    const BLOCKS: [&str; 18] = [
        "address",
        "blockquote",
        "br",
        "dd",
        "div",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "p",
        "pre",
        "table",
        "tr",
    ];
    let name = name(tag);
    BLOCKS.iter().any(|block| block.eq_ignore_ascii_case(name))
}

/// Elements whose content is no text.
fn is_hidden(tag: &str) -> bool {
    let name = name(tag);
    !tag.starts_with('/') && ["script", "style", "title"].iter().any(|hidden| hidden.eq_ignore_ascii_case(name))
}

fn after_end_of<'a>(tag: &str, rest: &'a str) -> &'a str {
    let wanted = name(tag);
    let ends = rest.match_indices("</").find(|(at, _)| {
        rest.get(at + 2..at + 2 + wanted.len()).is_some_and(|found| found.eq_ignore_ascii_case(wanted))
    });
    ends.map_or("", |(at, _)| &rest[at..])
}

/// The character that a reference here stands for, and what follows it.
fn reference(rest: &str) -> Option<(char, &str)> {
    let end = rest.bytes().take(REFERENCE_BYTES_MAX).position(|byte| byte == b';')?;
    let name = rest.get(..end)?.strip_prefix('&')?;
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        _ => match name.strip_prefix('#')? {
            hex if hex.starts_with(['x', 'X']) => number(&hex[1..], 16)?,
            decimal => number(decimal, 10)?,
        },
    };
    // A reference to NUL is a mistake in HTML too, and no store takes it.
    (character != '\0').then_some((character, &rest[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_text() {
        for (html, text) in [
            ("", ""),
            ("plain", "plain"),
            ("  two\n\t words ", "two words"),
            ("<div>one</div><div>two</div>", "one\ntwo"),
            ("a<br/>b<BR>c", "a\nb\nc"),
            ("<p class='x'>Mail <b>server</b> down</p>", "Mail server down"),
            ("a &lt;b&gt; &amp;amp; &#65;&#x42;&nbsp;c", "a <b> &amp; AB c"),
            ("if a < b && c > d", "if a < b && c > d"),
            ("a & b &unknown; &#xD800; &#0; &#99999999999;", "a & b &unknown; &#xD800; &#0; &#99999999999;"),
            ("x<style>p { }</style>y<script>z()</SCRIPT >w", "xyw"),
            ("x<script>never closed", "x"),
            ("x<!-- a > b -->y", "xy"),
            ("never <closed", "never <closed"),
            ("<ul><li>é</li><li>ü</li></ul>", "é\nü"),
        ] {
            assert_eq!(to_text(html), text, "{html}");
        }
    }

    #[test]
    fn brackets_without_end_take_linear_time() {
        for unit in ["<a", "<!--", "<!--x>", "</", "&#", "<script>"] {
            let html = unit.repeat(TEXT_BYTES_MAX / unit.len());
            assert!(to_text(&html).len() <= html.len(), "{unit}");
        }
    }

    #[test]
    fn text_is_cut_at_its_limit_on_a_character() {
        assert_eq!(to_text(&"a".repeat(TEXT_BYTES_MAX)).len(), TEXT_BYTES_MAX);
        assert_eq!(to_text(&format!("{}é", "a".repeat(TEXT_BYTES_MAX - 1))).len(), TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn a_note_is_its_html_up_to_the_limit_and_its_text_beyond() {
        let note = Note::new("", "<p>é</p>", "é", "[m]");
        assert_eq!(of_note(&note, 8), "<p>é</p>");
        assert!(of_note(&note, 7).ends_with("<br>[m]"));
    }

    #[test]
    fn a_marker_is_found_through_rewritten_markup() {
        for (html, expected) in
            [("<p>[a b]</p>", true), ("[a <i></i>b]", true), ("[a&nbsp;b]", true), ("[a c]", false), ("", false)]
        {
            assert_eq!(holds_marker(html, "[a b]"), expected, "{html}");
            assert!(!holds_marker(html, ""), "{html}");
        }
    }

    #[test]
    fn text_becomes_html_within_its_limit() {
        assert_eq!(from_text("a < b\n& c", "[m]", 100), "a &lt; b<br>&amp; c<br>[m]");
        for limit in [40, 41, 42, 43, 44] {
            let html = from_text(&"<é".repeat(50), "[m]", limit);
            assert!(html.chars().count() <= limit, "{html}");
            assert!(html.ends_with("[shortened]<br>[m]"), "{html}");
        }
    }
}
