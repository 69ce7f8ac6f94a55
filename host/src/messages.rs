//! The list of every message of a command, of the admin API or of the host's failures: `messages.txt`. It is extracted
//! from the source, so that none can be missing, and checked against the rules for messages.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Failures whose remedy is plain from their text, or that pass on a text with the remedy.
const WITHOUT_MEND: [(&str, &str); 7] = [
    ("USAGE", "clap's own words, which end with the usage; or the option that was given wrongly"),
    ("OUTPUT", "whoever closed the output knows why"),
    ("REFUSED", "each of its causes has one"),
    ("INVALID_TENANT", "the message says what is allowed"),
    ("INVALID_TENANTS", "each of its causes says what is allowed"),
    ("CONFORMANCE", "each of its causes has one"),
    ("(computed)", "made where the words come from"),
];

/// Things that are counted. A number before them needs a singular and a plural.
const COUNTED: [&str; 16] = [
    "jobs",
    "job",
    "webhooks",
    "files",
    "file",
    "threads",
    "thread",
    "tenants",
    "secrets",
    "cases",
    "generations",
    "plugins",
    "tickets",
    "notes",
    "things",
    "letters",
];

/// A place in the source that creates a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    code: String,
    text: String,
    mends: bool,
}

/// Reads the tokens of a file, without what is compiled for tests only.
struct Reader<'a> {
    found: &'a mut BTreeSet<Message>,
}

impl Reader<'_> {
    fn walk(&mut self, tokens: &[TokenTree], around: &[bool]) {
        let mut at = 0;
        while at < tokens.len() {
            if let Some(Attribute { name, group }) = Attribute::at(tokens, at) {
                at += 2;
                match name.as_str() {
                    "error" => self.take("error", &group.stream(), true),
                    "cfg" if group.stream().to_string().contains("test") => at = after_item(tokens, at),
                    _ => {}
                }
                continue;
            }
            if let Some((path, arguments)) = call(tokens, at) {
                // A remedy for a completed struct may be inside or around it.
                let completes = at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(punct) if punct.as_char() == '.');
                let mends = around.iter().rev().take(if completes { 2 } else { 1 }).any(|mends| *mends);
                match path.as_str() {
                    "Problem::new" => self.problem(arguments, mends),
                    "Refusal::new" => self.take("refusal", &arguments.stream(), true),
                    "Fault::bad_request" => self.take("BAD_REQUEST", &arguments.stream(), true),
                    _ => {}
                }
            }
            if let TokenTree::Group(group) = &tokens[at] {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let mut around = around.to_vec();
                if group.delimiter() == Delimiter::Brace {
                    around.push(inner.iter().any(says_mend));
                }
                self.walk(&inner, &around);
            }
            at += 1;
        }
    }

    fn problem(&mut self, arguments: &Group, mends: bool) {
        let inner: Vec<_> = arguments.stream().into_iter().collect();
        let comma = inner.iter().position(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','));
        let (code, text) = inner.split_at(comma.unwrap_or(inner.len()));
        let code = texts(&code.iter().cloned().collect()).pop().unwrap_or_else(|| "(computed)".to_owned());
        self.take(&code, &text.iter().cloned().collect(), mends);
    }

    fn take(&mut self, code: &str, tokens: &TokenStream, mends: bool) {
        let texts = texts(tokens);
        let text = if texts.is_empty() { "(computed)".to_owned() } else { texts.join(" / ") };
        self.found.insert(Message { code: code.to_owned(), text, mends });
    }
}

/// An attribute: `#[name…(group)]`.
struct Attribute {
    name: String,
    group: Group,
}

impl Attribute {
    fn at(tokens: &[TokenTree], at: usize) -> Option<Self> {
        let (TokenTree::Punct(hash), TokenTree::Group(group)) = (tokens.get(at)?, tokens.get(at + 1)?) else {
            return None;
        };
        if hash.as_char() != '#' || group.delimiter() != Delimiter::Bracket {
            return None;
        }
        let TokenTree::Ident(name) = group.stream().into_iter().next()? else { return None };
        Some(Self { name: name.to_string(), group: group.clone() })
    }
}

/// The position after the item that an attribute belongs to: after its block or its semicolon.
fn after_item(tokens: &[TokenTree], from: usize) -> usize {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    tokens[from..].iter().position(is_end).map_or(tokens.len(), |end| from + end + 1)
}

/// A call: `A::b(…)`.
fn call(tokens: &[TokenTree], at: usize) -> Option<(String, &Group)> {
    let TokenTree::Ident(of) = tokens.get(at)? else { return None };
    let colons = tokens.get(at + 1..at + 3)?;
    let are_colons = colons.iter().all(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':'));
    let (TokenTree::Ident(name), TokenTree::Group(arguments)) = (tokens.get(at + 3)?, tokens.get(at + 4)?) else {
        return None;
    };
    are_colons.then(|| (format!("{of}::{name}"), arguments))
}

