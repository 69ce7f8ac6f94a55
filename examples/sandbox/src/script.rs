//! A tool that answers from a script: the `[[answer]]` list of a plugin's `conformance.toml`, so that one file serves
//! both.
//!
//! It requires no credential, and looks only at a request's method, path and query.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Deserialize;
use serde_json::json;

use crate::{answer::Answer, call::Call};

/// The prefix of the scripted tool's paths.
pub(crate) const BASE_PATH: &str = "/script";
/// Placeholder for the note's marker in the bodies of answers.
const MARKER_PLACE: &str = "{{marker}}";
/// The beginning of a marker, as text and in a form.
const MARKER_BEGINS: [&str; 2] = ["patchbay:", "patchbay%3A"];
/// Length of the id that follows, in characters.
const MARKER_ID_CHARS: usize = 36;

/// The script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    answers: Vec<Scripted>,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file, or one that it names, cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The path of that file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file's syntax is wrong.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The path of that file.
        path: PathBuf,
        /// The cause.
        source: toml::de::Error,
    },
    /// One of its answers is impossible.
    #[error("the answer to {method} {path}: {reason}")]
    Impossible {
        /// The method that the answer is for.
        method: String,
        /// The path that the answer is for.
        path: String,
        /// The reason.
        reason: String,
    },
}

/// The file. Its webhooks and expectations are for `plugin-ctl conformance`.
#[derive(Deserialize)]
struct Conformance {
    #[serde(default)]
    answer: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    method: String,
    path: String,
    #[serde(default)]
    query: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    file: Option<PathBuf>,
    body: Option<String>,
    #[serde(default)]
    noted: bool,
}

/// One answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scripted {
    method: Method,
    path: String,
    query: String,
    /// Whether it is given only after the tool has accepted a note.
    is_of_noted: bool,
    status: StatusCode,
    content_type: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

impl Script {
    /// Reads the answers of this file, and the files that they name, relative to its folder.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> Result<Self, ScriptError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let syntax = |source| ScriptError::Syntax { path: path.to_owned(), source };
        let conformance: Conformance = toml::from_str(&read(path)?).map_err(syntax)?;
        let answers = conformance.answer.into_iter().map(|entry| entry.scripted(folder));
        Ok(Self { answers: answers.collect::<Result<_, _>>()? })
    }
}

fn read(path: &Path) -> Result<String, ScriptError> {
    fs::read_to_string(path).map_err(|source| ScriptError::Unreadable { path: path.to_owned(), source })
}

impl Entry {
    fn scripted(self, folder: &Path) -> Result<Scripted, ScriptError> {
        let impossible =
            |reason: String| ScriptError::Impossible { method: self.method.clone(), path: self.path.clone(), reason };
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes());
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let pair = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            headers.push(pair.ok_or_else(|| impossible(format!("{name} is no header")))?);
        }
        let given = headers.iter().position(|(name, _)| name == CONTENT_TYPE).map(|at| headers.remove(at).1);
        let body = match &self.file {
            Some(file) => read(&folder.join(file))?,
            None => self.body.clone().unwrap_or_default(),
        };
        Ok(Scripted {
            method: method.map_err(|fault| impossible(fault.to_string()))?,
            status: StatusCode::from_u16(self.status).map_err(|fault| impossible(fault.to_string()))?,
            content_type: given.unwrap_or(HeaderValue::from_static("application/json")),
            path: self.path,
            query: self.query,
            is_of_noted: self.noted,
            headers,
            body,
        })
    }
}

/// A script in use.
pub(crate) struct Played {
    script: Script,
    /// The marker of the last accepted note.
    marker: Mutex<Option<String>>,
}

impl Played {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, marker: Mutex::default() }
    }

    /// The first answer that fits. Once a note was accepted, answers for that state come first.
    pub(crate) fn answer(&self, call: &Call, path: &str) -> Answer {
        let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
        let query = call.head.uri.query().unwrap_or_default();
        let fits = |answer: &&Scripted| {
            answer.method == call.head.method && answer.path == path && query.contains(&answer.query)
        };
        let of = |is_of_noted| self.script.answers.iter().filter(move |answer| answer.is_of_noted == is_of_noted);
        let noted = marker.is_some().then(|| of(true).find(fits)).flatten();
        let Some(answer) = noted.or_else(|| of(false).find(fits)) else {
            let message = format!("no [[answer]] of the script fits {} {path}", call.head.method);
            return Answer::json(StatusCode::NOT_FOUND, &json!({ "error": message }));
        };
        if call.head.method != Method::GET && answer.status.is_success() {
            *marker = marker_in(&call.body).or(marker.take());
        }
        let body = answer.body.replace(MARKER_PLACE, marker.as_deref().unwrap_or_default());
        let whole = Answer::new(answer.status, answer.content_type.clone(), body);
        answer.headers.iter().fold(whole, |answer, (name, value)| answer.with(name.clone(), value.clone()))
    }
}

/// The marker of a note, if the body of a request contains one.
fn marker_in(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let ids = MARKER_BEGINS.iter().filter_map(|begins| text.split_once(begins));
    let mut ids = ids.filter_map(|(_, rest)| rest.get(..MARKER_ID_CHARS));
    Some(format!("{}{}", MARKER_BEGINS[0], ids.next()?))
}

#[cfg(test)]
mod tests;
