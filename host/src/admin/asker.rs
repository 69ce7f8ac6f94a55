//! The user who sends a request, and the reason. The system names the user at the other end of the socket, whatever the
//! request says. The reason comes from the request.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use tokio::net::UnixStream;
use url::form_urlencoded;

use super::{fault::Fault, wire::Problem};
use crate::plugin::journal::{Actor, Decided, checked_reason};

/// The user at the other end of the request's connection. An extractor, which must come before the body's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker(Option<u32>);

impl Asker {
    /// The user who opened this connection (`SO_PEERCRED`).
    pub(super) fn of(connection: &UnixStream) -> Self {
        let peer = connection.peer_cred().inspect_err(|error| tracing::warn!(%error, "who asks cannot be told"));
        Self(peer.ok().map(|peer| peer.uid()))
    }

    /// A decision by this user, with the reason that the request gives.
    ///
    /// # Errors
    /// 400 for an invalid reason; 500 if the system does not name the user.
    pub(super) fn decides(self, reason: Option<String>) -> Result<Decided, Fault> {
        let unknown = || {
            let problem = Problem::new("UNKNOWN_ASKER", "the system does not say which user asks");
            problem.state("nothing was changed").mend("ask with plugin-ctl, over the admin socket")
        };
        let uid = self.0.ok_or_else(|| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, unknown()))?;
        let why = reason.as_deref().map(checked_reason).transpose();
        let why = why.map_err(|error| Fault::bad_request(error.to_string()).state("nothing was changed"))?;
        Ok(Decided { who: Actor::User(uid), why })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        Ok(parts.extensions.get().copied().unwrap_or(Self(None)))
    }
}

/// The decision behind a request about tenants or jobs: the user, and `why=` as the reason. An extractor, which must
/// come before the body's.
#[derive(Debug)]
pub(super) struct By(pub(super) Decided);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let asker = Asker::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default();
        let why = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "why");
        asker.decides(why.map(|(_, text)| text.into_owned())).map(Self)
    }
}
