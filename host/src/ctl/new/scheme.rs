//! The kinds of signatures that `new` writes plugins for.

use clap::ValueEnum;

/// How the new plugin's tool signs its webhooks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scheme {
    /// `sha256=<hex>` over the body
    Hub,
    /// `<hex>` over a time stamp and the body
    Timestamped,
    /// `t=<seconds>,v1=<hex>` over these seconds and the body, in one header
    Stripe,
    /// The secret itself in a header
    Token,
    /// Basic authentication
    Basic,
}
