//! What can go wrong in a plugin, as kinds that tell the host whose fault it is and whether to try again.

use std::{fmt, time::Duration};

/// The error of all plugin methods.
///
/// | kind | in validate, extract | in get, update |
/// |---|---|---|
/// | `Malformed` | 400 | dead letter |
/// | `Validation` | 422, every field listed | dead letter |
/// | `Authentication` | 401 | dead letter (1) |
/// | `Configuration` | 503 | dead letter |
/// | `NotFound` | 503 | dead letter (1) |
/// | `Api`, `RateLimit`, `Cancelled`, `Panicked` | 503 | tried again (2) |
///
/// 1. From get, only when the webhook is ten minutes old: some tools show a new ticket late. [`Response::success`] makes
///    `Authentication` of 401 and of 403. After three of them in a row the tenant's other jobs wait, and one at a time tries,
///    so that no account is locked.
/// 2. `Api` with a status of 4xx is a dead letter, unless the operator counts that status among the transient ones. What is
///    tried again becomes a dead letter when the host gives up, after hours (`retry.give_up_hours`).
///
/// [`Response::success`]: crate::http::Response::success
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PluginError {
    /// The body is not what this plugin can read at all.
    Malformed(String),
    /// The body can be read, but fields are missing or wrong: list all of them.
    Validation(Vec<FieldError>),
    /// The tool's API failed, or could not be reached.
    Api {
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// What the tool said, shortened.
        message: String,
    },
    /// The sender, or our credential for the tool's API, was refused.
    Authentication(String),
    /// The tool wants us to wait.
    RateLimit {
        /// For so long, when it said.
        retry_after: Option<Duration>,
        /// What the tool said, shortened.
        message: String,
    },
    /// The tenant's settings or secrets do not allow the call.
    Configuration(String),
    /// The tool does not have what was asked for.
    NotFound(String),
    /// The host is draining: give up, the job is taken up again later.
    Cancelled,
    /// The plugin panicked. Made by the SDK; a plugin does not return it.
    Panicked {
        /// The panic's message.
        message: String,
        /// `file:line:column`
        location: String,
    },
}

/// One field that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The field's name, with dots for nesting: `request.id`.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

impl FieldError {
    /// A fault of this field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl PluginError {
    /// A validation error of a single field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Validation(vec![FieldError::new(field, message)])
    }

    /// An error of the tool's API without a status: no answer, or one that cannot be read.
    pub fn api(message: impl Into<String>) -> Self {
        Self::Api { status: None, message: message.into() }
    }

    /// A setting of the tenant's with a value that is not allowed.
    pub fn setting(name: &str, value: &str, allowed: &str) -> Self {
        Self::Configuration(format!("setting {name} is {value:?}, must be {allowed}"))
    }

    /// The kind's name as it stands in logs, metrics and history.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Validation(_) => "validation",
            Self::Api { .. } => "api",
            Self::Authentication(_) => "authentication",
            Self::RateLimit { .. } => "rate_limit",
            Self::Configuration(_) => "configuration",
            Self::NotFound(_) => "not_found",
            Self::Cancelled => "cancelled",
            Self::Panicked { .. } => "panicked",
        }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(message) => write!(f, "the body cannot be read: {message}"),
            Self::Validation(fields) => {
                f.write_str("fields are missing or wrong:")?;
                fields.iter().try_for_each(|fault| write!(f, " {}: {};", fault.field, fault.message))
            }
            Self::Api { status: Some(status), message } => write!(f, "the tool's API answered {status}: {message}"),
            Self::Api { status: None, message } => write!(f, "the tool's API failed: {message}"),
            Self::Authentication(message) => write!(f, "not authentic: {message}"),
            Self::RateLimit { retry_after: Some(wait), message } => {
                write!(f, "the tool limits our rate (wait {} s): {message}", wait.as_secs())
            }
            Self::RateLimit { retry_after: None, message } => write!(f, "the tool limits our rate: {message}"),
            Self::Configuration(message) => write!(f, "the tenant's configuration is broken: {message}"),
            Self::NotFound(message) => write!(f, "not found: {message}"),
            Self::Cancelled => f.write_str("cancelled: the host is draining"),
            Self::Panicked { message, location } => write!(f, "the plugin panicked at {location}: {message}"),
        }
    }
}

impl std::error::Error for PluginError {}
