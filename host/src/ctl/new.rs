//! `new`: writes a vendor's crate, a complete plugin that builds, conforms and serves in the sandbox.

use std::{fs, io, path::Path};

use serde_json::json;

use self::{scheme::Scheme, sdk::Dependency};
use super::{Shown, args, failure::Failure};
use crate::admin::wire::Problem;

pub(super) mod scheme;
mod sdk;

/// The files to write: path, and text with placeholders.
const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("new/Cargo.toml.in")),
    ("src/lib.rs", include_str!("new/lib.rs.in")),
    ("conformance.toml", include_str!("new/conformance.toml.in")),
    ("fixtures/created.json", include_str!("new/created.json")),
    ("fixtures/resolved.json", include_str!("new/resolved.json")),
    ("fixtures/ticket.json", include_str!("new/ticket.json")),
    ("README.md", include_str!("new/README.md.in")),
    (".gitignore", include_str!("new/gitignore")),
];

/// Names that a library cannot have: Rust's keywords, and crates that exist already.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mod move mut override plugin_abi priv proc_macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while \
    yield";

impl Scheme {
    /// The text for each placeholder.
    fn fillings(self) -> [(&'static str, &'static str); 4] {
        let (scheme, sandbox_scheme, validate, sign) = match self {
            Self::Hub => (
                "`X-Webhook-Signature: sha256=<hex>` over the body",
                "hub-header",
                "        signature::hub(tenant, WEBHOOK_SECRET, webhook, \"x-webhook-signature\")",
                r#"{ scheme = "hub", header = "X-Webhook-Signature", secret = "webhook_secret" }"#,
            ),
            Self::Timestamped => (
                "`X-Webhook-Signature: <hex>` over the text of `X-Webhook-Timestamp`, a dot and the body",
                "timestamped",
                "        let scheme = signature::Timestamped::new(
            \"x-webhook-signature\",
            \"x-webhook-timestamp\",
            signature::Encoding::Hex,
        );
        signature::timestamped(tenant, WEBHOOK_SECRET, webhook, &scheme.separator(\".\"))",
                r#"{ scheme = "timestamped", signature_header = "X-Webhook-Signature", timestamp_header = "X-Webhook-Timestamp", separator = ".", secret = "webhook_secret" }"#,
            ),
            Self::Stripe => (
                "`X-Webhook-Signature: t=<seconds>,v1=<hex>` over these seconds, a dot and the body",
                "stripe",
                "        signature::stripe(tenant, WEBHOOK_SECRET, webhook, \"x-webhook-signature\")",
                r#"{ scheme = "stripe", header = "X-Webhook-Signature", secret = "webhook_secret" }"#,
            ),
            Self::Token => (
                "`X-Webhook-Token: <secret>`",
                "static-token",
                "        signature::static_token(tenant, WEBHOOK_SECRET, webhook, \"x-webhook-token\")",
                r#"{ scheme = "token", header = "X-Webhook-Token", secret = "webhook_secret" }"#,
            ),
            Self::Basic => (
                "`Authorization: Basic` with the user `patchbay`",
                "basic",
                "        signature::basic(tenant, \"patchbay\", WEBHOOK_SECRET, webhook)",
                r#"{ scheme = "basic", user = "patchbay", secret = "webhook_secret" }"#,
            ),
        };
        [("{{scheme}}", scheme), ("{{sandbox_scheme}}", sandbox_scheme), ("{{validate}}", validate), ("{{sign}}", sign)]
    }
}

/// Writes the crate into a new folder of its name, below the current one.
pub(super) fn run(wanted: &args::New) -> Result<Shown, Failure> {
    let name = wanted.name.as_str();
    if TAKEN.split(' ').any(|word| word == name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        let problem = Problem::new("NAME", format!("{name} cannot be the name of a Rust library"))
            .mend("take another that begins with a letter, such as acme_desk");
        return Err(Failure::usage(problem));
    }
    let plugin_abi = Dependency::find(wanted.plugin_abi.as_deref())?;
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|fault| unwritable(folder, &fault))?;
    for (path, text) in FILES {
        let path = folder.join(path);
        let text = wanted.scheme.fillings().iter().fold((*text).to_owned(), |text, (at, with)| text.replace(at, with));
        let text = text.replace("{{name}}", name).replace("{{plugin_abi}}", &plugin_abi.toml);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|fault| unwritable(&path, &fault))?;
    }
    let Dependency { toml, local_since } = plugin_abi;
    let local = local_since.as_ref().map(|why| {
        format!(
            "\nplugin-abi is taken from a folder of this machine, since {why}. Before a colleague or a CI job builds the \
             plugin, write a git URL of Patchbay into its Cargo.toml: plugin-abi = {{ git = \"URL\", tag = \"TAG\" }}\n"
        )
    });
    let text = format!(
        "{name}/ is a whole plugin, with plugin-abi from {toml}. Next:\n\n  cd {name}\n  cargo build --release\n  \
         plugin-ctl conformance target/release/lib{name}.so\n\nThen README.md serves it in the sandbox.\n{}",
        local.unwrap_or_default()
    );
    let files: Vec<_> = FILES.iter().map(|(path, _)| folder.join(path).display().to_string()).collect();
    Ok(Shown::new(text, &json!({ "folder": name, "plugin_abi": toml, "local_since": local_since, "files": files })))
}

fn unwritable(path: &Path, fault: &io::Error) -> Failure {
    let exists = fault.kind() == io::ErrorKind::AlreadyExists;
    let problem = Problem::new("NEW", "the crate cannot be written").why(fault.to_string());
    let mend = if exists { "take another name, or remove the folder first" } else { "check the right to write there" };
    Failure::failed(Problem { file: Some(path.display().to_string()), ..problem.mend(mend) })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_place_is_filled_in() {
        for scheme in Scheme::value_variants() {
            for (path, text) in FILES {
                let text = scheme.fillings().iter().fold((*text).to_owned(), |text, (at, with)| text.replace(at, with));
                let text = text.replace("{{name}}", "x").replace("{{plugin_abi}}", "x");
                // Only conformance.toml has this placeholder.
                let text = text.replace("{{marker}}", "");
                assert!(!text.contains("{{"), "{scheme:?} {path}: {text}");
            }
        }
    }
}
