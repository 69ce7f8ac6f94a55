//! The paths of requests about jobs.

use time::format_description::well_known::Rfc3339;
use url::form_urlencoded::Serializer;

use super::super::{
    args::{ListJobs, Which},
    span::Since,
};

/// The path that lists jobs.
pub(super) fn list(wanted: &ListJobs) -> String {
    let mut query = Query::of("/v1/jobs");
    query.add("limit", Some(wanted.limit.to_string()));
    query.add("state", wanted.state.map(|state| state.as_str().to_owned()));
    query.add("tenant", wanted.tenant.as_ref().map(ToString::to_string));
    query.add("ticket", wanted.ticket.clone());
    query.add("reason", wanted.reason.clone());
    query.add("after", wanted.after.as_ref().map(ToString::to_string));
    match wanted.since {
        Some(Since::Back(seconds)) => query.add("within_s", Some(seconds.to_string())),
        Some(Since::At(at)) => query.add("since", Some(at.format(&Rfc3339).expect("it was read in this form"))),
        None => {}
    }
    query.path()
}

/// The path that finds jobs.
pub(super) fn find(text: &str) -> String {
    let mut query = Query::of("/v1/jobs/find");
    query.add("text", Some(text.to_owned()));
    query.path()
}

/// The path of a request about the selected jobs.
pub(super) fn which(path: &str, which: &Which) -> String {
    let mut query = Query::of(path);
    query.add("tenant", which.tenant.as_ref().map(ToString::to_string));
    query.add("reason", which.reason.clone());
    query.path()
}

struct Query {
    path: String,
    values: Serializer<'static, String>,
}

impl Query {
    fn of(path: &str) -> Self {
        Self { path: path.to_owned(), values: Serializer::new(String::new()) }
    }

    fn add(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.values.append_pair(name, &value);
        }
    }

    fn path(mut self) -> String {
        match self.values.finish() {
            none if none.is_empty() => self.path,
            query => format!("{}?{query}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;

    #[test]
    fn texts_of_others_stay_in_their_place() {
        assert_eq!(find("a&limit=1 ü"), "/v1/jobs/find?text=a%26limit%3D1+%C3%BC");
        let of = |tenant: Option<&str>, reason: Option<&str>| Which {
            tenant: tenant.map(|id| TenantId::parse(id).unwrap()),
            reason: reason.map(str::to_owned),
        };
        assert_eq!(which("/v1/jobs/dead", &of(None, None)), "/v1/jobs/dead");
        assert_eq!(which("/v1/jobs/dead", &of(Some("acme"), Some("api"))), "/v1/jobs/dead?tenant=acme&reason=api");
    }
}
