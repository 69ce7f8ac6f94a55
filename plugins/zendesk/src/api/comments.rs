//! A ticket's comments: whether a note of ours is among them, and how the ticket ended.

use plugin_abi::{
    html,
    json::{self, Json},
    payload::Scalar,
    serde::Deserialize,
    serde_json::value::RawValue,
};

use crate::merged;

/// Comments, the newest first. Each is read on its own: one that cannot be takes none of the others with it.
#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
pub(super) struct Comments<'a> {
    #[serde(borrow)]
    comments: Vec<&'a RawValue>,
}

/// How a solved ticket ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With this last public answer to its requester, if there is one.
    Solved(Option<String>),
    /// As part of another ticket.
    Merged,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Comment<'a> {
    #[serde(borrow)]
    author_id: Scalar<'a>,
    #[serde(borrow)]
    public: Scalar<'a>,
    #[serde(borrow)]
    html_body: Scalar<'a>,
}

impl Comments<'_> {
    pub(super) fn hold(&self, marker: &str) -> bool {
        let holds =
            |comment: &Comment<'_>| comment.html_body.text().is_some_and(|html| html::holds_marker(html, marker));
        self.comments.iter().any(|raw| look(raw, holds) == Some(true))
    }

    pub(super) fn end(&self, requester: &Scalar<'_>) -> End {
        let mut answer = None;
        for raw in &self.comments {
            let said = look(raw, |comment| {
                let text = comment.html_body.text().map(html::to_text)?;
                let is_answer = comment.public.flag() == Some(true)
                    && comment.author_id.word() != requester.word()
                    && !merged::is_addition(&text);
                Some((text, is_answer))
            });
            match said.flatten() {
                Some((text, _)) if merged::is_end(&text) => return End::Merged,
                Some((text, true)) if answer.is_none() => answer = Some(text),
                _ => {}
            }
        }
        End::Solved(answer)
    }
}

/// What there is to see in a comment that can be read.
fn look<R>(raw: &RawValue, look: impl Fn(&Comment<'_>) -> R) -> Option<R> {
    Json::from(raw).object(|comment| json::from_slice(comment).map(|comment| look(&comment))).ok()
}
