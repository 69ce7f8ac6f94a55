//! For tools that cannot sign: the secret itself comes with the webhook, in a header or as a password, and two settings
//! say where.

use std::borrow::Cow;

use super::{basic, static_token};
use crate::{PluginError, plugin::Tenant, types::Webhook};

/// The header when `token_header` does not say.
const TOKEN_HEADER: &str = "x-webhook-token";
/// The user when `basic_user` does not say.
const BASIC_USER: &str = "patchbay";

/// Where a webhook carries the secret that it proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presented<'a> {
    /// In this header (lower case).
    Token {
        /// Its name.
        header: Cow<'a, str>,
    },
    /// As the password of `Authorization: Basic`.
    Basic {
        /// The user beside it.
        user: &'a str,
    },
}

impl<'a> Presented<'a> {
    /// In the header that the setting `token_header` names, `x-webhook-token` without one.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn token(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        Ok(Self::Token { header: header_setting(tenant, "token_header", TOKEN_HEADER)? })
    }

    /// As the password of the user that the setting `basic_user` names, `patchbay` without one.
    ///
    /// # Errors
    /// `Configuration`, naming the setting.
    pub fn basic(tenant: &Tenant<'a>) -> Result<Self, PluginError> {
        let user = tenant.setting("basic_user").unwrap_or(BASIC_USER);
        // RFC 7617: the first colon ends the user.
        if user.is_empty() || user.contains(':') {
            return Err(PluginError::setting("basic_user", user, "a name without a colon"));
        }
        Ok(Self::Basic { user })
    }

    /// Whether the webhook carries the tenant's secret of this name there.
    ///
    /// # Errors
    /// `Configuration` when the secret cannot be used.
    pub fn holds(&self, tenant: &Tenant<'_>, secret: &str, webhook: &Webhook<'_>) -> Result<bool, PluginError> {
        match self {
            Self::Token { header } => static_token(tenant, secret, webhook, header),
            Self::Basic { user } => basic(tenant, user, secret, webhook),
        }
    }
}

/// The header that a setting names, in lower case as headers reach a plugin, or the usual one without it.
///
/// # Errors
/// `Configuration`, naming the setting.
pub fn header_setting<'a>(
    tenant: &Tenant<'a>,
    setting: &str,
    usual: &'static str,
) -> Result<Cow<'a, str>, PluginError> {
    let name = tenant.setting(setting).unwrap_or(usual);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(PluginError::setting(setting, name, "a header's name: letters, digits, - and _"));
    }
    let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if lower { name.into() } else { name.to_ascii_lowercase().into() })
}
