//! Finds the tenant that a JSON body names, and skips the rest: for the two routes without a tenant in the path.

use plugin_abi::{
    PluginError,
    json::Json,
    payload::{Scalar, members},
};

/// The top-level string `tenant_id`, read by the plugins' own reader, which accepts byte order marks, charsets and cut
/// texts. `None` if it is missing, if it appears twice (two readers could see two tenants), or if the body is not a
/// JSON object.
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
