//! The tools that the sandbox plays, and the table that passes each request to its vendor's file.

mod freshservice;
mod generic;
mod jira;
mod servicedesk_plus;
mod servicenow;
mod zendesk;

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
    /// Freshservice.
    Freshservice,
    /// ServiceNow.
    #[serde(rename = "servicenow")]
    #[value(name = "servicenow")]
    ServiceNow,
    /// Jira Service Management in the cloud.
    Jira,
    /// Zendesk Support.
    Zendesk,
    /// A small tool with a JSON API, for plugins fresh from `plugin-ctl new`.
    Generic,
}

/// The operation that a request asks for, by its method and path alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Read a ticket.
    Get,
    /// Read a ticket's notes.
    List,
    /// Post a note.
    Note,
    /// Nothing that the tool offers.
    Other,
}

impl Tool {
    /// All tools.
    pub const ALL: [Self; 7] = [
        Self::ServicedeskPlus,
        Self::ServicedeskPlusCloud,
        Self::Freshservice,
        Self::ServiceNow,
        Self::Jira,
        Self::Zendesk,
        Self::Generic,
    ];

    /// The name in the control API and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ServicedeskPlus => "servicedesk_plus",
            Self::ServicedeskPlusCloud => "servicedesk_plus_cloud",
            Self::Freshservice => "freshservice",
            Self::ServiceNow => "servicenow",
            Self::Jira => "jira",
            Self::Zendesk => "zendesk",
            Self::Generic => "generic",
        }
    }

    /// The prefix of the tool's paths. A tenant's base URL is the sandbox's address followed by it.
    pub const fn base_path(self) -> &'static str {
        match self {
            Self::ServicedeskPlus => "/servicedesk",
            Self::ServicedeskPlusCloud => "/sdpcloud",
            Self::Freshservice => "/freshservice",
            Self::ServiceNow => "/servicenow",
            Self::Jira => "/jira",
            Self::Zendesk => "/zendesk",
            Self::Generic => "/generic",
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

    /// The rule for ticket ids that this id breaks, if any. The sandbox creates no ticket with an invalid id.
    pub(crate) fn broken_id_rule(self, id: &str) -> Option<&'static str> {
        match self {
            Self::ServicedeskPlus => Edition::OnPremises.broken_id_rule(id),
            Self::ServicedeskPlusCloud => Edition::Cloud.broken_id_rule(id),
            Self::Freshservice => freshservice::broken_id_rule(id),
            Self::ServiceNow => servicenow::broken_id_rule(id),
            Self::Jira => jira::broken_id_rule(id),
            Self::Zendesk => zendesk::broken_id_rule(id),
            Self::Generic => generic::broken_id_rule(id),
        }
    }

    pub(crate) fn operation(self, method: &Method, path: &str) -> Operation {
        match self {
            Self::ServicedeskPlus => Edition::OnPremises.operation(method, path),
            Self::ServicedeskPlusCloud => Edition::Cloud.operation(method, path),
            Self::Freshservice => freshservice::operation(method, path),
            Self::ServiceNow => servicenow::operation(method, path),
            Self::Jira => jira::operation(method, path),
            Self::Zendesk => zendesk::operation(method, path),
            Self::Generic => generic::operation(method, path),
        }
    }

    /// The tool's proper answer.
    pub(crate) fn answer(self, site: &Site<'_>, call: &Call, path: &str) -> Answer {
        match self {
            Self::ServicedeskPlus => Edition::OnPremises.answer(self, site, call, path),
            Self::ServicedeskPlusCloud => Edition::Cloud.answer(self, site, call, path),
            Self::Freshservice => freshservice::answer(site, call, path),
            Self::ServiceNow => servicenow::answer(site, call, path),
            Self::Jira => jira::answer(site, call, path),
            Self::Zendesk => zendesk::answer(site, call, path),
            Self::Generic => generic::answer(site, call, path),
        }
    }

    /// The tool's own body for a failure with this status.
    pub(crate) fn failure(self, status: StatusCode) -> Answer {
        match self {
            Self::ServicedeskPlus | Self::ServicedeskPlusCloud => servicedesk_plus::failure(status),
            Self::Freshservice => freshservice::failure(status),
            Self::ServiceNow => servicenow::failure(status),
            Self::Jira => jira::failure(status),
            Self::Zendesk => zendesk::failure(status),
            Self::Generic => generic::failure(status),
        }
    }

    /// The body that the tool posts as a webhook.
    pub(crate) fn webhook_body(self, webhook: &Webhook) -> Vec<u8> {
        match self {
            Self::ServicedeskPlus => servicedesk_plus::webhook_body(Edition::OnPremises, webhook),
            Self::ServicedeskPlusCloud => servicedesk_plus::webhook_body(Edition::Cloud, webhook),
            Self::Freshservice => freshservice::webhook_body(webhook),
            Self::ServiceNow => servicenow::webhook_body(webhook),
            Self::Jira => jira::webhook_body(webhook),
            Self::Zendesk => zendesk::webhook_body(webhook),
            Self::Generic => generic::webhook_body(webhook),
        }
    }
}

/// What a tool needs in order to answer.
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
