//! Access tokens for secrets of the kind `oauth2`: obtained when first needed, kept in memory, renewed before they end or
//! when a tool refuses one. One request at a time for each secret, on the lane that needs the token.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plugin_abi::PluginError;
use url::Url;

use super::egress::Egress;
use crate::{
    clock::Clock,
    fault::{self, Point},
    ids::{Incarnation, TenantId},
    tenant::{
        Tenant,
        directory::{ExchangeError, TenantDirectory},
        secrets::{SecretError, SecretText},
    },
};

mod grant;
fn key(tenant: &Tenant) -> (TenantId, Incarnation) {
    (tenant.id.clone(), tenant.incarnation)
}

#[cfg(test)]
mod tests;

use grant::Granted;

/// A token is renewed so long before its end, or a tenth of its life when that is shorter.
const LEEWAY: Duration = Duration::from_secs(60);
/// After a failure that may pass, the endpoint is left alone for so long, or for as long as it says.
const PAUSE_MS: i64 = 1_000;
/// After a failure that will not pass by itself.
const REFUSED_PAUSE_MS: i64 = 10_000;
/// The longest of these pauses, whatever the endpoint says.
const PAUSE_MS_MAX: i64 = 15 * 60_000;
/// When a tool has refused a token and the one that was obtained for it too, refusals are its answer for so long.
const FUTILE_MS: i64 = 60_000;

/// A token in the form in which the directory gives secrets: a list of one.
pub(super) type AccessToken = Arc<[SecretText]>;

/// By tenant and name of the secret.
type Places = HashMap<(TenantId, Incarnation), BTreeMap<String, Arc<Place>>>;

/// The tokens of all tenants. Any thread; what blocks says so.
pub struct Tokens {
    directory: TenantDirectory,
    egress: Arc<Egress>,
    clock: Clock,
    places: Mutex<Places>,
}

/// How it stands with the token of one secret. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenStatus {
    /// When the last token was obtained.
    pub obtained_ms: Option<i64>,
    /// When that token ends.
    pub expires_ms: Option<i64>,
    /// The last failure: when, and what.
    pub last_error: Option<(i64, PluginError)>,
}

#[derive(Default)]
struct Place {
    at: Mutex<At>,
    asked: Condvar,
}

/// What is known of one secret's token.
#[derive(Default)]
struct At {
    /// The secret's version that the rest belongs to.
    version: i64,
    /// The base URL of the tool that the token is for: another one is not shown it.
    tool: Option<Url>,
    held: Option<Held>,
    /// The token before: an answer that comes late may still echo it.
    before: Option<AccessToken>,
    /// The secret whose refresh token was exchanged last: some tools let that be used for a while.
    spent: Option<Arc<[SecretText]>>,
    /// What was granted, but could not be kept yet: the refresh token in it may be the only good one.
    unkept: Option<Granted>,
    /// Somebody asks the endpoint just now.
    asking: bool,
    pause: Option<Pause>,
    futile_until_ms: i64,
    status: TokenStatus,
}

struct Held {
    token: AccessToken,
    from_ms: i64,
    /// When it is to be renewed.
    until_ms: i64,
}

/// Until when the endpoint is not asked again, and what it said.
struct Pause {
    from_ms: i64,
    until_ms: i64,
    error: PluginError,
}

impl Tokens {
    /// No tokens yet.
    pub(super) fn new(directory: TenantDirectory, egress: Arc<Egress>, clock: Clock) -> Self {
        Self { directory, egress, clock, places: Mutex::default() }
    }

