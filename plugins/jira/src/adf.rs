//! Atlassian's document format, in which Jira's API keeps what people write: trees of nodes, in JSON.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>

mod builder;

use plugin_abi::{
    html::TEXT_BYTES_MAX,
    json::{self, Json},
    serde::Deserialize,
    serde_json::{self, Value, json},
    text::CUT,
};
use std::borrow::Cow;

/// A note as a document: headings, lists, tables, code and links stay what they are. One whose JSON is longer than
/// `chars_max` characters is cut, and says so; `marker` is always whole at its end.
pub(crate) fn note(markdown: &str, marker: &str, chars_max: usize) -> Value {
    // A document is longer than its Markdown, but for blanks: what is too long before is not tried.
    let mut room = markdown.chars().take(chars_max + 1).count();
    if room <= chars_max {
        let whole = document(builder::blocks(markdown));
        if chars(&whole) <= chars_max {
            return whole;
        }
    }
    // Its beginning is Markdown again wherever it is cut, which cannot be said of a document.
    loop {
        room = room * 3 / 4;
        let beginning: String = markdown.chars().take(room).collect();
        let mut content = builder::blocks(&beginning);
        content.extend([paragraph(CUT.trim_start()), paragraph(marker)]);
        let cut = document(content);
        if room == 0 || chars(&cut) <= chars_max {
            return cut;
        }
    }
}

/// The text of a description or comment: of a document, or what the API's older versions and webhooks have, a text. `None`
/// when it is neither, null among that.
pub(crate) fn text_of(json: &str) -> Option<String> {
    // Mended by itself where it must be: what stands around it may have been read without.
    Json::new(json.as_bytes(), None).read(text).ok().flatten()
}

fn text(json: &[u8]) -> Result<Option<String>, serde_json::Error> {
    match json.first() {
        Some(b'"') => json::parse(json).map(Some),
        // An array would do as a struct for serde, and its items as the fields.
        Some(b'{') => {
            // The parser refuses what is nested deeper than 128 levels: far more than Jira takes, and little enough to follow.
            let document: Node<'_> = json::parse(json)?;
            let mut text = String::new();
            document.write(&mut text);
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.truncate(text.trim_end().len());
            Ok(Some(text))
        }
        _ => Ok(None),
    }
}

fn document(content: Vec<Value>) -> Value {
    json!({ "type": "doc", "version": 1, "content": content })
}

fn paragraph(text: &str) -> Value {
    let content: &[Value] = if text.is_empty() { &[] } else { &[json!({ "type": "text", "text": text })] };
    json!({ "type": "paragraph", "content": content })
}

/// Jira counts the document's JSON, not what people read of it.
fn chars(document: &Value) -> usize {
    document.to_string().chars().count()
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Node<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    attrs: Option<Attributes<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Node<'a>>>,
}

/// Of nodes that show something without having a text: people, emoji, states, cards.
#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Attributes<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "shortName")]
    short_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
}

impl Node<'_> {
    fn write(&self, out: &mut String) {
        let shown = || {
            let attributes = self.attrs.as_ref()?;
            [&attributes.text, &attributes.short_name, &attributes.url].into_iter().find_map(Option::as_deref)
        };
        match (self.kind.as_ref(), self.text.as_deref().or_else(shown)) {
            ("hardBreak", _) => out.push('\n'),
            (_, Some(text)) => out.push_str(text),
            (_, None) => {}
        }
        self.content.iter().flatten().for_each(|node| node.write(out));
        if is_block(&self.kind) && !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
    }
}

fn is_block(kind: &str) -> bool {
    matches!(
        kind,
        "paragraph" | "heading" | "codeBlock" | "blockCard" | "embedCard" | "caption" | "taskItem" | "decisionItem"
    )
}

#[cfg(test)]
mod tests;
