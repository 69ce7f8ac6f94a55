//! What operators set for a tenant of Freshservice (`plugin-ctl tenant add … --set name=value`).

use plugin_abi::{prelude::*, signature::Presented};

use crate::payload::{FIELDS, Fields};

/// The name of the secret that webhooks carry as token or password.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// The name of the secret for the API: an agent's API key, or an OAuth access token.
pub(crate) const API_KEY: &str = "api_key";

/// All settings and secrets.
pub(crate) const DECLARED: &[Declared] = &[
    Declared::setting(
        "webhook_auth",
        "how webhooks prove where they come from: token or basic; token when it is not set",
    ),
    Declared::setting("token_header", "the header that carries the token; x-webhook-token when it is not set"),
    Declared::setting("basic_user", "the user of webhooks with Basic authentication; patchbay when it is not set"),
    Declared::setting(
        "read_back",
        "true or false: whether a webhook is only a hint, and the ticket is read through the API; true when it is not set",
    ),
    Declared::setting(
        "fields",
        "name=key, …: the keys of the webhook's template where they are not this plugin's names",
    ),
    Declared::setting(
        "api_auth",
        "whether api_key is an API key (basic) or an OAuth access token (bearer); basic when it is not set",
    ),
    Declared::secret(WEBHOOK_SECRET, "the token or password that webhooks carry").required(),
    Declared::secret(API_KEY, "an agent's API key, or an OAuth access token").required(),
];

/// All settings, read; [`DECLARED`] says what each of them means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    pub(crate) webhook_auth: Presented<'a>,
    pub(crate) read_back: bool,
    /// The template's key for each field.
    pub(crate) fields: Fields<'a>,
    pub(crate) api_auth: ApiAuth,
}

/// What the API is given. An API key stands in the user's place of Basic authentication
/// (<https://api.freshservice.com/#authentication>); applications that are registered for OAuth have access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiAuth {
    Basic,
    Bearer,
}

impl<'a> Settings<'a> {
    /// Reads all settings, also those that a call does not need: a mistake shows at the first webhook, not first in the
    /// dead letters.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let webhook_auth = match tenant.setting("webhook_auth").unwrap_or("token") {
            "token" => Presented::token(tenant)?,
            "basic" => Presented::basic(tenant)?,
            other => return Err(PluginError::setting("webhook_auth", other, "token or basic")),
        };
        let read_back = tenant.flag("read_back", true)?;
        let api_auth = match tenant.setting("api_auth").unwrap_or("basic") {
            "basic" => ApiAuth::Basic,
            "bearer" => ApiAuth::Bearer,
            other => return Err(PluginError::setting("api_auth", other, "basic or bearer")),
        };
        Ok(Self { webhook_auth, read_back, fields: fields(tenant.setting("fields"))?, api_auth })
    }
}

fn fields(setting: Option<&str>) -> Result<Fields<'_>, PluginError> {
    let mut keys = FIELDS;
    for pair in setting.unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
        let named = pair.split_once('=').map(|(name, key)| (name.trim(), key.trim()));
        let place = named.and_then(|(name, key)| {
            let at = FIELDS.iter().position(|field| *field == name)?;
            (!key.is_empty()).then_some((at, key))
        });
        let Some((at, key)) = place else {
            let allowed = format!("a list of name=key, the names being {}", FIELDS.join(", "));
            return Err(PluginError::setting("fields", pair, &allowed));
        };
        keys[at] = key;
    }
    Ok(keys)
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
    fn defaults_trust_nothing_but_the_id() {
        check(&[], |settings| {
            let expected = Settings {
                webhook_auth: Presented::Token { header: "x-webhook-token".into() },
                read_back: true,
                fields: FIELDS,
                api_auth: ApiAuth::Basic,
            };
            assert_eq!(settings, Ok(expected));
        });
    }

    #[test]
    fn what_is_set_is_taken() {
        let settings = [
            ("webhook_auth", "basic"),
            ("basic_user", "fs"),
            ("read_back", "false"),
            ("fields", " ticket_id = reference, subject=title ,"),
            ("api_auth", "bearer"),
        ];
        check(&settings, |read| {
            let read = read.unwrap();
            assert_eq!(read.webhook_auth, Presented::Basic { user: "fs" });
            assert_eq!((read.read_back, read.api_auth), (false, ApiAuth::Bearer));
            let mapped = FIELDS.map(|field| match field {
                "ticket_id" => "reference",
                "subject" => "title",
                own => own,
            });
            assert_eq!(read.fields, mapped);
        });
    }

    #[test]
    fn errors_name_the_setting_at_fault() {
        for (name, value) in [
            ("webhook_auth", "signature"),
            ("webhook_auth", ""),
            ("token_header", "x token"),
            ("read_back", "yes"),
            ("fields", "ticket_id"),
            ("fields", "ticket_id="),
            ("fields", "id=reference"),
            ("fields", "subject=title,=x"),
            ("api_auth", "oauth2"),
        ] {
            let message = check(&[(name, value)], |read| read.unwrap_err().to_string());
            assert!(message.contains(&format!("setting {name} ")), "{name}={value}: {message}");
        }
        let message = check(&[("webhook_auth", "basic"), ("basic_user", "a:b")], |read| read.unwrap_err().to_string());
        assert!(message.contains("setting basic_user "), "{message}");
    }
}
