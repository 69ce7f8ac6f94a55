use proptest::prelude::{ProptestConfig, any, proptest};

use super::*;

fn t(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn marked(text: &str, marks: &[Value]) -> Value {
    json!({ "type": "text", "text": text, "marks": marks })
}

fn mark(kind: &str) -> Value {
    json!({ "type": kind })
}

fn node(kind: &str, content: &[Value]) -> Value {
    json!({ "type": kind, "content": content })
}

fn item(content: &[Value]) -> Value {
    node("listItem", content)
}

fn code(language: Option<&str>, text: &str) -> Value {
    let attributes = language.map_or_else(|| json!({}), |language| json!({ "language": language }));
    json!({ "type": "codeBlock", "attrs": attributes, "content": [t(text)] })
}

fn cell(kind: &str, content: &[Value]) -> Value {
    json!({ "type": kind, "attrs": {}, "content": [node("paragraph", content)] })
}

#[track_caller]
fn check(markdown: &str, expected: &[Value]) {
    let blocks = builder::blocks(markdown);
    assert_eq!(blocks, expected, "{markdown}");
    breaks_no_rule(&document(blocks));
}

#[test]
fn blocks() {
    check("", &[]);
    check("one\ntwo\n\nthree", &[paragraph("one two"), paragraph("three")]);
    check("one  \ntwo", &[node("paragraph", &[t("one"), mark("hardBreak"), t("two")])]);
    check("## Facts", &[json!({ "type": "heading", "attrs": { "level": 2 }, "content": [t("Facts")] })]);
    check("a\n\n---\n\nb", &[paragraph("a"), mark("rule"), paragraph("b")]);
    check("> a\n>\n> > b", &[node("blockquote", &[paragraph("a"), paragraph("b")])]);
    check("```sh\nls -l\n\npwd\n```", &[code(Some("sh"), "ls -l\n\npwd")]);
    check("```\n*a*\n```", &[code(None, "*a*")]);
    check("    indented", &[code(None, "indented")]);
    check("```\n```", &[json!({ "type": "codeBlock", "attrs": {}, "content": [] })]);
    check("<div>a</div>", &[paragraph("<div>a</div>")]);
}

#[test]
fn lists() {
    check("- a\n- b", &[node("bulletList", &[item(&[paragraph("a")]), item(&[paragraph("b")])])]);
    check(
        "3. a\n\n   more\n4. b",
        &[json!({ "type": "orderedList", "attrs": { "order": 3 }, "content": [
            item(&[paragraph("a"), paragraph("more")]), item(&[paragraph("b")]),
        ] })],
    );
    check(
        "- a\n  - b\n- c",
        &[node(
            "bulletList",
            &[item(&[paragraph("a"), node("bulletList", &[item(&[paragraph("b")])])]), item(&[paragraph("c")])],
        )],
    );
    check("-\n- x", &[node("bulletList", &[item(&[paragraph("")]), item(&[paragraph("x")])])]);
    check("- - a", &[node("bulletList", &[item(&[paragraph(""), node("bulletList", &[item(&[paragraph("a")])])])])]);
    check("- ```\n  a\n  ```", &[node("bulletList", &[item(&[code(None, "a")])])]);
    // What a document's lists cannot hold is flattened.
    check("- # a\n  > b\n\n  ---", &[node("bulletList", &[item(&[paragraph("a"), paragraph("b")])])]);
    check("- | a |\n  |---|\n  | b |", &[node("bulletList", &[item(&[paragraph("a"), paragraph("b")])])]);
}

#[test]
fn tables() {
    check(
        "| a | b |\n|---|---|\n| *c* |",
        &[node(
            "table",
            &[
                node("tableRow", &[cell("tableHeader", &[t("a")]), cell("tableHeader", &[t("b")])]),
                node("tableRow", &[cell("tableCell", &[marked("c", &[mark("em")])]), cell("tableCell", &[])]),
            ],
        )],
    );
}

#[test]
fn marks() {
    let link = |href: &str| json!({ "type": "link", "attrs": { "href": href } });
    let line = |markdown: &str, content: &[Value]| check(markdown, &[node("paragraph", content)]);
    line(
        "**a** *b* ~~c~~",
        &[marked("a", &[mark("strong")]), t(" "), marked("b", &[mark("em")]), t(" "), marked("c", &[mark("strike")])],
    );
    line("***a***", &[marked("a", &[mark("strong"), mark("em")])]);
    line("[**a**](https://x.example/?a=1&b=2)", &[marked("a", &[link("https://x.example/?a=1&b=2"), mark("strong")])]);
    line("<mailto:a@b.example>", &[marked("mailto:a@b.example", &[link("mailto:a@b.example")])]);
    line("![shot](https://x.example/1.png)", &[marked("shot", &[link("https://x.example/1.png")])]);
    // Code can be a link and nothing else.
    line("**a `b`**", &[marked("a ", &[mark("strong")]), marked("b", &[mark("code")])]);
    line("[`a`](http://x.example)", &[marked("a", &[mark("code"), link("http://x.example")])]);
    for target in ["javascript:alert(1)", "/browse/IT-1", "data:text/html,x", "HTTP:x", ""] {
        line(&format!("[a]({target}) b"), &[t("a b")]);
    }
    line(r"\*a\* & <b> &lt;", &[t("*a* & <b> <")]);
}

#[test]
fn a_note_within_the_limit_is_whole() {
    let markdown = "**About**\n\n- **a:** b\n\n---\n\nPatchbay · automatic note · patchbay:0193-n1";
    let whole = note(markdown, "patchbay:0193-n1", 32_767);
    assert_eq!(whole["content"].as_array().map(Vec::len), Some(4));
    let limit = chars(&whole);
    assert_eq!(note(markdown, "patchbay:0193-n1", limit), whole);
    let cut = note(markdown, "patchbay:0193-n1", limit - 1);
    assert_ne!(cut, whole);
    assert!(chars(&cut) < limit);
}

#[test]
fn a_cut_note_says_so_and_keeps_its_marker() {
    const MARKER: &str = "patchbay:0193-n1";
    for markdown in ["a **b** \"é\"\n\n", "- x\n", "```\nnever closed\n", "| a |\n|---|\n| b |\n", "\"", "> a\n\n"] {
        let cut = note(&markdown.repeat(16_400), MARKER, 32_767);
        assert!((10_000..=32_767).contains(&chars(&cut)), "{markdown}: {}", chars(&cut));
        breaks_no_rule(&cut);
        let blocks = cut["content"].as_array().expect("blocks");
        assert_eq!(blocks[blocks.len() - 2..], [paragraph("… [shortened]"), paragraph(MARKER)], "{markdown}");
    }
    // Where not even that fits, it is whole all the same.
    assert_eq!(note("abc", MARKER, 10), document(vec![paragraph("… [shortened]"), paragraph(MARKER)]));
}

#[test]
fn documents_become_text() {
    for (json, expected) in [
        (r#""plain \"text\" \u00e9""#, Some("plain \"text\" é")),
        ("null", None),
        ("7", None),
        ("[]", None),
        ("{", None),
        ("{}", Some("")),
        (r#"{"type":"doc","content":null}"#, Some("")),
        (
            r#"{"content":[{"type":"paragraph","content":[{"type":"text","text":"a"},{"type":"hardBreak"},{"type":"text","text":"b"}]},{"type":"rule"},{"type":"paragraph","content":[{"type":"mention","attrs":{"text":"@Jo"}},{"type":"emoji","attrs":{"shortName":":x:"}}]}]}"#,
            Some("a\nb\n@Jo:x:"),
        ),
        (
            r#"{"content":[{"type":"blockCard","attrs":{"url":"https://x.example"}},{"type":"unheard","content":[{"type":"text","text":"of"}]}]}"#,
            Some("https://x.example\nof"),
        ),
        (r#"{"content":7}"#, None),
    ] {
        assert_eq!(text_of(json).as_deref(), expected, "{json}");
    }
    let long = json!({ "type": "text", "text": "é".repeat(TEXT_BYTES_MAX) }).to_string();
    assert_eq!(text_of(&long).map(|text| text.len()), Some(TEXT_BYTES_MAX));
}

/// What stays of a note in a document is found again in it.
#[test]
fn a_document_of_ours_has_its_text() {
    let markdown = "# a\n\n- b\n  - c\n\n| d |\n|---|\n| e |\n\n```\nf\n```\n\n> g\n\nno · patchbay:0193-n1";
    let text = text_of(&note(markdown, "patchbay:0193-n1", 32_767).to_string());
    assert_eq!(text.as_deref(), Some("a\nb\nc\nd\ne\nf\ng\nno · patchbay:0193-n1"));
}

/// The format's own rules on what may stand in what.
fn breaks_no_rule(node: &Value) {
    const INLINE: &[&str] = &["text", "hardBreak"];
    const FLOW: &[&str] = &["paragraph", "bulletList", "orderedList", "codeBlock"];
    const TOP: &[&str] =
        &["paragraph", "bulletList", "orderedList", "codeBlock", "heading", "blockquote", "rule", "table"];
    let kind = node["type"].as_str().expect("a type");
    let children = node["content"].as_array().map_or(&[][..], Vec::as_slice);
    let (allowed, min): (&[&str], usize) = match kind {
        "doc" => (TOP, 0),
        "paragraph" | "heading" => (INLINE, 0),
        "codeBlock" => (&["text"], 0),
        "blockquote" => (FLOW, 1),
        "bulletList" | "orderedList" => (&["listItem"], 1),
        "listItem" => (FLOW, 1),
        "table" => (&["tableRow"], 1),
        "tableRow" => (&["tableHeader", "tableCell"], 1),
        "tableHeader" | "tableCell" => (&["paragraph"], 1),
        "text" | "hardBreak" | "rule" => (&[], 0),
        other => panic!("{other}"),
    };
    assert!(children.len() >= min, "{node}");
    for child in children {
        assert!(child["type"].as_str().is_some_and(|child| allowed.contains(&child)), "{kind}: {child}");
        breaks_no_rule(child);
    }
    if kind == "listItem" {
        assert!(["paragraph", "codeBlock"].contains(&children[0]["type"].as_str().expect("a type")), "{node}");
    }
    if kind == "text" {
        assert!(node["text"].as_str().is_some_and(|text| !text.is_empty()), "{node}");
        let marks: Vec<_> = node["marks"].as_array().into_iter().flatten().map(|mark| &mark["type"]).collect();
        assert!(
            !marks.contains(&&json!("code")) || marks.iter().all(|mark| **mark == "code" || **mark == "link"),
            "{node}"
        );
    }
}

#[test]
fn however_deep_markdown_nests_documents_stay_shallow() {
    for unit in ["> ", "- ", "1. ", "- > ", "**", "*a ", "[", "~~", "  - a\n"] {
        let blocks = document(builder::blocks(&unit.repeat(10_000)));
        breaks_no_rule(&blocks);
    }
    let steps: String = (0..200).map(|depth| format!("{}- a\n", "  ".repeat(depth))).collect();
    breaks_no_rule(&document(builder::blocks(&steps)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_markdown_becomes_a_document(markdown in "[-#>*_~`|a1. \n\\[\\]()!<é:]{0,120}", limit in 0..2_000_usize) {
        let document = note(&markdown, "patchbay:m", limit);
        breaks_no_rule(&document);
        assert!(chars(&document) <= limit.max(200));
    }

    #[test]
    fn any_json_is_answered(json in "[{}\\[\\]\":,a-z0-9\\\\]{0,80}", bytes in any::<String>()) {
        let _text = (text_of(&json), text_of(&bytes));
    }
}
