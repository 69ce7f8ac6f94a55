//! What labels may say: a fixed set of words each, and the tool type.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::ids::ToolType;

/// Makes an enum whose variants are a label's values, so that a label cannot have more of them than stand here.
macro_rules! label_values {
    ($($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The label's text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text),* }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                self.as_str().encode(encoder)
            }
        }
    )*};
}

label_values! {
    /// What of a plugin was called.
    Method {
        /// `new`.
        New = "new",
        /// `validate_webhook`.
        ValidateWebhook = "validate_webhook",
        /// `extract_metadata`.
        ExtractMetadata = "extract_metadata",
        /// `get_ticket`.
        GetTicket = "get_ticket",
        /// `update_ticket`.
        UpdateTicket = "update_ticket",
    }

    /// How a call to a plugin ended.
    CallOutcome {
        /// With a result.
        Ok = "ok",
        /// validate or update answered false, or get found no ticket.
        No = "no",
        /// The plugin's error of this name, as are those that follow.
        Malformed = "malformed",
        /// See `Malformed`.
        Validation = "validation",
        /// See `Malformed`.
        Api = "api",
        /// See `Malformed`.
        Authentication = "authentication",
        /// See `Malformed`.
        RateLimit = "rate_limit",
        /// See `Malformed`.
        Configuration = "configuration",
        /// See `Malformed`.
        NotFound = "not_found",
        /// The host was draining.
        Cancelled = "cancelled",
        /// The plugin panicked.
        Panicked = "panicked",
        /// The deadline passed first.
        Overrun = "overrun",
        /// Its reply broke the ABI's rules, or was lost.
        InvalidReply = "invalid_reply",
        /// The lane's queue was full, the plugin was not called.
        Saturated = "saturated",
    }

    /// The two kinds of lane.
    LaneKind {
        /// For validate and extract.
        Fast = "fast",
        /// For calls that talk to the tool.
        Slow = "slow",
    }

    /// States of generations.
    GenerationState {
        /// Takes calls.
        Active = "active",
        /// Ends its calls.
        Draining = "draining",
        /// Ready to take over.
        Standby = "standby",
        /// Stopped after failing too often.
        Quarantined = "quarantined",
        /// Ended, but still mapped.
        Retained = "retained",
    }

    /// How a load or a replacement of a plugin ended.
    ReloadOutcome {
        /// The new generation serves.
        Active = "active",
        /// The file was refused; what served before still does.
        Refused = "refused",
        /// The new generation served, failed its probation and was replaced by the one before.
        RolledBack = "rolled_back",
    }

    /// How one attempt of a job ended.
    AttemptOutcome {
        /// The job is done.
        Done = "done",
        /// The job waits for its next attempt.
        Retry = "retry",
        /// The job is a dead letter.
        Dead = "dead",
        /// The job waits, and the attempt was not counted: no plugin, tenant disabled, host draining.
        Postponed = "postponed",
        /// The lease had gone to somebody else.
        Lost = "lost",
    }
}

impl EncodeLabelValue for ToolType {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}