    /// The token for a secret, obtained if need be; `None` when the secret is a plain one. Blocks, at most until the
    /// deadline; for a lane.
    ///
    /// # Errors
    /// `Authentication` and `Configuration` when somebody has to mend something, `RateLimit` and `Api` when it may pass.
    pub(super) fn token(
        &self,
        tenant: &Tenant,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<AccessToken>, PluginError> {
        if self.secret(tenant, name)?.1.is_none() {
            return Ok(None);
        }
        self.obtain(tenant, name, None, deadline).map(Some)
    }

    /// Another token after the tool has refused this one; `None` when that was of no use a moment ago. Blocks as above.
    ///
    /// # Errors
    /// As above.
    pub(super) fn renewed(
        &self,
        tenant: &Tenant,
        name: &str,
        refused: &AccessToken,
        deadline: Instant,
    ) -> Result<Option<AccessToken>, PluginError> {
        let futile_until_ms = self.place(tenant, name).lock().futile_until_ms;
        let now_ms = self.clock.now_ms();
        if (futile_until_ms.saturating_sub(FUTILE_MS)..futile_until_ms).contains(&now_ms) {
            return Ok(None);
        }
        self.obtain(tenant, name, Some(refused), deadline).map(Some)
    }

    /// The tool has refused the renewed token as well.
    pub(super) fn was_futile(&self, tenant: &Tenant, name: &str) {
        self.place(tenant, name).lock().futile_until_ms = self.clock.now_ms().saturating_add(FUTILE_MS);
    }

    /// What a tenant's tool was shown lately and the directory does not have.
    pub(super) fn shown(&self, tenant: &Tenant) -> Vec<Arc<[SecretText]>> {
        let places: Vec<_> =
            self.places().get(&key(tenant)).map(|of| of.values().cloned().collect()).unwrap_or_default();
        let tokens = |place: &Arc<Place>| {
            let at = place.lock();
            [at.held.as_ref().map(|held| &held.token), at.before.as_ref(), at.spent.as_ref()].map(|text| text.cloned())
        };
        places.iter().flat_map(tokens).flatten().collect()
    }

    /// How it stands with a secret's token.
    pub fn status(&self, tenant: &Tenant, name: &str) -> TokenStatus {
        let place = self.places().get(&key(tenant)).and_then(|of| of.get(name)).cloned();
        place.map(|place| place.lock().status.clone()).unwrap_or_default()
    }

    /// Overwrites tokens that have ended, and forgets tenants that are gone. To be called every few seconds.
    pub fn forget_stale(&self) {
        let now_ms = self.clock.now_ms();
        self.places().retain(|(tenant, incarnation), of| {
            for place in of.values() {
                let mut at = place.lock();
                if at.held.as_ref().is_some_and(|held| !held.is_good(now_ms)) {
                    (at.held, at.before, at.spent) = (None, None, None);
                }
            }
            self.directory.get(tenant.as_str()).is_some_and(|now| now.incarnation == *incarnation)
        });
    }

    fn obtain(
        &self,
        tenant: &Tenant,
        name: &str,
        refused: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<AccessToken, PluginError> {
        let place = self.place(tenant, name);
        let mut at = place.lock();
        while at.asking {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PluginError::api("another call asks for an access token, and has none by the deadline"));
            }
            at = place.asked.wait_timeout(at, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let (version, secrets) = self.secret(tenant, name)?;
        let secrets = secrets.ok_or_else(|| PluginError::api("the secret was replaced by a plain one just now"))?;
        at.belong_to(version, &tenant.base_url);
        let now_ms = self.clock.now_ms();
        match &at.held {
            Some(held) if refused.is_some_and(|refused| Arc::ptr_eq(refused, &held.token)) => at.let_go(),
            Some(held) if held.is_good(now_ms) => return Ok(Arc::clone(&held.token)),
            _ => at.let_go(),
        }
        if let Some(pause) = at.pause.as_ref().filter(|pause| (pause.from_ms..pause.until_ms).contains(&now_ms)) {
            return Err(pause.error.clone());
        }
        at.asking = true;
        let unkept = at.unkept.take();
        drop(at);
        let turn = Turn(&place);
        let answer = self.ask(tenant, name, version, &secrets[0], unkept, deadline);
        turn.end(|at| {
            if matches!(&answer, Ok((_, granted)) if granted.exchanged.is_some()) {
                at.spent = Some(secrets);
            }
            self.note(tenant, name, at, answer)
        })
    }

    /// Asks the endpoint, unless it has already granted what only could not be kept, and keeps what was exchanged.
    /// Returns the version of the secret from now on.
    fn ask(
        &self,
        tenant: &Tenant,
        name: &str,
        version: i64,
        secret: &SecretText,
        unkept: Option<Granted>,
        deadline: Instant,
    ) -> Result<(i64, Granted), (PluginError, Option<Granted>)> {
        let credential = secret.oauth2().ok().flatten();
        let credential = credential.ok_or_else(|| (PluginError::api("the secret was replaced just now"), None))?;
        let granted = match unkept {
            Some(granted) => granted,
            None => grant::ask(&self.egress, tenant, credential, self.clock.now(), deadline)
                .map_err(|error| (error, None))?,
        };
        let Some(exchanged) = granted.exchanged.clone() else { return Ok((version, granted)) };
        match self.directory.exchange_secret(&tenant.id, name, version, exchanged, deadline) {
            Ok(version) => {
                fault::reached(Point::TokenKept);
                Ok((version, granted))
            }
            Err(ExchangeError::Superseded) => {
                Err((PluginError::api("the secret was set anew while a token was obtained with the old one"), None))
            }
            Err(error @ (ExchangeError::Late | ExchangeError::Directory(_))) => {
                let message = format!("the refresh token that was given in exchange cannot be kept: {error}");
                Err((PluginError::api(message), Some(granted)))
            }
        }
    }

    fn note(
        &self,
        tenant: &Tenant,
        name: &str,
        at: &mut At,
        answer: Result<(i64, Granted), (PluginError, Option<Granted>)>,
    ) -> Result<AccessToken, PluginError> {
        let now_ms = self.clock.now_ms();
        match answer {
            Ok((version, Granted { token, life, exchanged })) => {
                let life_ms = millis(life);
                let until_ms = now_ms.saturating_add(life_ms - millis(LEEWAY.min(life / 10)));
                at.version = version;
                at.pause = None;
                at.held = Some(Held { token: Arc::clone(&token), from_ms: now_ms, until_ms });
                at.status.obtained_ms = Some(now_ms);
                at.status.expires_ms = Some(now_ms.saturating_add(life_ms));
                let (life_s, exchanged) = (life.as_secs(), exchanged.is_some());
                tracing::info!(tenant = %tenant.id, secret = name, life_s, exchanged, "access token obtained");
                Ok(token)
            }
            Err((error, unkept)) => {
                let pause_ms = match &error {
                    PluginError::Authentication(_) | PluginError::Configuration(_) => REFUSED_PAUSE_MS,
                    PluginError::RateLimit { retry_after: Some(wait), .. } => {
                        millis(*wait).clamp(PAUSE_MS, PAUSE_MS_MAX)
                    }
                    _ => PAUSE_MS,
                };
                at.unkept = unkept;
                at.pause =
                    Some(Pause { from_ms: now_ms, until_ms: now_ms.saturating_add(pause_ms), error: error.clone() });
                at.status.last_error = Some((now_ms, error.clone()));
                tracing::warn!(tenant = %tenant.id, secret = name, "no access token: {error}");
                Err(error)
            }
        }
    }

    /// The secret's version and, when it is of the kind `oauth2`, the secret itself: the first of the list.
    fn secret(&self, tenant: &Tenant, name: &str) -> Result<(i64, Option<AccessToken>), PluginError> {
        let broken = |error: SecretError| PluginError::Configuration(error.to_string());
        let (version, secrets) = self.directory.versioned_secrets(tenant, name).map_err(broken)?;
        match secrets.first().map(SecretText::oauth2) {
            Some(Ok(Some(_))) => Ok((version, Some(secrets))),
            Some(Err(invalid)) => Err(PluginError::Configuration(format!("the tenant's secret {name}: {invalid}"))),
            Some(Ok(None)) | None => Ok((version, None)),
        }
    }

    fn place(&self, tenant: &Tenant, name: &str) -> Arc<Place> {
        let mut places = self.places();
        let of = places.entry(key(tenant)).or_default();
        match of.get(name) {
            Some(place) => Arc::clone(place),
            None => Arc::clone(of.entry(name.to_owned()).or_default()),
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, At> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl At {
    /// What belongs to another version of the secret is forgotten, and so is a token for another tool. What the endpoint
    /// said or granted stays then: it is the same one, and that may be the only good refresh token.
    fn belong_to(&mut self, version: i64, tool: &Url) {
        if self.version != version {
            self.let_go();
            *self = Self { version, before: self.before.take(), spent: self.spent.take(), ..Self::default() };
        } else if self.tool.as_ref() != Some(tool) {
            self.let_go();
            self.futile_until_ms = 0;
            (self.status.obtained_ms, self.status.expires_ms) = (None, None);
        }
        self.tool = Some(tool.clone());
    }

    fn let_go(&mut self) {
        self.before = self.held.take().map(|held| held.token).or(self.before.take());
    }
}

impl Held {
    fn is_good(&self, now_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms)
    }
}

/// The turn to ask the endpoint. However it ends, the next one may ask.
struct Turn<'a>(&'a Place);

impl Turn<'_> {
    fn end<T>(self, note: impl FnOnce(&mut At) -> T) -> T {
        note(&mut self.0.lock())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().asking = false;
        self.0.asked.notify_all();
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
