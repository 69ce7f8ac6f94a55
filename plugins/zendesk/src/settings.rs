//! What operators set for a tenant of Zendesk (`plugin-ctl tenant add … --set name=value`).

use plugin_abi::prelude::*;

/// The name of the secret that signs webhooks: the *signing secret* that Zendesk shows with the webhook.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// The name of the secret for the API: an API token, or an OAuth access token.
pub(crate) const API_KEY: &str = "api_key";

/// All settings and secrets.
pub(crate) const DECLARED: &[Declared] = &[
    Declared::setting(
        "api_auth",
        "whether api_key is an API token (basic) or an OAuth access token (bearer); basic when it is not set",
    ),
    Declared::setting(
        "api_user",
        "the e-mail address of the agent whom the API token is used for; needed unless api_auth is bearer",
    ),
    Declared::setting(
        "field_tenant_id",
        "where the body of a trigger says it: a key, or keys joined by dots; tenant_id when it is not set",
    ),
    Declared::setting(
        "field_ticket_id",
        "where the body of a trigger says it: a key, or keys joined by dots; ticket_id when it is not set",
    ),
    Declared::setting(
        "field_event",
        "where the body of a trigger says it: a key, or keys joined by dots; event when it is not set",
    ),
    Declared::setting(
        "field_subject",
        "where the body of a trigger says it: a key, or keys joined by dots; subject when it is not set",
    ),
    Declared::setting(
        "field_description",
        "where the body of a trigger says it: a key, or keys joined by dots; description when it is not set",
    ),
    Declared::setting(
        "field_priority",
        "where the body of a trigger says it: a key, or keys joined by dots; priority when it is not set",
    ),
    Declared::setting(
        "field_created_at",
        "where the body of a trigger says it: a key, or keys joined by dots; created_at when it is not set",
    ),
    Declared::setting(
        "field_updated_at",
        "where the body of a trigger says it: a key, or keys joined by dots; updated_at when it is not set",
    ),
    Declared::setting(
        "field_resolution",
        "where the body of a trigger says it: a key, or keys joined by dots; resolution when it is not set",
    ),
    Declared::setting(
        "field_tags",
        "where the body of a trigger says it: a key, or keys joined by dots; tags when it is not set",
    ),
    Declared::secret(WEBHOOK_SECRET, "the signing secret that Zendesk shows with the webhook").required(),
    Declared::secret(API_KEY, "an API token, or an OAuth access token").required(),
];

/// All settings, read; [`DECLARED`] says what each of them means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    pub(crate) api_auth: ApiAuth<'a>,
    pub(crate) fields: FieldMap<'a>,
}

/// How the API knows us: <https://developer.zendesk.com/api-reference/introduction/security-and-auth/>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiAuth<'a> {
    /// An API token, with `<address>/token` as the user.
    Basic { address: &'a str },
    /// An OAuth access token.
    Bearer,
}

/// A field of a trigger's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    TenantId,
    TicketId,
    Event,
    Subject,
    Description,
    Priority,
    CreatedAt,
    UpdatedAt,
    Resolution,
    Tags,
}

/// Each field's setting; what follows `field_` is where it is found when that is not set. In the order of [`Field`].
const FIELDS: [&str; 10] = [
    "field_tenant_id",
    "field_ticket_id",
    "field_event",
    "field_subject",
    "field_description",
    "field_priority",
    "field_created_at",
    "field_updated_at",
    "field_resolution",
    "field_tags",
];
/// What all of these settings begin with.
const PREFIX: &str = "field_";
/// Most keys of one of them: each is a level of the body.
const KEYS_MAX: usize = 16;

/// Where each field of a trigger's body is: administrators write these bodies as they like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldMap<'a>([&'a str; FIELDS.len()]);

impl<'a> Settings<'a> {
    /// Reads all settings, also those that a call does not need: a mistake shows at the first webhook, not first in the
    /// dead letters.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let api_auth = match tenant.setting("api_auth").unwrap_or("basic") {
            "basic" => ApiAuth::Basic { address: address(tenant)? },
            "bearer" => ApiAuth::Bearer,
            other => return Err(PluginError::setting("api_auth", other, "basic or bearer")),
        };
        Ok(Self { api_auth, fields: FieldMap::read(tenant)? })
    }
}

