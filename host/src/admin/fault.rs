//! Errors of the admin API: the one place that maps them to statuses and texts. Also reads request bodies.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::wire::Problem;
use crate::{
    ids::InvalidId,
    nearest::did_you_mean,
    store::StoreError,
    tenant::{
        InvalidTenant,
        directory::{ChangeFaults, DirectoryError},
        secrets::SecretError,
    },
};

/// An error answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    /// Boxed, because most results are `Ok` and this is the larger variant.
    pub(super) problem: Box<Problem>,
}

impl Fault {
    pub(super) fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problem: Box::new(problem) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        let problem = Problem::new("BAD_REQUEST", message);
        Self::new(StatusCode::BAD_REQUEST, problem.mend("correct it; docs/reference/cli.md has what is allowed"))
    }

    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Problem::new(code, message))
    }

    pub(super) fn conflict(problem: Problem) -> Self {
        Self::new(StatusCode::CONFLICT, problem)
    }

    pub(super) fn unknown_route() -> Self {
        let problem = Problem::new("UNKNOWN_ROUTE", "this host does not know such a request")
            .mend("use the plugin-ctl that came with this patchbay");
        Self::new(StatusCode::NOT_FOUND, problem)
    }

    /// Adds what is still true despite the error.
    pub(super) fn state(mut self, state: impl Into<String>) -> Self {
        self.problem.state = Some(state.into());
        self
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

impl From<InvalidId> for Fault {
    fn from(error: InvalidId) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::TenantExists(_) => (StatusCode::CONFLICT, "TENANT_EXISTS"),
            StoreError::UnknownTenant(_) => (StatusCode::NOT_FOUND, "UNKNOWN_TENANT"),
            StoreError::LiveJobs { .. } => (StatusCode::CONFLICT, "LIVE_JOBS"),
            StoreError::Saturated { .. } => (StatusCode::SERVICE_UNAVAILABLE, "STORE_SATURATED"),
            StoreError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "STORE_UNAVAILABLE"),
            StoreError::Closed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "STORE_CLOSED"),
            StoreError::Newer { .. }
            | StoreError::Damaged { .. }
            | StoreError::Missing { .. }
            | StoreError::OldSqlite { .. }
            | StoreError::UnreadableRow { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "STORE_DAMAGED"),
        };
        Self::new(status, Problem::new(code, error.to_string()))
    }
}

impl From<InvalidTenant> for Fault {
    fn from(error: InvalidTenant) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Problem::new("INVALID_TENANT", error.to_string()))
    }
}

impl From<ChangeFaults> for Fault {
    fn from(ChangeFaults(faults): ChangeFaults) -> Self {
        let mut causes: Vec<_> = faults.iter().map(|fault| Problem::new("INVALID_TENANT", fault.to_string())).collect();
        let problem = if causes.len() == 1 {
            causes.remove(0)
        } else {
            let message = format!("{} things about this change are wrong", causes.len());
            Problem { causes, ..Problem::new("INVALID_TENANT", message) }
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, problem.state("nothing was changed"))
    }
}

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        let (status, code) = match &error {
            SecretError::Length => (StatusCode::UNPROCESSABLE_ENTITY, "INVALID_SECRET"),
            SecretError::Missing { .. }
            | SecretError::UnknownKey { .. }
            | SecretError::Tampered { .. }
            | SecretError::NoRandom(_) => (StatusCode::INTERNAL_SERVER_ERROR, "SECRET_FAILED"),
        };
        Self::new(status, Problem::new(code, error.to_string()))
    }
}

impl From<DirectoryError> for Fault {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Invalid(error) => error.into(),
            DirectoryError::Change(faults) => faults.into(),
            DirectoryError::Secret(error) => error.into(),
            DirectoryError::Store(error) => error.into(),
            DirectoryError::NoSecret { ref name, ref known, .. } => {
                let has = match &known[..] {
                    [] => "it has no secrets at all".to_owned(),
                    known => format!("{}it has {}", did_you_mean(name, known), known.join(", ")),
                };
                let problem = Problem::new("UNKNOWN_SECRET", error.to_string()).why(has).state("nothing was changed");
                Self::new(StatusCode::NOT_FOUND, problem.mend("plugin-ctl tenant show ID lists its secrets"))
            }
        }
    }
}

/// A request's JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| Fault { status: error.status(), ..Fault::bad_request(error.body_text()) })?;
        // Secrets protect themselves: the error never quotes them.
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Fault::bad_request(format!("the request cannot be read: {error}")))
    }
}
