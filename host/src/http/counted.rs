//! Counts and logs the result of each delivery for the tenant that it names, and reports when a tenant begins to be
//! refused.

use super::{
    answer::Refusal,
    routes::FrontDoor,
    told::{TakenNote, Told},
};
use crate::{
    config::TenantRate,
    ids::CorrelationId,
    ingest::{Receipt, Refused, Rejection, Status},
    plugin::{journal::Happened, redact, routes::NoRoute},
    store::PluginEvent,
    tenant::{Tenant, directory::TenantDirectory, tally::REASON_BYTES_MAX},
};

/// How much of a reason is searched for secrets, in bytes. It is more than is kept, because half a secret cannot be
/// recognised.
const SEARCHED_BYTES_MAX: usize = 4 << 10;

impl FrontDoor {
    /// Counts and logs a delivery that was accepted.
    pub(super) fn count_taken(&self, tenant_id: Option<&str>, receipt: &Receipt, correlation_id: &CorrelationId) {
        let Some((id, tally)) = tenant_id.and_then(|id| Some((id, self.ingest.directory.tally(id)?))) else { return };
        let note = match receipt.status {
            Status::Accepted => return tally.accepted(self.clock.now_ms()),
            Status::Duplicate => {
                tally.duplicate();
                TakenNote::Duplicate
            }
            Status::Ignored => {
                tally.ignored();
                TakenNote::Ignored
            }
        };
        let directory = &self.ingest.directory;
        if let Some(tenant) = directory.get(id) {
            self.told.taken(note, directory, &tenant, receipt, correlation_id);
        }
    }

    /// Counts and logs a delivery that was refused, if its tenant exists.
    pub(super) fn count_refused(&self, tenant_id: Option<&str>, refused: &Refused, correlation_id: &CorrelationId) {
        let (directory, rejection) = (&self.ingest.directory, &refused.rejection);
        let Refusal { status, code, .. } = Refusal::of(rejection);
        let known = tenant_id.and_then(|id| Some((directory.get(id)?, directory.tally(id)?)));
        let Some((tenant, tally)) = known else {
            return self.told.unknown_tenant(rejection, correlation_id);
        };
        let reason = told(directory, &tenant, rejection, self.reason(rejection));
        let (status, id) = (status.as_u16(), &tenant.id);
        let begins = tally.refused(status, reason.clone(), self.clock.now_ms());
        self.told.refused(&Told {
            directory,
            tenant: &tenant,
            refused,
            status,
            code,
            reason: &reason,
            correlation_id,
            begins,
        });
        if begins {
            let message = format!("tenant {id}: {status}, {reason}; see plugin-ctl tenant show {id}");
            self.manager.journal().note(PluginEvent::new(Happened::TenantRefused, message).of_tenant(&tenant));
        }
    }

    fn reason(&self, rejection: &Rejection) -> String {
        match rejection {
            Rejection::NoRoute(NoRoute::Missing) => {
                let served = self.ingest.routes.served();
                let served: Vec<_> = served.iter().map(|tool_type| tool_type.as_str()).collect();
                match &served[..] {
                    [] => format!("{rejection}; no tool type is served"),
                    served => format!("{rejection}; served are: {}", served.join(", ")),
                }
            }
            rejection => reason(rejection, Some(self.limits.now().tenant_rate)),
        }
    }
}

/// A refusal's reason for the operator: one line whatever the sender wrote, of limited length, and without the tenant's
/// secrets.
pub(crate) fn told(directory: &TenantDirectory, tenant: &Tenant, rejection: &Rejection, mut reason: String) -> String {
    if is_others_text(rejection) {
        redact::clean_webhook_text(directory, tenant, &mut reason);
    }
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason.replace(char::is_control, " ")
}

/// Whether a sender, a plugin or a tool may have written part of the reason.
fn is_others_text(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::NotAuthentic(why) => why.is_plugins,
        Rejection::RateLimited | Rejection::NoRoute(_) | Rejection::Store(_) => false,
        _ => true,
    }
}

/// The reason for the operator. It quotes a webhook only if its sender is authentic. `rate` is the limit that the
/// sender may have exceeded.
pub(crate) fn reason(rejection: &Rejection, rate: Option<TenantRate>) -> String {
    let mut reason = match (rejection, rate) {
        (Rejection::NotAuthentic(why), _) => why.to_string(),
        (Rejection::Invalid(faults), _) => {
            let mut fields = String::new();
            for fault in faults {
                if fields.len() > SEARCHED_BYTES_MAX {
                    break;
                }
                let between = if fields.is_empty() { "" } else { "; " };
                fields += &format!("{between}{}: {}", fault.field, fault.message);
            }
            fields
        }
        (Rejection::RateLimited, Some(TenantRate { per_s, burst })) => {
            format!("more than server.tenant_rate_per_s = {per_s} (server.tenant_burst = {burst})")
        }
        (other, _) => other.to_string(),
    };
    reason.truncate(reason.floor_char_boundary(SEARCHED_BYTES_MAX));
    reason
}

#[cfg(test)]
mod tests {
    use plugin_abi::{PluginError, error::FieldError};

    use super::*;
    use crate::plugin::{generation::CallError, why::Why};

    #[test]
    fn a_reason_says_what_is_known() {
        let fields = |fields: &[(&str, &str)]| {
            Rejection::Invalid(fields.iter().map(|(field, message)| FieldError::new(*field, *message)).collect())
        };
        let failed = CallError::Plugin(PluginError::Configuration("no secret".to_owned()));
        for (rejection, expected) in [
            (Rejection::NotAuthentic(Why::host("x", "the tenant is disabled")), "the tenant is disabled"),
            (Rejection::Malformed("malformed: line 1 column 7".to_owned()), "malformed: line 1 column 7"),
            (fields(&[]), ""),
            (fields(&[("ticket_id", "is missing")]), "ticket_id: is missing"),
            (fields(&[("a", "b"), ("c", "d")]), "a: b; c: d"),
            (Rejection::RateLimited, "more than server.tenant_rate_per_s = 5 (server.tenant_burst = 9)"),
            (NoRoute::Missing.into(), &NoRoute::Missing.to_string()),
            (failed.clone().into(), &failed.to_string()),
        ] {
            assert_eq!(reason(&rejection, Some(TenantRate { per_s: 5, burst: 9 })), expected, "{rejection:?}");
        }
    }

    #[test]
    fn a_reason_at_its_limit_and_one_past_it() {
        for (bytes, kept) in [(SEARCHED_BYTES_MAX, SEARCHED_BYTES_MAX), (SEARCHED_BYTES_MAX + 1, SEARCHED_BYTES_MAX)] {
            assert_eq!(reason(&Rejection::Malformed("x".repeat(bytes)), None).len(), kept);
        }
        let many = (0..10_000).map(|at| FieldError::new(at.to_string(), "x".repeat(1_000))).collect();
        assert_eq!(reason(&Rejection::Invalid(many), None).len(), SEARCHED_BYTES_MAX);
    }
}