fn says_mend(token: &TokenTree) -> bool {
    match token {
        TokenTree::Ident(ident) => ident == "mend",
        TokenTree::Group(group) => group.stream().into_iter().any(|token| says_mend(&token)),
        _ => false,
    }
}

/// The string literals in these tokens.
fn texts(tokens: &TokenStream) -> Vec<String> {
    let mut texts = Vec::new();
    for token in tokens.clone() {
        match token {
            TokenTree::Group(group) => texts.extend(self::texts(&group.stream())),
            TokenTree::Literal(literal) => {
                let literal = literal.to_string();
                if let Some(text) = literal.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                    let lines: Vec<_> = text.split("\\\n").map(str::trim_start).collect();
                    texts.push(lines.concat().replace("\\\"", "\""));
                }
            }
            _ => {}
        }
    }
    texts
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            _ if name == "tests" || name.starts_with("test_") || name == "messages" => {}
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

fn messages() -> BTreeSet<Message> {
    let (mut paths, mut found) = (Vec::new(), BTreeSet::new());
    files(&source(), &mut paths);
    for path in paths {
        let tokens: TokenStream = fs::read_to_string(&path).unwrap().parse().unwrap();
        Reader { found: &mut found }.walk(&tokens.into_iter().collect::<Vec<_>>(), &[]);
    }
    found
}

/// `PATCHBAY_WRITE_SNAPSHOTS=1` writes the list anew, so that the author of a message reads it among the others.
#[test]
fn every_message_is_in_the_list() {
    let lines: BTreeSet<_> =
        messages().into_iter().map(|Message { code, text, .. }| format!("{code}: {text}\n")).collect();
    let list: String = lines.into_iter().collect();
    let file = source().join("messages.txt");
    if env::var_os("PATCHBAY_WRITE_SNAPSHOTS").is_some() {
        fs::write(&file, &list).unwrap();
    }
    assert!(list.lines().count() > 150, "the source was not read");
    assert_eq!(list, fs::read_to_string(file).unwrap());
}

#[test]
fn no_message_shows_a_value_as_rust_writes_it() {
    // Placeholders for texts. A quoted text is written the same way.
    const TEXTS: [&str; 8] = ["name", "found", "url", "text", "setting", "word", "kind", "version"];
    for Message { code, text, .. } in messages() {
        for (before, _) in text.match_indices(":?}").map(|(at, _)| text.split_at(at)) {
            let shown = before.rsplit('{').next().unwrap_or_default();
            assert!(TEXTS.contains(&shown), "{code}: {text}");
        }
    }
}

#[test]
fn one_of_a_thing_is_not_many() {
    for Message { code, text, .. } in messages() {
        for (at, _) in text.match_indices("} ") {
            let placeholder = text[..at].rsplit('{').next().unwrap_or_default();
            let next = text[at + 2..].split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            // A limit is a known number greater than one, and `several` is always more than one.
            let is_limit = placeholder.chars().any(char::is_alphabetic)
                && (placeholder.to_uppercase() == placeholder
                    || placeholder.ends_with("_max")
                    || placeholder == "several");
            let is_counted = COUNTED.contains(&next) && next.ends_with('s');
            assert!(is_limit || !is_counted, "{code}: {text}: say it with counted()");
        }
        assert!(!text.contains("are {}") && !text.contains("(s)"), "{code}: {text}");
    }
}

#[test]
fn every_failure_says_how_to_mend_it() {
    let without: BTreeSet<_> =
        messages().into_iter().filter(|message| !message.mends).map(|message| message.code).collect();
    let known: BTreeSet<_> = WITHOUT_MEND.iter().map(|(code, _)| (*code).to_owned()).collect();
    let unknown: Vec<_> = without.difference(&known).collect();
    assert!(unknown.is_empty(), "these have no mend: {unknown:?}");
    for (code, why) in WITHOUT_MEND {
        assert!(without.contains(code), "{code} has a mend now; it was left out since {why}");
    }
}

#[test]
fn the_reader_finds_what_the_rules_are_about() {
    let mut found = BTreeSet::new();
    let tokens: TokenStream = r#"
        fn f() { Failure::failed(Problem::new("A", format!("{n} jobs"))) }
        fn g() { let p = Problem::new("B", "x"); p.mend("y") }
        #[error("{0:?} is wrong")] struct E;
        #[cfg(test)] mod tests { fn h() { Problem::new("C", "only in tests"); } }
        fn i() { Refusal::new(Code::Load, "one \
            line") }
    "#
    .parse()
    .unwrap();
    Reader { found: &mut found }.walk(&tokens.into_iter().collect::<Vec<_>>(), &[]);
    let message = |code: &str, text: &str, mends| Message { code: code.to_owned(), text: text.to_owned(), mends };
    let expected = [
        message("A", "{n} jobs", false),
        message("B", "x", true),
        message("error", "{0:?} is wrong", true),
        message("refusal", "one line", true),
    ];
    assert_eq!(found, expected.into());
}
