//! A webhook as it is handed to the plugin.

use std::collections::BTreeMap;

use plugin_abi::time::OffsetDateTime;

/// A webhook to hand to the plugin. The tenant's id and the path are those of `conformance.toml`.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) received_at: OffsetDateTime,
}
