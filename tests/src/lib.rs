//! The harness of the black-box tests: real binaries, real plugin files, the sandbox as the ticketing tool.
//!
//! ```no_run
//! use patchbay_tests::{Artifact, Line, created};
//!
//! let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
//! line.add_tenant("acme", "servicedesk_plus", &[]);
//! line.open_ticket("101");
//! assert_eq!(line.host.send(&created("acme", "101")).status, 202);
//! assert!(line.note_on("101").internal);
//! ```
//!
//! Nothing sleeps: tests block on the sandbox, on the host's log, or look again and again by [`wait_until`] at what an
//! operator could see. Time that the host waits for is skipped by [`Host::advance_clock`].

pub mod artifacts;
mod census;
pub mod forgeries;
pub mod fuzz;
mod host;
pub mod hostile;
pub mod http;
mod line;
mod process;
mod supervisor;
mod surroundings;
pub mod vendor;
pub mod versions;
mod wait;

pub use artifacts::Artifact;
pub use census::Census;
pub use host::{Ctl, Host, HostBuilder};
pub use http::Answer;
pub use line::{API_KEY, Line, TOOL, WEBHOOK_SECRET, created, minimal, resolved, told};
pub use process::Ended;
pub use supervisor::Supervisor;
pub use surroundings::{Denial, confines_fully, demand_full};
pub use wait::{WAIT_MAX, wait_until};
