//! What operators set for a tenant of Jira (`plugin-ctl tenant add … --set name=value`).

use plugin_abi::{prelude::*, signature::Presented};

/// The name of the secret that signs webhooks, or that they carry as token or password.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// The name of the secret for the API: an API token, or an OAuth access token.
pub(crate) const API_KEY: &str = "api_key";

/// All settings and secrets.
pub(crate) const DECLARED: &[Declared] = &[
    Declared::setting(
        "webhook_auth",
        "how webhooks prove where they come from: signature, connect, oauth, token or basic; signature when it is not set",
    ),
    Declared::setting("token_header", "the header that carries the token; x-webhook-token when it is not set"),
    Declared::setting("basic_user", "the user of webhooks with Basic authentication; patchbay when it is not set"),
    Declared::setting("connect_base_path", "the path of the Connect app's base URL; nothing when it is not set"),
    Declared::setting(
        "read_back",
        "true or false: whether a webhook is only a hint, and the ticket is read through the API; false when it is not set",
    ),
    Declared::setting(
        "api_auth",
        "whether api_key is an API token (basic) or an OAuth access token (bearer); basic when it is not set",
    ),
    Declared::setting(
        "api_user",
        "the e-mail address of the account that an API token belongs to; needed unless api_auth is bearer",
    ),
    Declared::setting(
        "note_call",
        "which call posts notes: platform (formatted) or service_desk (plain text); platform when it is not set",
    ),
    Declared::secret(WEBHOOK_SECRET, "signs webhooks, or is the token or password that they carry").required(),
    Declared::secret(API_KEY, "an API token, or an OAuth access token").required(),
];

/// All settings, read; [`DECLARED`] says what each of them means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    pub(crate) webhook_auth: WebhookAuth<'a>,
    pub(crate) read_back: bool,
    pub(crate) api_auth: ApiAuth<'a>,
    pub(crate) note_call: NoteCall,
}

/// How a webhook proves where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WebhookAuth<'a> {
    /// An HMAC of the body in `X-Hub-Signature`: webhooks that an administrator made with a secret.
    Signature,
    /// A Connect app's token over method, path and query.
    Connect { base_path: &'a str },
    /// An OAuth app's token, signed with its client secret.
    OAuth,
    /// The secret itself comes with it: automation rules cannot sign.
    Presented(Presented<'a>),
}

/// How the host's requests prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApiAuth<'a> {
    Basic { user: &'a str },
    Bearer,
}

/// Which of the two calls puts a note on a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoteCall {
    /// The Jira platform's: a document with headings, lists and links.
    Platform,
    /// Jira Service Management's own: plain text.
    ServiceDesk,
}

impl<'a> Settings<'a> {
    /// Reads all settings, also those that a call does not need: a mistake shows at the first webhook, not first in the
    /// dead letters. Looked up one by one, since this runs for every webhook.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let webhook_auth = match tenant.setting("webhook_auth").unwrap_or("signature") {
            "signature" => WebhookAuth::Signature,
            "connect" => WebhookAuth::Connect { base_path: tenant.setting("connect_base_path").unwrap_or_default() },
            "oauth" => WebhookAuth::OAuth,
            "token" => WebhookAuth::Presented(Presented::token(tenant)?),
            "basic" => WebhookAuth::Presented(Presented::basic(tenant)?),
            other => {
                return Err(PluginError::setting("webhook_auth", other, "signature, connect, oauth, token or basic"));
            }
        };
        let read_back = tenant.flag("read_back", false)?;
        let api_auth = match tenant.setting("api_auth").unwrap_or("basic") {
            "basic" => ApiAuth::Basic { user: api_user(tenant)? },
            "bearer" => ApiAuth::Bearer,
            other => return Err(PluginError::setting("api_auth", other, "basic or bearer")),
        };
        let note_call = match tenant.setting("note_call").unwrap_or("platform") {
            "platform" => NoteCall::Platform,
            "service_desk" => NoteCall::ServiceDesk,
            other => return Err(PluginError::setting("note_call", other, "platform or service_desk")),
        };
        Ok(Self { webhook_auth, read_back, api_auth, note_call })
    }
}

fn api_user<'a>(tenant: &Tenant<'a>) -> Result<&'a str, PluginError> {
    match tenant.setting("api_user") {
        None | Some("") => {
            let message = "setting api_user is needed when api_auth is basic: the e-mail address of the API's account";
            Err(PluginError::Configuration(message.to_owned()))
        }
        // RFC 7617: the first colon ends the user.
        Some(user) if user.contains(':') => {
            Err(PluginError::setting("api_user", user, "an e-mail address, without a colon"))
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
        const USER: (&str, &str) = ("api_user", "bot@acme.example");
        let default = || Settings {
            webhook_auth: WebhookAuth::Signature,
            read_back: false,
            api_auth: ApiAuth::Basic { user: "bot@acme.example" },
            note_call: NoteCall::Platform,
        };
        let token = |header: &'static str| WebhookAuth::Presented(Presented::Token { header: header.into() });
        for (settings, expected) in [
            (&[USER][..], default()),
            (&[("api_auth", "bearer")], Settings { api_auth: ApiAuth::Bearer, ..default() }),
            (&[USER, ("read_back", "true")], Settings { read_back: true, ..default() }),
            (&[USER, ("note_call", "service_desk")], Settings { note_call: NoteCall::ServiceDesk, ..default() }),
            (&[USER, ("webhook_auth", "oauth")], Settings { webhook_auth: WebhookAuth::OAuth, ..default() }),
            (
                &[USER, ("webhook_auth", "connect"), ("connect_base_path", "/jira")],
                Settings { webhook_auth: WebhookAuth::Connect { base_path: "/jira" }, ..default() },
            ),
            (
                &[USER, ("webhook_auth", "token"), ("token_header", "X-Rule")],
                Settings { webhook_auth: token("x-rule"), ..default() },
            ),
            (
                &[USER, ("webhook_auth", "basic")],
                Settings { webhook_auth: WebhookAuth::Presented(Presented::Basic { user: "patchbay" }), ..default() },
            ),
        ] {
            check(settings, |read| assert_eq!(read, Ok(expected), "{settings:?}"));
        }
    }

    #[test]
    fn errors_name_the_setting_at_fault() {
        for (settings, name) in [
            (&[][..], "api_user"),
            (&[("api_user", "")], "api_user"),
            (&[("api_user", "a:b")], "api_user"),
            (&[("api_auth", "none")], "api_auth"),
            (&[("api_auth", "bearer"), ("webhook_auth", "none")], "webhook_auth"),
            (&[("api_auth", "bearer"), ("read_back", "yes")], "read_back"),
            (&[("api_auth", "bearer"), ("note_call", "v2")], "note_call"),
            (&[("api_auth", "bearer"), ("webhook_auth", "token"), ("token_header", "x token")], "token_header"),
        ] {
            let message = check(settings, |read| read.unwrap_err().to_string());
            assert!(message.contains(&format!("setting {name} ")), "{settings:?}: {message}");
        }
    }
}
