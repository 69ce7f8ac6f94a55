//! A webhook as it is handed to the plugin.

use std::collections::BTreeMap;

use plugin_abi::time::OffsetDateTime;

/// A webhook to hand to the plugin. Its tenant is given, and its path.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) received_at: OffsetDateTime,
}
