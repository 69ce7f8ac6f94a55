//! Only a plugin can be exported.

struct AcmeDesk;

plugin_abi::export_plugin!(AcmeDesk);

fn main() {}
