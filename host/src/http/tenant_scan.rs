//! Finds the tenant that a JSON body names, and skips the rest of it: for the two routes that have none in the path.

use plugin_abi::{
    PluginError,
    json::Json,
    payload::{Scalar, members},
};

/// The top-level text `tenant_id`, as a plugin reads it from the same body: by the same reader, which takes byte order marks,
/// charsets and texts that were cut. `None` when there is none, when it stands there twice (two readers could see two
/// tenants), or when the body is no JSON object.
pub fn tenant_id(body: &[u8], content_type: Option<&[u8]>) -> Option<String> {
    let json = Json::new(body, content_type);
    let found =
        json.object(|bytes| members(bytes, &["tenant_id"]).map_err(|fault| PluginError::Malformed(fault.to_string())));
    match found {
        Ok([Scalar::Text(tenant_id)]) => Some(tenant_id.into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
