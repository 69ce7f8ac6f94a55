//! Reasons for the journal.

use url::form_urlencoded;

use crate::plugin::journal::checked_reason;

/// The reason for a command about a tenant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Why {
    /// Why, for the journal: one line
    #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The reason for a command about jobs. It is `--why`, because `--reason` selects jobs by why they were given up.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct WhyJobs {
    /// Why, for the journal: one line
    #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
    pub why: Option<String>,
}

impl Why {
    /// Adds the reason to the request's path.
    pub fn on(&self, path: impl Into<String>) -> String {
        said(path.into(), self.reason.as_deref())
    }
}

impl WhyJobs {
    /// Adds the reason to the request's path.
    pub fn on(&self, path: impl Into<String>) -> String {
        said(path.into(), self.why.as_deref())
    }
}

fn said(mut path: String, why: Option<&str>) -> String {
    if let Some(why) = why {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&form_urlencoded::Serializer::new(String::new()).append_pair("why", why).finish());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_in_its_place() {
        let why = |reason: Option<&str>| Why { reason: reason.map(str::to_owned) };
        assert_eq!(why(None).on("/v1/tenants"), "/v1/tenants");
        assert_eq!(why(Some("a & b")).on("/v1/tenants"), "/v1/tenants?why=a+%26+b");
        assert_eq!(why(Some("ü")).on("/v1/jobs?limit=1"), "/v1/jobs?limit=1&why=%C3%BC");
    }
}
