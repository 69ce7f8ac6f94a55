//! Secrets on their way to the host: read and written as JSON, and shown by no error and no `Debug`.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use zeroize::Zeroizing;

/// A secret's text on its way to the host. It is overwritten when dropped, and no error and no `Debug` shows it.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, to check it before it is sent.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// The text, to seal it.
    pub fn into_text(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Replaces serde's own errors, because they quote the input.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer) {
            Ok(Value::String(text)) => Ok(Self::new(text)),
            _ => Err(de::Error::custom("a secret must be a string")),
        }
    }
}

/// Secrets by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Secrets(pub BTreeMap<String, Secret>);

impl<'de> Deserialize<'de> for Secrets {
    /// Replaces serde's own errors, as for [`Secret`].
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("secrets must be an object of names and strings");
        let Value::Object(named) = Value::deserialize(deserializer).map_err(|_| wrong())? else {
            return Err(wrong());
        };
        let secrets = named.into_iter().map(|(name, text)| match text {
            Value::String(text) => Ok((name, Secret::new(text))),
            _ => Err(wrong()),
        });
        secrets.collect::<Result<_, _>>().map(Self)
    }
}
