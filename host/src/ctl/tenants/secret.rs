//! `tenant rotate-secret` and `tenant remove-secret`.

use std::io;

use super::{names, one};
use crate::{
    admin::wire::{Problem, RotateSecret, Tenant},
    ctl::{
        Shown,
        args::OneTenant,
        client::Client,
        console::Console,
        failure::Failure,
        secret::{GivenSecret, SecretReader},
    },
    tenant::check_name,
};

/// Arguments of `tenant rotate-secret`.
pub(super) struct Rotation {
    pub(super) about: OneTenant,
    pub(super) name: String,
    /// How long the previous text stays valid, in seconds.
    pub(super) grace_s: u32,
    /// Whether a name that nobody knows is allowed.
    pub(super) force: bool,
}

pub(super) fn rotate(
    rotation: Rotation,
    value: &GivenSecret,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    let Rotation { about: OneTenant { id, why }, name, grace_s, force } = rotation;
    let value = SecretReader::new(io::stdin()).value(&name, value)?.taken(&name, console);
    checked(&name)?;
    let client = client()?;
    let tenant: Tenant = client.get(&format!("/v1/tenants/{id}"))?;
    names::check_secret(&client, &tenant, &name, force)?;
    let path = why.on(format!("/v1/tenants/{id}/secrets/{name}"));
    Ok(one(&client.put(&path, &RotateSecret { value, grace_s })?))
}

pub(super) fn remove(
    client: &Client,
    about: &OneTenant,
    name: &str,
    yes: bool,
    console: &Console,
) -> Result<Shown, Failure> {
    let OneTenant { id, why } = about;
    checked(name)?;
    let tenant: Tenant = client.get(&format!("/v1/tenants/{id}"))?;
    // The host refuses an unknown secret, and says which there are.
    if tenant.secrets.iter().any(|secret| secret.name == name) {
        let question = format!(
            "Remove secret {name} of tenant {id}? Its text cannot be got back, and what needs it is refused from then on."
        );
        console.confirm(&question, yes)?;
    }
    Ok(one(&client.delete(&why.on(format!("/v1/tenants/{id}/secrets/{name}")))?))
}

/// Checks the name, which becomes a part of the request's path.
fn checked(name: &str) -> Result<(), Failure> {
    check_name(name).map_err(|error| Failure::usage(Problem::new("INVALID_TENANT", error.to_string())))
}
