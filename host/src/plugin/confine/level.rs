//! How far a process is shut in, layer by layer, and the words for what is missing.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// One layer, as it came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<bool>", into = "Option<bool>")]
pub enum Wall {
    /// It holds, or there was nothing to shut out.
    #[default]
    Stands,
    /// The kernel has no such thing.
    Absent,
    /// The kernel has it, and the host's surroundings deny it.
    Denied,
}

impl Wall {
    /// Whether the layer holds.
    pub fn stands(self) -> bool {
        self == Self::Stands
    }

    /// What an attempt to put it up came to.
    pub(super) fn of(attempt: &io::Result<()>) -> Self {
        match attempt {
            Ok(()) => Self::Stands,
            Err(fault) if matches!(fault.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)) => {
                Self::Absent
            }
            Err(_) => Self::Denied,
        }
    }

    /// One layer that takes two attempts.
    pub(super) fn and(self, other: Self) -> Self {
        if self.stands() { other } else { self }
    }
}

/// As verdicts are kept: true, false, and null for what is denied.
impl From<Wall> for Option<bool> {
    fn from(wall: Wall) -> Self {
        match wall {
            Wall::Stands => Some(true),
            Wall::Absent => Some(false),
            Wall::Denied => None,
        }
    }
}

impl From<Option<bool>> for Wall {
    fn from(kept: Option<bool>) -> Self {
        match kept {
            Some(true) => Self::Stands,
            Some(false) => Self::Absent,
            None => Self::Denied,
        }
    }
}

/// Which layers hold. Layers that an older verdict does not name had to hold then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// No file can be opened and no TCP port reached (Landlock).
    pub files: Wall,
    /// No other program, process, socket or trace (seccomp).
    pub calls: Wall,
    /// No capability, and no root that has any.
    #[serde(default)]
    pub rights: Wall,
    /// Little memory, processor time and few files.
    #[serde(default)]
    pub limits: Wall,
    /// The process ends with the host.
    #[serde(default)]
    pub leash: Wall,
    /// The bytes that are tried lie in sealed memory, not in a file on disk.
    #[serde(default)]
    pub bytes: Wall,
}

impl Level {
    /// Whether every layer holds.
    pub fn is_full(self) -> bool {
        self == Self::default()
    }

    /// Whether a layer is missing that the kernel has.
    pub fn is_denied(self) -> bool {
        self.walls().contains(&Wall::Denied)
    }

    /// Whether it lacks a layer that holds in this other one.
    pub fn lacks_some_of(self, other: Self) -> bool {
        self.walls().into_iter().zip(other.walls()).any(|(mine, its)| !mine.stands() && its.stands())
    }

    fn walls(self) -> [Wall; 6] {
        [self.files, self.calls, self.rights, self.limits, self.leash, self.bytes]
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_the_kernel = match (self.files, self.calls) {
            (Wall::Stands, Wall::Stands) => None,
            (Wall::Absent, Wall::Stands) => Some("no Landlock in this kernel"),
            (Wall::Denied, Wall::Stands) => Some("Landlock is denied here"),
            (Wall::Stands, Wall::Absent) => Some("no seccomp on this machine"),
            (Wall::Stands, Wall::Denied) => Some("seccomp is denied here"),
            _ if self.limits.stands() => Some("limits only"),
            _ => Some("neither Landlock nor seccomp"),
        };
        let missing = [
            (self.rights, "not all of the host's rights are dropped"),
            (self.limits, "no limits of memory and time"),
            (self.leash, "it may outlive the host"),
            (self.bytes, "tried from a file on disk"),
        ];
        let missing = missing.into_iter().filter(|(wall, _)| !wall.stands()).map(|(_, words)| words);
        let words: Vec<_> = of_the_kernel.into_iter().chain(missing).collect();
        f.write_str(&if words.is_empty() { "full".to_owned() } else { words.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Wall::{Absent, Denied, Stands},
        *,
    };

    #[test]
    fn each_layer_that_is_missing_has_its_words() {
        let full = Level::default();
        for (level, text) in [
            (full, "full"),
            (Level { files: Absent, ..full }, "no Landlock in this kernel"),
            (Level { files: Denied, ..full }, "Landlock is denied here"),
            (Level { calls: Absent, ..full }, "no seccomp on this machine"),
            (Level { calls: Denied, ..full }, "seccomp is denied here"),
            (Level { files: Absent, calls: Denied, ..full }, "limits only"),
            (
                Level { files: Absent, calls: Absent, limits: Denied, ..full },
                "neither Landlock nor seccomp, no limits of memory and time",
            ),
            (Level { rights: Denied, ..full }, "not all of the host's rights are dropped"),
            (Level { limits: Denied, ..full }, "no limits of memory and time"),
            (Level { leash: Denied, bytes: Absent, ..full }, "it may outlive the host, tried from a file on disk"),
        ] {
            assert_eq!(level.to_string(), text);
            assert_eq!(level.is_full(), text == "full", "{text}");
            let kept = serde_json::to_string(&level).unwrap();
            assert_eq!(serde_json::from_str::<Level>(&kept).unwrap(), level, "{kept}");
        }
    }

    #[test]
    fn less_than_another_is_what_lacks_a_layer_of_it() {
        let (full, files) = (Level::default(), Level { files: Absent, ..Level::default() });
        let rights = Level { rights: Denied, ..full };
        for (level, other, lacks) in [
            (full, full, false),
            (full, files, false),
            (files, full, true),
            (files, Level { files: Denied, ..full }, false),
            (files, rights, true),
        ] {
            assert_eq!(level.lacks_some_of(other), lacks, "{level}; {other}");
        }
    }

    #[test]
    fn a_verdict_that_names_two_layers_had_the_others() {
        let kept = serde_json::from_str::<Level>(r#"{"files":false,"calls":true}"#).unwrap();
        assert_eq!(kept, Level { files: Absent, ..Level::default() });
        assert_eq!(kept.calls, Stands);
    }
}
