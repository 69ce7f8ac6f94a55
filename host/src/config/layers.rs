//! Lays file and environment over the defaults, remembers where each value came from, and names unknown and mistyped keys.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{FILE_BYTES_MAX, Fault, Place, Raw};
use crate::nearest::nearest;

/// Where the values that are not defaults come from, by key.
pub(super) type Places = BTreeMap<String, Place>;

const ENV_PREFIX: &str = "PATCHBAY_";
const ENV_STATE_DIR: &str = "PATCHBAY_STATE_DIR";
/// In so many letters a variable may differ from the name of a key and still be taken for a slip. Kubernetes sets
/// `PATCHBAY_SERVICE_HOST` and the like for a service of that name, which differ in more.
const SLIPS_MAX: usize = 2;
/// Characters of a wrong value that a message repeats.
const SHOWN_MAX: usize = 60;

/// All layers, one over the other.
pub(super) struct Laid {
    /// One table.
    pub(super) values: Table,
    pub(super) places: Places,
    pub(super) faults: Vec<Fault>,
    /// What is ignored, and probably was not meant to be.
    pub(super) warnings: Vec<Fault>,
}

/// The layers so far. Only values of a known key and of that key's type get in.
pub(super) struct Layers {
    /// By `section.key`; what `Raw` serialises to, so a key cannot be in one and not in the other.
    defaults: BTreeMap<String, Value>,
    values: BTreeMap<String, Value>,
    places: Places,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Layers {
    pub(super) fn defaults() -> Self {
        let table = Table::try_from(Raw::default()).expect("texts, numbers and lists are all TOML values");
        let defaults = flat(&table);
        Self { values: defaults.clone(), defaults, places: Places::new(), faults: Vec::new(), warnings: Vec::new() }
    }

    /// Reads the file at `path`, which the operator knows as `shown`.
    pub(super) fn file(&mut self, shown: &Path, path: &Path) {
        match read(path) {
            Ok(text) => {
                let (root, errors) = DeTable::parse_recoverable(&text);
                let source = Source { shown, text: &text };
                if errors.is_empty() {
                    self.document(&source, root.get_ref());
                }
                for error in errors {
                    let start = error.span().map_or(text.len(), |span| span.start);
                    let text = error.message().lines().next().unwrap_or("is not TOML").to_owned();
                    self.faults.push(Fault { place: source.at(start), text });
                }
            }
            Err(error) => {
                let place = Place::File { path: shown.to_owned(), line: None };
                self.faults.push(Fault { place, text: format!("cannot be read: {error}") });
            }
        }
    }

    /// Takes `PATCHBAY_STATE_DIR` and every `PATCHBAY_<SECTION>__<KEY>`; other names are not configuration, but what is
    /// nearly the name of a key is worth a warning.
    pub(super) fn environment(&mut self, env: impl Iterator<Item = (String, String)>) {
        let (mut ours, others): (Vec<_>, Vec<_>) = env.partition(|(name, _)| {
            name == ENV_STATE_DIR || name.strip_prefix(ENV_PREFIX).is_some_and(|rest| rest.contains("__"))
        });
        ours.sort();
        let mut others: Vec<_> = others.into_iter().map(|(name, _)| name).collect();
        others.sort();
        for name in others {
            let similar = self.defaults.keys().map(|key| env_name(key)).filter(|known| is_nearly(&name, known));
            if let Some(meant) = nearest(&name, similar) {
                let text = format!("it is no configuration, and is ignored; did you mean {meant}?");
                self.warnings.push(Fault { place: Place::Environment(name), text });
            }
        }
        for (name, text) in ours {
            let place = Place::Environment(name.clone());
            let Some(key) = self.defaults.keys().find(|key| env_name(key) == name).cloned() else {
                let meant = meant(&name, self.defaults.keys().map(|key| env_name(key)), str::to_owned);
                self.faults.push(Fault { place, text: format!("no key has this name{meant}") });
                continue;
            };
            let found = typed(&self.defaults[&key], &text);
            self.put(key, place, found, &format!("{text:?}"));
        }
    }

    /// What was found.
    pub(super) fn finish(self) -> Laid {
        let mut table = Table::new();
        for (key, value) in self.values {
            match key.split_once('.') {
                None => {
                    table.insert(key, value);
                }
                Some((section, key)) => {
                    if let Value::Table(inner) = table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                        inner.insert(key.to_owned(), value);
                    }
                }
            }
        }
        Laid { values: table, places: self.places, faults: self.faults, warnings: self.warnings }
    }

