//! What operators set for a tenant of ServiceDesk Plus (`plugin-ctl tenant add … --set name=value`).

use plugin_abi::{prelude::*, signature::Presented};

/// The name of the secret that signs webhooks, or that they carry as token or password.
pub(crate) const WEBHOOK_SECRET: &str = "webhook_secret";
/// The name of the secret for the API: a technician's key on-premises, an OAuth access token in the cloud.
pub(crate) const API_KEY: &str = "api_key";

/// All settings and secrets.
pub(crate) const DECLARED: &[Declared] = &[
    Declared::setting("edition", "on_premises or cloud; on_premises when it is not set"),
    Declared::setting(
        "portal",
        "the name after /app/ in the addresses of the cloud; needed when edition is cloud, else unused",
    ),
    Declared::setting(
        "note_wrapper",
        "the key that the API wants around a note: note or request_note; by edition when it is not set",
    ),
    Declared::setting(
        "webhook_auth",
        "how webhooks prove where they come from: signature, token or basic; signature when it is not set",
    ),
    Declared::setting("token_header", "the header that carries the token; x-webhook-token when it is not set"),
    Declared::setting("basic_user", "the user of webhooks with Basic authentication; patchbay when it is not set"),
    Declared::setting(
        "read_back",
        "true or false: whether a webhook is only a hint, and the ticket is read through the API; false when it is not set",
    ),
    Declared::secret(WEBHOOK_SECRET, "signs webhooks, or is the token or password that they carry").required(),
    Declared::secret(API_KEY, "a technician's key on-premises, an OAuth access token in the cloud").required(),
];

/// All settings, read; [`DECLARED`] says what each of them means.
///
/// ServiceDesk Plus itself cannot sign webhooks: its own custom webhooks need `token` or `basic`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings<'a> {
    pub(crate) edition: Edition<'a>,
    pub(crate) note_wrapper: &'static str,
    pub(crate) webhook_auth: WebhookAuth<'a>,
    pub(crate) read_back: bool,
}

/// The two products, which differ in paths, credentials and wrappers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edition<'a> {
    OnPremises,
    Cloud { portal: &'a str },
}

/// How a webhook proves where it comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WebhookAuth<'a> {
    /// An HMAC of the body in `X-ServiceDesk-Signature` or `X-Webhook-Signature`.
    Signature,
    /// The secret itself comes with it.
    Presented(Presented<'a>),
}

impl<'a> Settings<'a> {
    /// Reads all settings, also those that a call does not need: a mistake shows at the first webhook, not first in the
    /// dead letters. Looked up one by one, since this runs for every webhook.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub(crate) fn read(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let edition = match tenant.setting("edition").unwrap_or("on_premises") {
            "on_premises" => Edition::OnPremises,
            "cloud" => Edition::Cloud { portal: portal(tenant)? },
            other => return Err(PluginError::setting("edition", other, "on_premises or cloud")),
        };
        let note_wrapper = match (tenant.setting("note_wrapper"), edition) {
            (Some("note"), _) | (None, Edition::OnPremises) => "note",
            (Some("request_note"), _) | (None, Edition::Cloud { .. }) => "request_note",
            (Some(other), _) => return Err(PluginError::setting("note_wrapper", other, "note or request_note")),
        };
        let webhook_auth = match tenant.setting("webhook_auth").unwrap_or("signature") {
            "signature" => WebhookAuth::Signature,
            "token" => WebhookAuth::Presented(Presented::token(tenant)?),
            "basic" => WebhookAuth::Presented(Presented::basic(tenant)?),
            other => return Err(PluginError::setting("webhook_auth", other, "signature, token or basic")),
        };
        Ok(Self { edition, note_wrapper, webhook_auth, read_back: tenant.flag("read_back", false)? })
    }
}

fn portal<'a>(tenant: &Tenant<'a>) -> Result<&'a str, PluginError> {
    match tenant.setting("portal") {
        None | Some("") => Err(PluginError::Configuration("setting portal is needed when edition is cloud".to_owned())),
        Some(portal @ ("." | "..")) => {
            Err(PluginError::setting("portal", portal, "the name after /app/ in the portal's address"))
        }
        Some(portal) => Ok(portal),
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
    fn defaults_are_those_of_the_edition() {
        check(&[], |settings| {
            let expected = Settings {
                edition: Edition::OnPremises,
                note_wrapper: "note",
                webhook_auth: WebhookAuth::Signature,
                read_back: false,
            };
            assert_eq!(settings, Ok(expected));
        });
        check(&[("edition", "cloud"), ("portal", "itdesk"), ("webhook_auth", "basic")], |settings| {
            let expected = Settings {
                edition: Edition::Cloud { portal: "itdesk" },
                note_wrapper: "request_note",
                webhook_auth: WebhookAuth::Presented(Presented::Basic { user: "patchbay" }),
                read_back: false,
            };
            assert_eq!(settings, Ok(expected));
        });
    }

    #[test]
    fn what_is_set_is_taken() {
        for (settings, wrapper, auth) in [
            (&[("note_wrapper", "request_note")][..], "request_note", WebhookAuth::Signature),
            (&[("edition", "cloud"), ("portal", "p"), ("note_wrapper", "note")], "note", WebhookAuth::Signature),
            (
                &[("webhook_auth", "token")],
                "note",
                WebhookAuth::Presented(Presented::Token { header: "x-webhook-token".into() }),
            ),
            (
                &[("webhook_auth", "token"), ("token_header", "X-Desk_Token")],
                "note",
                WebhookAuth::Presented(Presented::Token { header: "x-desk_token".into() }),
            ),
            (
                &[("webhook_auth", "basic"), ("basic_user", "sdp")],
                "note",
                WebhookAuth::Presented(Presented::Basic { user: "sdp" }),
            ),
        ] {
            check(settings, |read| {
                let read = read.unwrap();
                assert_eq!((read.note_wrapper, read.webhook_auth), (wrapper, auth), "{settings:?}");
            });
        }
    }

    #[test]
    fn errors_name_the_setting_at_fault() {
        for (settings, name) in [
            (&[("edition", "moon")][..], "edition"),
            (&[("edition", "cloud")], "portal"),
            (&[("edition", "cloud"), ("portal", "")], "portal"),
            (&[("edition", "cloud"), ("portal", "..")], "portal"),
            (&[("note_wrapper", "notes")], "note_wrapper"),
            (&[("webhook_auth", "none")], "webhook_auth"),
            (&[("webhook_auth", "token"), ("token_header", "")], "token_header"),
            (&[("webhook_auth", "token"), ("token_header", "x token")], "token_header"),
            (&[("webhook_auth", "basic"), ("basic_user", "a:b")], "basic_user"),
            (&[("read_back", "yes")], "read_back"),
        ] {
            let message = check(settings, |read| read.unwrap_err().to_string());
            assert!(message.contains(&format!("setting {name} ")), "{settings:?}: {message}");
        }
    }
}
