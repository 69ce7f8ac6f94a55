//! Atlassian's document format: which nodes may contain which. Jira refuses a whole comment because of one misplaced
//! node.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>, as far as notes need it.

use serde_json::Value;

const INLINE: &[&str] = &["text", "hardBreak", "mention", "emoji", "inlineCard", "date", "status"];
const FLOW: &[&str] = &["paragraph", "bulletList", "orderedList", "codeBlock"];
const TOP: &[&str] =
    &["paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "rule", "table", "panel"];
const CELL: &[&str] =
    &["paragraph", "heading", "bulletList", "orderedList", "codeBlock", "blockquote", "rule", "panel"];

/// Why this is not a valid document, if it is not.
pub(super) fn check(document: &Value) -> Result<(), String> {
    if document["type"] != "doc" || document["version"] != 1 {
        return Err("a document has the type doc and the version 1".to_owned());
    }
    node(document)
}

/// Checks a node. The recursion is as deep as the JSON, which its parser bounds.
fn node(this: &Value) -> Result<(), String> {
    let kind = this["type"].as_str().ok_or("a node has a type")?;
    let Some((allowed, least)) = content_of(kind) else { return Err(format!("there is no node {kind}")) };
    let known = ["type", "version", "content", "attrs", "text", "marks"];
    if let Some(unknown) =
        this.as_object().into_iter().flat_map(|node| node.keys()).find(|key| !known.contains(&key.as_str()))
    {
        return Err(format!("{kind} has no {unknown}"));
    }
    let content = match this.get("content") {
        None => &[],
        Some(Value::Array(content)) => &content[..],
        Some(_) => return Err(format!("the content of {kind} must be a list")),
    };
    if content.len() < least {
        return Err(format!("{kind} must not be empty"));
    }
    for child in content {
        let name = child["type"].as_str().ok_or("a node has a type")?;
        if !allowed.contains(&name) {
            return Err(format!("{name} must not stand in {kind}"));
        }
        node(child)?;
    }
    match kind {
        "text" => text(this),
        "heading" if !this["attrs"]["level"].as_u64().is_some_and(|level| (1..=6).contains(&level)) => {
            Err("a heading has a level from 1 to 6".to_owned())
        }
        "listItem" if FLOW[1..3].contains(&content[0]["type"].as_str().unwrap_or_default()) => {
            Err("an item does not begin with a list".to_owned())
        }
        _ => Ok(()),
    }
}

/// The permitted content of a node, and the minimum number of children.
fn content_of(kind: &str) -> Option<(&'static [&'static str], usize)> {
    Some(match kind {
        "doc" => (TOP, 0),
        "paragraph" | "heading" => (INLINE, 0),
        "codeBlock" => (&["text"], 0),
        "blockquote" | "panel" => (FLOW, 1),
        "bulletList" | "orderedList" => (&["listItem"], 1),
        "listItem" => (FLOW, 1),
        "table" => (&["tableRow"], 1),
        "tableRow" => (&["tableHeader", "tableCell"], 1),
        "tableHeader" | "tableCell" => (CELL, 1),
        "rule" => (&[], 0),
        inline if INLINE.contains(&inline) => (&[], 0),
        _ => return None,
    })
}

fn text(this: &Value) -> Result<(), String> {
    if this["text"].as_str().is_none_or(str::is_empty) {
        return Err("a text must not be empty".to_owned());
    }
    let marks: Vec<&str> =
        this["marks"].as_array().into_iter().flatten().map(|mark| mark["type"].as_str().unwrap_or_default()).collect();
    let known = ["strong", "em", "strike", "code", "link", "underline", "subsup", "textColor"];
    if let Some(unknown) = marks.iter().find(|mark| !known.contains(mark)) {
        return Err(format!("there is no mark {unknown:?}"));
    }
    if marks.contains(&"code") && marks.iter().any(|mark| !["code", "link"].contains(mark)) {
        return Err("code can be a link, and have no other mark".to_owned());
    }
    let links = this["marks"].as_array().into_iter().flatten().filter(|mark| mark["type"] == "link");
    for link in links {
        if link["attrs"]["href"].as_str().is_none_or(str::is_empty) {
            return Err("a link has a href".to_owned());
        }
    }
    Ok(())
}
