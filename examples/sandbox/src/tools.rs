//! The tools that the sandbox plays, and the table that hands each request to its vendor's file.

mod servicedesk_plus;

use clap::ValueEnum;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::{answer::Answer, call::Call, state::State, webhook::Webhook};
use servicedesk_plus::Edition;

/// A tool that the sandbox plays. The names are those of the control API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Tool {
    /// ManageEngine ServiceDesk Plus, on-premises.
    ServicedeskPlus,
    /// ManageEngine ServiceDesk Plus Cloud.
    ServicedeskPlusCloud,
}

/// What a request asks of a tool, by its method and path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read a ticket.
    Get,
    /// Read a ticket's notes.
    List,
    /// Post a note.
    Note,
    /// Nothing that the tool has.
    Other,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ServicedeskPlus, Self::ServicedeskPlusCloud];

    /// The name in the control API and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServicedeskPlus => "servicedesk_plus",
            Self::ServicedeskPlusCloud => "servicedesk_plus_cloud",
        }
    }

    /// The path under which the tool's own paths begin; a tenant's base URL is the sandbox's address followed by this.
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::ServicedeskPlus => "/servicedesk",
            Self::ServicedeskPlusCloud => "/sdpcloud",
        }
    }

    /// The tool of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// The tool at a path of the sandbox, and the path as the tool sees it.
    pub(crate) fn at(path: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|tool| {
            let rest = path.strip_prefix(tool.base_path())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((tool, rest))
        })
    }

    /// The rule for ticket ids that this one breaks, if it breaks any: a ticket that the tool could not have is not made.
    pub(crate) fn broken_id_rule(self, id: &str) -> Option<&'static str> {
        self.edition().broken_id_rule(id)
    }

    pub(crate) fn operation(self, method: &Method, path: &str) -> Operation {
        self.edition().operation(method, path)
    }

    /// The tool's proper answer.
    pub(crate) fn answer(self, site: &Site<'_>, call: &Call, path: &str) -> Answer {
        self.edition().answer(self, site, call, path)
    }

    /// The tool's own body for a failure with this status.
    pub(crate) fn failure(self, status: StatusCode) -> Answer {
        servicedesk_plus::failure(status)
    }

    /// The body that the tool posts as a webhook.
    pub(crate) fn webhook_body(self, webhook: &Webhook) -> Vec<u8> {
        servicedesk_plus::webhook_body(self.edition(), webhook)
    }

    const fn edition(self) -> Edition {
        match self {
            Self::ServicedeskPlus => Edition::OnPremises,
            Self::ServicedeskPlusCloud => Edition::Cloud,
        }
    }
}

/// What a tool needs to answer.
pub(crate) struct Site<'a> {
    pub(crate) state: &'a State,
    /// The only credential that is accepted.
    pub(crate) token: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_found_by_whole_segments_of_the_path() {
        let check = |path, expected| assert_eq!(Tool::at(path), expected, "{path}");
        check("/servicedesk/api", Some((Tool::ServicedeskPlus, "/api")));
        check("/servicedesk", Some((Tool::ServicedeskPlus, "")));
        check("/sdpcloud/app/x", Some((Tool::ServicedeskPlusCloud, "/app/x")));
        check("/servicedesks/api", None);
        check("/", None);
    }

    #[test]
    fn names_are_the_same_everywhere() {
        for tool in Tool::ALL {
            assert_eq!(serde_json::to_value(tool).unwrap(), tool.name());
            assert_eq!(tool.to_possible_value().unwrap().get_name(), tool.name());
            assert_eq!(Tool::named(tool.name()), Some(tool));
        }
    }
}
