//! The tool's scripted answers, and what they expect of a request.

use std::{collections::BTreeMap, path::PathBuf};

use plugin_abi::http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::GivenFault;

/// The marker of the note in every case.
pub(in crate::conformance) const MARKER: &str = "patchbay:01890000-0000-7000-8000-000000000001";
/// Placeholder for the marker in the bodies of answers.
const MARKER_PLACE: &str = "{{marker}}";

/// An answer of the tool. The first one that fits a request is used.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenAnswer {
    method: String,
    path: String,
    /// What the request's query contains, still percent-encoded.
    #[serde(default)]
    query: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, in a file next to `conformance.toml`. An alternative to `body`.
    pub(super) file: Option<PathBuf>,
    /// The body itself.
    pub(super) body: Option<String>,
    /// Whether the tool gives this answer only once the note is on the ticket.
    #[serde(default)]
    pub(in crate::conformance) noted: bool,
    /// Expected values in the request's body, by JSON pointer.
    #[serde(default)]
    expect_json: BTreeMap<String, Value>,
    /// JSON pointers to what the request's body must not have.
    #[serde(default)]
    expect_no_json: Vec<String>,
    /// Expected headers of the request.
    #[serde(default)]
    expect_header: BTreeMap<String, String>,
    /// A text that the request's body must contain.
    expect_body_contains: Option<String>,
}

/// Whether a request meets its answer's expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::conformance) enum Expected {
    /// The answer expects nothing.
    Nothing,
    /// The request is as expected.
    Met,
    /// The request is not as expected; the text says why.
    Unmet(String),
}

impl GivenAnswer {
    /// Whether the tool gives this answer to such a request.
    pub(in crate::conformance) fn fits(&self, method: &str, path: &str, query: &str) -> bool {
        self.method.eq_ignore_ascii_case(method) && self.path == path && query.contains(&self.query)
    }

    /// The answer as a response.
    pub(in crate::conformance) fn response(&self) -> Response {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Response::new(self.status, headers, self.body.as_deref().unwrap_or_default())
    }

    /// Whether the answer shows the note.
    pub(in crate::conformance) fn shows_note(&self) -> bool {
        self.body.as_deref().is_some_and(|body| body.contains(MARKER))
    }

    /// Compares the request with the expectations.
    pub(in crate::conformance) fn expected(&self, request: &Request) -> Expected {
        let is_silent = self.expect_json.is_empty()
            && self.expect_no_json.is_empty()
            && self.expect_header.is_empty()
            && self.expect_body_contains.is_none();
        if is_silent {
            return Expected::Nothing;
        }
        self.unmet(request).map_or(Expected::Met, Expected::Unmet)
    }

    fn unmet(&self, request: &Request) -> Option<String> {
        for (name, expected) in &self.expect_header {
            match request.header_value(name) {
                Some(found) if found == expected => {}
                Some(found) => return Some(format!("its header {name} is {found:?}, not {expected:?}")),
                None => return Some(format!("it has no header {name}; {expected:?} is expected")),
            }
        }
        let body = request.body_bytes().unwrap_or_default();
        if let Some(text) = &self.expect_body_contains
            && !String::from_utf8_lossy(body).contains(text)
        {
            return Some(format!("its body does not hold {text:?}"));
        }
        if self.expect_json.is_empty() && self.expect_no_json.is_empty() {
            return None;
        }
        let Some(json) = read(request, body) else { return Some("its body is neither JSON nor a form".to_owned()) };
        for (pointer, expected) in &self.expect_json {
            match json.pointer(pointer) {
                Some(found) if found == expected => {}
                Some(found) => return Some(format!("its body's {pointer} is {found}, not {expected}")),
                None => return Some(format!("its body has no {pointer}; {expected} is expected")),
            }
        }
        let there = self.expect_no_json.iter().find(|pointer| json.pointer(pointer).is_some())?;
        Some(format!("its body has {there}, which must not be there"))
    }

    /// Replaces the placeholder by the marker, and checks that the expectations can be tested.
    pub(super) fn check(&mut self) -> Result<(), GivenFault> {
        if let Some(body) = &mut self.body {
            *body = body.replace(MARKER_PLACE, MARKER);
        }
        let pointers = self.expect_json.keys().chain(&self.expect_no_json);
        match pointers.into_iter().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            None => Ok(()),
            Some(pointer) => Err(GivenFault::Wrong(format!(
                "answer to {} {}: {pointer:?} is no JSON pointer; one begins with a slash, such as \"/note/public\"",
                self.method, self.path
            ))),
        }
    }
}

/// The body as JSON. A form becomes an object of its fields, each of which may contain JSON itself.
fn read(request: &Request, body: &[u8]) -> Option<Value> {
    let is_form = request.header_value("content-type").is_some_and(|kind| kind.contains("form-urlencoded"));
    if !is_form {
        return serde_json::from_slice(body).ok();
    }
    let fields: Map<String, Value> = form_urlencoded::parse(body)
        .map(|(name, value)| {
            let value = serde_json::from_str(&value).unwrap_or_else(|_| Value::String(value.into_owned()));
            (name.into_owned(), value)
        })
        .collect();
    Some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(expects: &str) -> GivenAnswer {
        let text = format!("method = \"POST\"\npath = \"/\"\nstatus = 200\nbody = '{{{{marker}}}}'\n{expects}");
        let mut answer: GivenAnswer = toml::from_str(&text).unwrap();
        answer.check().unwrap();
        answer
    }

    #[test]
    fn what_is_expected_of_a_request_is_looked_for() {
        let json = || Request::post("/").json(&json!({ "note": { "public": false, "n": 1 } })).header("X-A", "b");
        let form = Request::post("/").form(&[("input", r#"{"show":false}"#), ("plain", "a b")]);
        let page = Request::post("/").body("text/html", "<p>x</p>");
        for (expects, request, said) in [
            ("expect_json = { \"/note/public\" = false, \"/note/n\" = 1 }", json(), None),
            ("expect_json = { \"/note/public\" = true }", json(), Some("its body's /note/public is false, not true")),
            ("expect_json = { \"/public\" = false }", json(), Some("its body has no /public; false is expected")),
            ("expect_no_json = [\"/note/public\"]", json(), Some("its body has /note/public, which must not be there")),
            ("expect_no_json = [\"/public\"]", json(), None),
            ("expect_header = { x-a = \"b\" }", json(), None),
            ("expect_header = { x-a = \"c\" }", json(), Some("its header x-a is \"b\", not \"c\"")),
            ("expect_header = { x-b = \"c\" }", json(), Some("it has no header x-b; \"c\" is expected")),
            ("expect_json = { \"/input/show\" = false, \"/plain\" = \"a b\" }", form, None),
            ("expect_json = { \"\" = 1 }", page.clone(), Some("its body is neither JSON nor a form")),
            ("expect_body_contains = \"<p>\"", page.clone(), None),
            ("expect_body_contains = \"<b>\"", page, Some("its body does not hold \"<b>\"")),
        ] {
            let expected = said.map_or(Expected::Met, |said| Expected::Unmet(said.to_owned()));
            assert_eq!(answer(expects).expected(&request), expected, "{expects}");
        }
        assert_eq!(answer("").expected(&json()), Expected::Nothing);
    }

    #[test]
    fn an_answer_shows_the_note_where_its_marker_has_a_place() {
        assert_eq!(answer("noted = true").response().text(), MARKER);
    }
}
