//! A note's three forms. The HTML is generated from the Markdown and then sanitised, so two layers protect it.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::LazyLock,
};

use ammonia::Builder;
use pulldown_cmark::{Options, Parser};

use super::{Content, Similar, quoted::Quoted};

const FACTS_HEADING: &str = "About this ticket";
const SIMILAR_HEADING: &str = "Solved tickets like this one";
const CLOSING: &str = "Patchbay · automatic note";

/// What may reach a tool's page: no scripts, styles, images or frames, and links that pass nothing on.
static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::empty();
    builder
        .tags(HashSet::from(["a", "hr", "li", "p", "small", "strong", "ul"]))
        .tag_attributes(HashMap::from([("a", HashSet::from(["href"]))]))
        .url_schemes(HashSet::from(["http", "https"]))
        .clean_content_tags(HashSet::from(["script", "style"]))
        .link_rel(Some("nofollow noopener noreferrer"));
    builder
});

pub(super) fn markdown(content: &Content) -> String {
    let mut out = markdown_body(content);
    // The marker is ours and stays unescaped, so that a plugin finds it in what the tool stored.
    put(&mut out, format_args!("\n---\n\n{CLOSING} · {}\n", content.marker));
    out
}

pub(super) fn html(content: &Content) -> String {
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, Parser::new_ext(&markdown_body(content), Options::empty()));
    put(&mut out, format_args!("<hr><p><small>{CLOSING} · {}</small></p>", content.marker));
    SANITIZER.clean(&out).to_string()
}

pub(super) fn text(content: &Content) -> String {
    let mut out = format!("{FACTS_HEADING}\n");
    for fact in &content.facts {
        put(&mut out, format_args!("- {}: {}\n", fact.label, fact.value.plain()));
    }
    if !content.similar.is_empty() {
        put(&mut out, format_args!("\n{SIMILAR_HEADING}\n"));
    }
    for similar in &content.similar {
        let told = told(similar, |quoted| quoted.plain().to_owned());
        put(&mut out, format_args!("- {}{told}\n", similar.id.plain()));
        if let Some(link) = &similar.link {
            put(&mut out, format_args!("  {link}\n"));
        }
    }
    put(&mut out, format_args!("\n{CLOSING}\n{}\n", content.marker));
    out
}

fn markdown_body(content: &Content) -> String {
    let mut out = format!("**{FACTS_HEADING}**\n\n");
    for fact in &content.facts {
        put(&mut out, format_args!("- **{}:** {}\n", fact.label, fact.value.markdown()));
    }
    if !content.similar.is_empty() {
        put(&mut out, format_args!("\n**{SIMILAR_HEADING}**\n\n"));
    }
    for similar in &content.similar {
        let id = similar.id.markdown();
        let id = similar.link.as_ref().map_or_else(|| format!("**{id}**"), |link| markdown_link(&id, link));
        put(&mut out, format_args!("- {id}{}\n", told(similar, Quoted::markdown)));
    }
    out
}

/// The text after a similar ticket's id.
fn told(similar: &Similar, form: impl Fn(&Quoted) -> String) -> String {
    let mut out = String::new();
    if let Some(subject) = &similar.subject {
        put(&mut out, format_args!(" {}", form(subject)));
    }
    if let Some(date) = &similar.solved_on {
        put(&mut out, format_args!(" (solved {date})"));
    }
    if let Some(resolution) = &similar.resolution {
        put(&mut out, format_args!(": {}", form(resolution)));
    }
    out
}

/// A link whose destination is exactly the URL: otherwise Markdown would resolve entities and escapes in it.
fn markdown_link(shown: &str, link: &str) -> String {
    let destination = link.replace('&', "&amp;").replace('\\', "%5C").replace('<', "%3C").replace('>', "%3E");
    format!("[{shown}](<{destination}>)")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _always_ok = out.write_fmt(text);
}
