//! Whether an answer of the API is a success, and whose fault it is if not:
//! <https://developer.zendesk.com/api-reference/introduction/requests/> and `…/rate-limits/` there.

use std::{collections::BTreeMap, time::Duration};

use plugin_abi::{payload::Scalar, prelude::*, serde::Deserialize, time::OffsetDateTime};

/// How many of the tool's complaints are passed on.
const COMPLAINTS_MAX: usize = 8;
/// Most characters of one of them.
const COMPLAINT_CHARS_MAX: usize = 200;

/// This answer, when it is a success.
///
/// # Errors
/// By what failed: `Authentication`, `NotFound`, `RateLimit`, `Validation` with the fields that the tool names, `Api`.
pub(super) fn successful(response: Response, now: OffsetDateTime) -> Result<Response, PluginError> {
    match response.status() {
        // The API says so in JSON. A page comes from a Zendesk address that is nobody's.
        404 if response.is_html() => Err(PluginError::Configuration(format!(
            "a web page, not Zendesk's API, answered 404: is the base URL https://<subdomain>.zendesk.com? {}",
            response.excerpt()
        ))),
        422 => Err(complaints(&response).map_or_else(
            || PluginError::field("request", format!("the tool answered 422: {}", response.excerpt())),
            PluginError::Validation,
        )),
        _ => {
            // Beside Retry-After, for the limits of the account and of single paths.
            let reset = response.header("ratelimit-reset").and_then(|seconds| seconds.trim().parse().ok());
            response.success(now).map_err(|error| match error {
                PluginError::RateLimit { retry_after: None, message } => {
                    PluginError::RateLimit { retry_after: reset.map(Duration::from_secs), message }
                }
                other => other,
            })
        }
    }
}

/// What the tool finds wrong, by field: a closed ticket, a required field, too many comments. `None` when it names none.
fn complaints(response: &Response) -> Option<Vec<FieldError>> {
    #[derive(Deserialize)]
    #[serde(crate = "plugin_abi::serde")]
    struct Invalid<'a> {
        #[serde(borrow)]
        details: BTreeMap<String, Vec<Complaint<'a>>>,
    }

    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Complaint<'a> {
        #[serde(borrow)]
        description: Scalar<'a>,
    }

    let short = |text: &str| text.chars().take(COMPLAINT_CHARS_MAX).collect::<String>();
    let invalid: Invalid<'_> = response.json().ok()?;
    let complaints = invalid.details.iter().flat_map(|(field, list)| list.iter().map(move |one| (field, one)));
    let faults: Vec<_> = complaints
        .take(COMPLAINTS_MAX)
        .map(|(field, one)| {
            let said = one.description.text().unwrap_or("(no description)");
            FieldError::new(short(field), format!("the tool answered {}", short(said)))
        })
        .collect();
    (!faults.is_empty()).then_some(faults)
}
