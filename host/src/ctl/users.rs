//! Names of user ids: the users of this machine as `/etc/passwd` has them. Users of a directory service stay numbers.

use std::{collections::HashMap, fs};

const PASSWD: &str = "/etc/passwd";

/// The users' names by user id.
pub(super) struct Users(HashMap<u32, String>);

impl Users {
    /// The users of this machine; none if the file cannot be read.
    pub(super) fn of_this_machine() -> Self {
        Self::parse(&fs::read_to_string(PASSWD).unwrap_or_default())
    }

    pub(super) fn parse(passwd: &str) -> Self {
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            Some((uid, name.to_owned()))
        });
        // If a number has several entries, other programs show the first.
        let mut names = HashMap::new();
        users.for_each(|(uid, name)| {
            names.entry(uid).or_insert(name);
        });
        Self(names)
    }

    /// An event's `who` for people: `uid 1000` becomes `alice (1000)` if that user is known.
    pub(super) fn shown(&self, who: &str) -> String {
        let name = who.strip_prefix("uid ").and_then(|uid| Some((uid, self.0.get(&uid.parse().ok()?)?)));
        name.map_or_else(|| who.to_owned(), |(uid, name)| format!("{name} ({uid})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_number_has_a_name() {
        let users =
            Users::parse("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:\ntoor:x:0:0::/:\nodd\na:x:y:0::/:");
        for (who, expected) in [
            ("host", "host"),
            ("uid 0", "root (0)"),
            ("uid 1000", "alice (1000)"),
            ("uid 4711", "uid 4711"),
            ("uid x", "uid x"),
            ("of a newer host", "of a newer host"),
        ] {
            assert_eq!(users.shown(who), expected);
        }
    }
}