impl<'a> FieldMap<'a> {
    fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let mut paths = FIELDS.map(|setting| &setting[PREFIX.len()..]);
        for (path, setting) in paths.iter_mut().zip(FIELDS) {
            if let Some(set) = tenant.setting(setting) {
                if set.split('.').any(str::is_empty) || set.split('.').nth(KEYS_MAX).is_some() {
                    let allowed = "a key of the body, or up to 16 keys joined by dots: ticket.id";
                    return Err(PluginError::setting(setting, set, allowed));
                }
                *path = set;
            }
        }
        Ok(Self(paths))
    }

    /// The keys that lead to each field, joined by dots, in the order of [`Field`].
    pub(crate) fn paths(&self) -> &[&'a str; FIELDS.len()] {
        &self.0
    }

    /// The keys that lead to this field, joined by dots.
    pub(crate) fn path(&self, field: Field) -> &'a str {
        self.0[field as usize]
    }
}

fn address<'a>(tenant: &Tenant<'a>) -> Result<&'a str, PluginError> {
    match tenant.setting("api_user") {
        None | Some("") => {
            Err(PluginError::Configuration("setting api_user is needed unless api_auth is bearer".to_owned()))
        }
        // RFC 7617: the first colon ends the user. The plugin adds /token itself.
        Some(user) if user.contains(':') || user.ends_with("/token") => {
            Err(PluginError::setting("api_user", user, "the e-mail address of an agent, nothing more"))
        }
        Some(user) => Ok(user),
    }
}

#[cfg(test)]
mod tests {
    use plugin_abi::testing::FakeHost;

    use super::*;

    fn check<R>(settings: &[(&str, &str)], look: impl FnOnce(Result<Settings<'_>, PluginError>) -> R) -> R {
        let host = settings.iter().fold(FakeHost::new(), |host, (name, value)| host.setting(name, value));
        look(Settings::read(&host.tenant()))
    }

    #[test]
    fn what_is_set_is_taken() {
        check(&[("api_user", "bot@acme.example")], |settings| {
            let settings = settings.unwrap();
            assert_eq!(settings.api_auth, ApiAuth::Basic { address: "bot@acme.example" });
            assert_eq!(settings.fields.path(Field::TenantId), "tenant_id");
            assert_eq!(settings.fields.path(Field::Tags), "tags");
        });
        check(&[("api_auth", "bearer"), ("field_ticket_id", "ticket.id"), ("field_tags", "labels")], |settings| {
            let settings = settings.unwrap();
            assert_eq!(settings.api_auth, ApiAuth::Bearer);
            assert_eq!(settings.fields.path(Field::TicketId), "ticket.id");
            assert_eq!(settings.fields.path(Field::Event), "event");
            assert_eq!(settings.fields.path(Field::Tags), "labels");
        });
        let longest = "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p";
        check(&[("api_auth", "bearer"), ("field_tags", longest)], |settings| {
            assert_eq!(settings.unwrap().fields.path(Field::Tags), longest);
        });
    }

    #[test]
    fn errors_name_the_setting_at_fault() {
        for (settings, name) in [
            (&[][..], "api_user"),
            (&[("api_user", "")], "api_user"),
            (&[("api_user", "a:b@acme.example")], "api_user"),
            (&[("api_user", "bot@acme.example/token")], "api_user"),
            (&[("api_auth", "token")], "api_auth"),
            (&[("api_auth", "bearer"), ("field_event", "")], "field_event"),
            (&[("api_auth", "bearer"), ("field_ticket_id", "ticket..id")], "field_ticket_id"),
            (&[("api_auth", "bearer"), ("field_tags", ".tags")], "field_tags"),
            (&[("api_auth", "bearer"), ("field_tags", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q")], "field_tags"),
        ] {
            let message = check(settings, |read| read.unwrap_err().to_string());
            assert!(message.contains(&format!("setting {name} ")), "{settings:?}: {message}");
        }
    }
}