    fn document(&mut self, source: &Source<'_>, root: &DeTable<'_>) {
        let mut entries: Vec<_> = root.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let place = source.at(name.span().start);
            let section = self.is_section(name.get_ref());
            match value.get_ref() {
                DeValue::Table(keys) if section => {
                    let mut keys: Vec<_> = keys.iter().collect();
                    keys.sort_by_key(|(key, _)| key.span().start);
                    for (key, value) in keys {
                        let full = format!("{}.{}", name.get_ref(), key.get_ref());
                        self.entry(source, full, key.span().start, value);
                    }
                }
                DeValue::Table(_) if !self.defaults.contains_key(&**name.get_ref()) => {
                    let sections =
                        self.defaults.keys().filter_map(|key| key.split_once('.')).map(|(s, _)| s.to_owned());
                    let meant = meant(name.get_ref(), sections, |name| format!("[{name}]"));
                    let text = format!("[{}] is not a known section{meant}", name.get_ref());
                    self.faults.push(Fault { place, text });
                }
                _ if section => {
                    self.faults.push(Fault { place, text: format!("{} must be a section", name.get_ref()) });
                }
                _ => self.entry(source, name.get_ref().to_string(), name.span().start, value),
            }
        }
    }

    fn entry(&mut self, source: &Source<'_>, key: String, start: usize, value: &Spanned<DeValue<'_>>) {
        let place = source.at(start);
        if self.defaults.contains_key(&key) {
            let shown = source.text.get(value.span()).unwrap_or_default();
            self.put(key, place, plain(value.get_ref()), shown);
        } else {
            let meant = meant(&key, self.defaults.keys().cloned(), str::to_owned);
            self.faults.push(Fault { place, text: format!("{key} is not a known key{meant}") });
        }
    }

    fn put(&mut self, key: String, place: Place, found: Option<Value>, shown: &str) {
        let default = &self.defaults[&key];
        if let Some(value) = found.and_then(|value| fitted(default, value)) {
            self.places.insert(key.clone(), place);
            self.values.insert(key, value);
        } else {
            let shown: String = shown.lines().next().unwrap_or_default().chars().take(SHOWN_MAX).collect();
            self.faults.push(Fault { place, text: format!("{key} must be {}, but is {shown}", kind(default)) });
        }
    }

    fn is_section(&self, name: &str) -> bool {
        self.defaults.keys().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
    }
}

/// `section.key` → value; keys outside a section have no dot.
pub(super) fn flat(table: &Table) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => {
                flat.extend(inner.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
            }
            value => {
                flat.insert(name.clone(), value.clone());
            }
        }
    }
    flat
}

/// `server.listen` → `PATCHBAY_SERVER__LISTEN`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Whether this is the variable of a key but for a slip or two. Case does not count.
fn is_nearly(name: &str, known: &str) -> bool {
    // The distance is at least that of the lengths, and costs more to tell.
    name.len().abs_diff(known.len()) <= SLIPS_MAX
        && strsim::damerau_levenshtein(&name.to_uppercase(), known) <= SLIPS_MAX
}

struct Source<'a> {
    shown: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn at(&self, offset: usize) -> Place {
        let line = 1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count();
        Place::File { path: self.shown.to_owned(), line: Some(line) }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A value out of the file without its positions; `None` for what no key holds (dates, tables, huge numbers).
fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok()?),
        DeValue::Float(float) => Value::Float(float.as_str().parse().ok()?),
        DeValue::Boolean(switch) => Value::Boolean(*switch),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| plain(item.get_ref())).collect::<Option<_>>()?),
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

/// A variable's text as the type that the key's default has.
fn typed(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        Value::Float(_) => text.trim().parse().ok().map(Value::Float),
        Value::Boolean(_) => text.trim().parse().ok().map(Value::Boolean),
        Value::Array(_) if text.trim().is_empty() => Some(Value::Array(Vec::new())),
        Value::Array(items) => {
            let sample = items.first().cloned().unwrap_or(Value::String(String::new()));
            text.split(',').map(|item| typed(&sample, item.trim())).collect::<Option<_>>().map(Value::Array)
        }
        _ => Some(Value::String(text.to_owned())),
    }
}

/// The value when it has the default's type; an integer will do for a number. An empty list's items are texts.
fn fitted(default: &Value, value: Value) -> Option<Value> {
    match (default, value) {
        #[expect(clippy::cast_precision_loss, reason = "every number's range is far below 2^52 and is checked later")]
        (Value::Float(_), Value::Integer(integer)) => Some(Value::Float(integer as f64)),
        (Value::Array(samples), Value::Array(items)) => {
            let sample = samples.first().cloned().unwrap_or(Value::String(String::new()));
            items.into_iter().map(|item| fitted(&sample, item)).collect::<Option<_>>().map(Value::Array)
        }
        (default, value) => default.same_type(&value).then_some(value),
    }
}

fn kind(default: &Value) -> &'static str {
    match default {
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(items) if items.first().is_some_and(Value::is_integer) => "a list of integers",
        Value::Array(_) => "a list of texts",
        _ => "a text",
    }
}

/// `; did you mean …?` with the known name that was probably meant.
fn meant(wrong: &str, known: impl Iterator<Item = String>, shown: impl Fn(&str) -> String) -> String {
    nearest(wrong, known).map(|name| format!("; did you mean {}?", shown(&name))).unwrap_or_default()
}
