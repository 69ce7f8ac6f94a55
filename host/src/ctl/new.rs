//! `new`: writes a vendor's crate, a whole plugin that builds, conforms and serves in the sandbox.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use serde_json::json;

use super::{Shown, args, failure::Failure};
use crate::admin::wire::Problem;

/// How the new plugin's tool signs its webhooks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Template {
    /// `sha256=<hex>` over the body
    Hub,
    /// `<hex>` over a time stamp and the body
    Timestamped,
    /// The secret itself in a header
    Token,
    /// Basic authentication
    Basic,
}

/// What is written: the path, and the text with its places to fill in.
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

/// Names that a library cannot have: the language's words, and crates that are there already.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mod move mut override plugin_abi priv proc_macro pub ref \
    return self static std struct super test trait true try type typeof unsafe unsized use virtual where while \
    yield";

impl Template {
    /// What stands in place of each name in braces.
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
    let plugin_abi = dependency(wanted.plugin_abi.as_deref())?;
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|fault| unwritable(folder, &fault))?;
    for (path, text) in FILES {
        let path = folder.join(path);
        let text =
            wanted.template.fillings().iter().fold((*text).to_owned(), |text, (at, with)| text.replace(at, with));
        let text = text.replace("{{name}}", name).replace("{{plugin_abi}}", &plugin_abi);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).map_err(|fault| unwritable(&path, &fault))?;
    }
    let text = format!(
        "{name}/ is a whole plugin, with plugin-abi from {plugin_abi}. Next:\n\n  cd {name}\n  cargo build --release\n  \
         plugin-ctl conformance target/release/lib{name}.so\n\nThen README.md serves it in the sandbox.\n"
    );
    let files: Vec<_> = FILES.iter().map(|(path, _)| folder.join(path).display().to_string()).collect();
    Ok(Shown::new(text, &json!({ "folder": name, "plugin_abi": plugin_abi, "files": files })))
}

fn unwritable(path: &Path, fault: &io::Error) -> Failure {
    let exists = fault.kind() == io::ErrorKind::AlreadyExists;
    let problem = Problem::new("NEW", "the crate cannot be written").why(fault.to_string());
    let mend = if exists { "take another name, or remove the folder first" } else { "check the right to write there" };
    Failure::failed(Problem { file: Some(path.display().to_string()), ..problem.mend(mend) })
}

/// Where plugin-abi comes from, as Cargo.toml says it: a git repository or a folder, if one is named; else the checkout that
/// this program was built in.
fn dependency(from: Option<&str>) -> Result<String, Failure> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let folder = match from {
        Some(url) if url.contains("://") || url.starts_with("git@") => return Ok(format!("git = {}", quoted(url))),
        Some(path) => [PathBuf::from(path), Path::new(path).join("plugin-abi")].into_iter().find(|path| is_sdk(path)),
        None => {
            let program = env::current_exe().unwrap_or_default();
            program.ancestors().map(|folder| folder.join("plugin-abi")).find(|path| is_sdk(path))
        }
    };
    let folder = folder.and_then(|path| path.canonicalize().ok()).ok_or_else(|| {
        let problem = Problem::new("NEW", "plugin-abi, which the plugin is built with, was not found");
        let problem = problem.mend("name its folder, a checkout of Patchbay or a git URL of one with --plugin-abi");
        Failure::usage(Problem { file: from.map(str::to_owned), ..problem })
    })?;
    Ok(format!("path = {}", quoted(&folder.to_string_lossy())))
}

fn is_sdk(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"plugin-abi\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled_in() {
        for template in Template::value_variants() {
            for (path, text) in FILES {
                let text =
                    template.fillings().iter().fold((*text).to_owned(), |text, (at, with)| text.replace(at, with));
                let text = text.replace("{{name}}", "x").replace("{{plugin_abi}}", "x");
                assert!(!text.contains("{{"), "{template:?} {path}: {text}");
            }
        }
    }

    #[test]
    fn where_the_sdk_comes_from() {
        let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let sdk = Path::new(checkout).join("plugin-abi").canonicalize().unwrap();
        for from in [checkout.to_owned(), format!("{checkout}/plugin-abi")] {
            assert_eq!(dependency(Some(&from)).unwrap(), format!("path = {:?}", sdk.to_string_lossy()));
        }
        let git = dependency(Some("https://git.example/patchbay")).unwrap();
        assert_eq!(git, "git = \"https://git.example/patchbay\"");
        assert_eq!(dependency(Some("/absent")).unwrap_err().problem.code, "NEW");
    }
}
