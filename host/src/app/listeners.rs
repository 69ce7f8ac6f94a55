//! The host's three listeners: webhooks, metrics and the admin socket.

use std::{io, net::SocketAddr, path::Path};

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener};

use crate::{admin, config::Config, http::server};

/// Bound listeners: whoever connects waits until somebody serves.
pub(super) struct Listeners {
    pub(super) webhooks: TcpListener,
    /// `None` where `admin.listen` is off.
    pub(super) metrics: Option<TcpListener>,
    pub(super) admin: UnixListener,
}

impl Listeners {
    /// # Errors
    /// When an address is not free, with the key that names it.
    pub(super) fn bind(config: &Config) -> anyhow::Result<Self> {
        let listen = |key, address| {
            server::listen(address)
                .with_context(|| format!("{key}: cannot listen on {address}; is another program there?"))
        };
        Ok(Self {
            webhooks: listen("server.listen", config.server.listen)?,
            metrics: config.admin.listen.map(|address| listen("admin.listen", address)).transpose()?,
            admin: admin::bind(&config.admin.socket).context("admin.socket")?,
        })
    }

    /// Where they listen, as the ready line says it. `socket` is the admin socket's path.
    ///
    /// # Errors
    /// When the system does not tell an address.
    pub(super) fn shown(&self, socket: &Path) -> io::Result<String> {
        let webhooks = self.webhooks.local_addr()?;
        let metrics = self.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
        let metrics = metrics.map_or_else(|| "off".to_owned(), |address: SocketAddr| format!("http://{address}"));
        let here = std::env::current_dir().unwrap_or_default();
        let socket = socket.strip_prefix(&here).unwrap_or(socket).display();
        Ok(format!("webhooks=http://{webhooks} metrics={metrics} admin={socket}"))
    }
}
