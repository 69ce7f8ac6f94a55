//! A tool type is in lower case.

use plugin_abi::prelude::*;

const INFO: PluginInfo = plugin_info!("AcmeDesk");

fn main() {
    let _info = INFO;
}
