//! From CommonMark to the blocks of a document. Jira refuses a whole document for one node in a place where the format does
//! not allow it, so what Markdown can nest and a document cannot is flattened.

use plugin_abi::serde_json::{Value, json};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// Lists in lists: further ones go on in the last. Also what keeps documents shallow, whatever the Markdown.
const LIST_DEPTH_MAX: usize = 6;

/// The top-level nodes of a document with this content.
pub(super) fn blocks(markdown: &str) -> Vec<Value> {
    let document = Open { block: Block::Document, content: Vec::new(), holder: 0, lists: 0 };
    let mut builder = Builder { open: vec![document], marks: Marks::default() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        builder.take(event);
    }
    builder.close_inline();
    builder.open.pop().map(|document| document.content).unwrap_or_default()
}

struct Builder {
    /// The document, and in it the blocks that have begun.
    open: Vec<Open>,
    marks: Marks,
}

/// A block that has begun.
struct Open {
    block: Block,
    content: Vec<Value>,
    /// Where the innermost block is that stays a block: this one, or one that it stands in.
    holder: usize,
    /// How many items of lists it stands in.
    lists: usize,
}

enum Block {
    Document,
    Paragraph,
    /// A paragraph of text that Markdown has without one: in tight lists and in the cells of tables.
    Inline,
    Heading(HeadingLevel),
    Quote,
    Bullets,
    Numbers(u64),
    Item,
    Code(String),
    Table,
    Row {
        cell: &'static str,
    },
    Cell(&'static str),
    /// Not allowed here: its content stands where it would have stood.
    Spliced,
}

/// How text that comes next is marked.
#[derive(Default)]
struct Marks {
    strong: u32,
    emphasis: u32,
    strike: u32,
    /// The targets of links, `None` where Jira would not take it.
    links: Vec<Option<String>>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text, &[]),
            Event::Code(text) => self.text(&text, &[json!({ "type": "code" })]),
            Event::SoftBreak => self.text(" ", &[]),
            Event::HardBreak => self.inline().push(json!({ "type": "hardBreak" })),
            Event::Rule => {
                self.close_inline();
                if matches!(self.holder(), Block::Document) {
                    self.top().push(json!({ "type": "rule" }));
                }
            }
            // Of extensions that are not switched on.
            Event::InlineMath(_) | Event::DisplayMath(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        let marks = &mut self.marks;
        match tag {
            Tag::Strong => marks.strong += 1,
            Tag::Emphasis => marks.emphasis += 1,
            Tag::Strikethrough => marks.strike += 1,
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let is_whole = ["https://", "http://", "mailto:"].iter().any(|scheme| dest_url.starts_with(scheme));
                marks.links.push(is_whole.then(|| dest_url.into_string()));
            }
            block => {
                self.close_inline();
                let block = self.allowed(&block);
                self.open(block);
            }
        }
    }

    /// What this tag begins where we are.
    fn allowed(&self, tag: &Tag<'_>) -> Block {
        let is_flow = matches!(self.holder(), Block::Document | Block::Quote | Block::Item);
        match (tag, self.holder()) {
            (Tag::Heading { level, .. }, Block::Document) => Block::Heading(*level),
            (Tag::Paragraph | Tag::HtmlBlock | Tag::Heading { .. }, _) if is_flow => Block::Paragraph,
            (Tag::BlockQuote(_), Block::Document) => Block::Quote,
            (Tag::CodeBlock(kind), _) if is_flow => Block::Code(language(kind)),
            (Tag::List(first), _) if is_flow && self.lists() < LIST_DEPTH_MAX => {
                first.map_or(Block::Bullets, Block::Numbers)
            }
            (Tag::Item, Block::Bullets | Block::Numbers(_)) => Block::Item,
            (Tag::Table(_), Block::Document) => Block::Table,
            (Tag::TableHead, Block::Table) => Block::Row { cell: "tableHeader" },
            (Tag::TableRow, Block::Table) => Block::Row { cell: "tableCell" },
            (Tag::TableCell, Block::Row { cell }) => Block::Cell(cell),
            (Tag::TableCell, _) => Block::Paragraph,
            _ => Block::Spliced,
        }
    }

    fn end(&mut self, tag: TagEnd) {
        let marks = &mut self.marks;
        match tag {
            TagEnd::Strong => marks.strong -= 1,
            TagEnd::Emphasis => marks.emphasis -= 1,
            TagEnd::Strikethrough => marks.strike -= 1,
            TagEnd::Link | TagEnd::Image => drop(marks.links.pop()),
            _ => {
                self.close_inline();
                self.close();
            }
        }
    }

    fn open(&mut self, block: Block) {
        let (holder, lists) = self.open.last().map_or((0, 0), |last| (last.holder, last.lists));
        let stays = !matches!(block, Block::Spliced | Block::Inline);
        let holder = if stays { self.open.len() } else { holder };
        let lists = lists + usize::from(matches!(block, Block::Item));
        self.open.push(Open { block, content: Vec::new(), holder, lists });
    }

    /// Ends the innermost block.
    fn close(&mut self) {
        let Some(Open { block, mut content, .. }) = self.open.pop() else { return };
        let node = match block {
            Block::Spliced => return self.top().append(&mut content),
            // A container needs content.
            Block::Quote | Block::Bullets | Block::Numbers(_) | Block::Table | Block::Row { .. }
                if content.is_empty() =>
            {
                return;
            }
            Block::Document | Block::Paragraph | Block::Inline => json!({ "type": "paragraph", "content": content }),
            Block::Heading(level) => {
                json!({ "type": "heading", "attrs": { "level": level as u8 }, "content": content })
            }
            Block::Quote => json!({ "type": "blockquote", "content": content }),
            Block::Bullets => json!({ "type": "bulletList", "content": content }),
            Block::Numbers(first) => json!({ "type": "orderedList", "attrs": { "order": first }, "content": content }),
            Block::Item => {
                if !content.first().is_some_and(|first| first["type"] == "paragraph" || first["type"] == "codeBlock") {
                    content.insert(0, super::paragraph(""));
                }
                json!({ "type": "listItem", "content": content })
            }
            Block::Code(language) => {
                without_last_line_end(&mut content);
                let attributes = if language.is_empty() { json!({}) } else { json!({ "language": language }) };
                json!({ "type": "codeBlock", "attrs": attributes, "content": content })
            }
            Block::Table => json!({ "type": "table", "content": content }),
            Block::Row { .. } => json!({ "type": "tableRow", "content": content }),
            Block::Cell(kind) => {
                if content.is_empty() {
                    content.push(super::paragraph(""));
                }
                json!({ "type": kind, "attrs": {}, "content": content })
            }
        };
        self.top().push(node);
    }

    fn close_inline(&mut self) {
        if matches!(self.open.last(), Some(Open { block: Block::Inline, .. })) {
            self.close();
        }
    }

    fn text(&mut self, text: &str, more: &[Value]) {
        if text.is_empty() {
            return;
        }
        let in_code = matches!(self.holder(), Block::Code(_));
        let marks = if in_code { Vec::new() } else { self.marks.nodes(more) };
        let content = self.inline();
        // Markdown comes in pieces.
        if let Some(last) = content.last_mut()
            && last["type"] == "text"
            && last["marks"].as_array().map_or(&[][..], Vec::as_slice) == marks
            && let Some(Value::String(so_far)) = last.get_mut("text")
        {
            so_far.push_str(text);
            return;
        }
        content.push(if marks.is_empty() {
            json!({ "type": "text", "text": text })
        } else {
            json!({ "type": "text", "text": text, "marks": marks })
        });
    }

    /// The content of the block that takes text.
    fn inline(&mut self) -> &mut Vec<Value> {
        let takes_text =
            |open: &Open| matches!(open.block, Block::Paragraph | Block::Inline | Block::Heading(_) | Block::Code(_));
        if !self.open.last().is_some_and(takes_text) {
            self.open(Block::Inline);
        }
        self.top()
    }

    fn top(&mut self) -> &mut Vec<Value> {
        &mut self.open.last_mut().expect("the document is open to the end").content
    }

    fn lists(&self) -> usize {
        self.open.last().map_or(0, |last| last.lists)
    }

    /// The innermost block that stays a block.
    fn holder(&self) -> &Block {
        &self.open[self.open[self.open.len() - 1].holder].block
    }
}

impl Marks {
    fn nodes(&self, more: &[Value]) -> Vec<Value> {
        let mut nodes = more.to_vec();
        if let Some(href) = self.links.iter().rev().flatten().next() {
            nodes.push(json!({ "type": "link", "attrs": { "href": href } }));
        }
        // Code can be a link, and nothing else beside that.
        if more.is_empty() {
            for (count, kind) in [(self.strong, "strong"), (self.emphasis, "em"), (self.strike, "strike")] {
                if count > 0 {
                    nodes.push(json!({ "type": kind }));
                }
            }
        }
        nodes
    }
}

/// The line end before a fence is Markdown's.
fn without_last_line_end(content: &mut Vec<Value>) {
    if let Some(Value::String(text)) = content.last_mut().and_then(|last| last.get_mut("text")) {
        text.truncate(text.strip_suffix('\n').unwrap_or(text).len());
        if text.is_empty() {
            content.pop();
        }
    }
}

fn language(kind: &CodeBlockKind<'_>) -> String {
    let CodeBlockKind::Fenced(info) = kind else { return String::new() };
    info.split_whitespace().next().unwrap_or_default().to_owned()
}
