//! Which artifact should serve a tool type: a pure question of what lies in the folder, what has served before, and what
//! was decided.

use std::{cmp::Reverse, collections::VecDeque, path::PathBuf};

use super::{
    record::{Served, ToolRecord},
    scan::FileRecord,
};
use crate::ids::ToolType;
use crate::plugin::{artifact::Sha256Sum, signature::Signature};

/// The good files of a tool type, the one that should serve first: the highest version, among equals the file that changed
/// last.
pub(super) fn ranked<'a>(files: impl IntoIterator<Item = &'a FileRecord>, tool_type: &ToolType) -> Vec<FileRecord> {
    let of_tool = |record: &&FileRecord| matches!(&record.found, Ok((of, ..)) if of == tool_type);
    let mut ranked: Vec<_> = files.into_iter().filter(of_tool).cloned().collect();
    ranked.sort_by_key(|record| {
        let version = record.found.as_ref().map(|(_, version, _)| version.clone()).ok();
        Reverse((version, record.stamp.map(|stamp| stamp.modified_ns)))
    });
    ranked
}

/// An artifact that could serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) source: Source,
    /// The file of the folder that it is, or once was.
    pub(super) path: PathBuf,
    pub(super) sha256: Sha256Sum,
    pub(super) version: semver::Version,
    /// What the signature beside it is worth, where it was looked at.
    pub(super) signature: Option<Signature>,
}

/// Where an artifact's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In the operator's folder.
    Folder,
    /// In the state folder, where what has served is kept.
    Kept,
}

/// What could serve, in the order in which it is to be tried.
#[derive(Debug)]
pub(super) struct Ranking {
    offers: VecDeque<Offer>,
    /// Joins the others when one of them fails.
    last_good: Option<Offer>,
}

impl Ranking {
    /// `files` are those of the tool type, the best first. `spoiled` says that a file of which not even the tool type can be
    /// read stands where the last good one came from, or that none does for the moment.
    ///
    /// * What is pinned serves, and nothing else: from the folder or, when it is there no more, from what was kept.
    /// * Else the highest version of the folder. In the place of an artifact that was rolled back comes what served last
    ///   and was good; that also joins, by its version, where a file turns out to be bad.
    pub(super) fn new(
        files: &[FileRecord],
        spoiled: bool,
        record: &ToolRecord,
        is_kept: impl Fn(Sha256Sum) -> bool,
    ) -> Self {
        let mut files: VecDeque<_> = files.iter().filter_map(Offer::of_file).collect();
        if let Some(pin) = &record.pinned {
            let kept = record.served.iter().rev().filter(|served| is_kept(served.sha256)).map(Offer::of_kept);
            let pinned = files.into_iter().chain(kept).filter(|offer| pin.means(&offer.version, offer.sha256));
            return Self { offers: pinned.collect(), last_good: None };
        }
        let last_good = record.good().find_map(|served| {
            let file = files.iter().find(|offer| offer.sha256 == served.sha256).cloned();
            file.or_else(|| is_kept(served.sha256).then(|| Offer::of_kept(served)))
        });
        let mut ranking = Self { offers: VecDeque::new(), last_good };
        while let Some(offer) = files.pop_front() {
            if record.passed_over(offer.sha256).is_none() {
                ranking.offers.push_back(offer);
            } else if let Some(instead) = ranking.last_good.take() {
                ranking.offers.push_back(instead);
            }
        }
        if spoiled {
            ranking.failed();
        }
        ranking
    }

    /// The next one to try.
    pub(super) fn next(&mut self) -> Option<Offer> {
        self.offers.pop_front()
    }

    /// The one before has failed: what was good joins those that are left.
    pub(super) fn failed(&mut self) {
        let Some(last_good) = self.last_good.take() else { return };
        let place = self.offers.iter().position(|offer| offer.version <= last_good.version);
        self.offers.insert(place.unwrap_or(self.offers.len()), last_good);
    }
}

impl Offer {
    /// A file that is away for the moment of its replacement cannot be loaded.
    fn of_file(record: &FileRecord) -> Option<Self> {
        if record.gone_since.is_some() {
            return None;
        }
        let (_, version, _) = record.found.as_ref().ok()?;
        let (path, sha256, version) = (record.path.clone(), record.sha256?, version.clone());
        Some(Self { source: Source::Folder, path, sha256, version, signature: record.signature.clone() })
    }

    fn of_kept(served: &Served) -> Self {
        let (path, sha256, version) = (served.path.clone(), served.sha256, served.version.clone());
        Self { source: Source::Kept, path, sha256, version, signature: None }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::Pin, *};
    use crate::plugin::artifact::Stamp;

    #[test]
    fn the_highest_version_is_first_and_among_equals_the_latest() {
        let file = |content, version, modified_ns| FileRecord::for_test(content, version, Stamp::for_test(modified_ns));
        for (files, expected) in [
            ([file("a", "1.2.0", 5), file("b", "1.10.0", 1)], "b"),
            ([file("a", "1.2.0", 5), file("b", "1.2.0", 9)], "b"),
            ([file("a", "1.2.0", 5), file("b", "1.2.0-rc.1", 9)], "a"),
        ] {
            let ranked = ranked(&files, &ToolType::parse("desk").unwrap());
            assert_eq!(ranked[0].path, PathBuf::from(expected));
        }
    }

    /// What is tried, when all fail: the files of the folder (content, version; the best first), what has served (content,
    /// version, whether it was rolled back; the latest last), whether the folder's file is spoiled, and the pin.
    #[track_caller]
    fn check(
        files: &[(&str, &str)],
        served: &[(&str, &str, bool)],
        spoiled: bool,
        pin: Option<&str>,
        expected: &[&str],
    ) {
        let files: Vec<_> =
            files.iter().map(|(content, version)| FileRecord::for_test(content, version, Stamp::for_test(0))).collect();
        let mut record = ToolRecord { pinned: pin.map(|pin| Pin::parse(pin).unwrap()), ..ToolRecord::default() };
        for (content, version, rolled_back) in served {
            record.serves(Served {
                sha256: Sha256Sum::of(content.as_bytes()),
                version: version.parse().unwrap(),
                path: "lib.so".into(),
                at_ms: 0,
                proven: true,
                signed: false,
                passed_over: rolled_back.then(|| "it panicked".to_owned()),
            });
        }
        let mut ranking = Ranking::new(&files, spoiled, &record, |_| true);
        let mut tried = Vec::new();
        while let Some(offer) = ranking.next() {
            let contents = ["a", "b", "c", "d"].into_iter();
            let content = contents.clone().find(|content| Sha256Sum::of(content.as_bytes()) == offer.sha256).unwrap();
            tried.push(if offer.source == Source::Kept { format!("kept {content}") } else { content.to_owned() });
            ranking.failed();
        }
        assert_eq!(tried, expected);
    }

    #[test]
    fn the_folder_is_tried_in_its_order_and_the_last_good_one_joins_after_a_failure() {
        check(&[], &[], false, None, &[]);
        check(&[("b", "2.0.0"), ("a", "1.0.0")], &[], false, None, &["b", "a"]);
        check(&[("b", "2.0.0")], &[("a", "1.0.0", false)], false, None, &["b", "kept a"]);
        // By its version, and before an equal one: what serves is not left for its like.
        check(&[("c", "3.0.0"), ("b", "2.0.0")], &[("a", "1.0.0", false)], false, None, &["c", "b", "kept a"]);
        check(&[("c", "3.0.0"), ("b", "1.0.0")], &[("a", "2.0.0", false)], false, None, &["c", "kept a", "b"]);
        check(&[("c", "3.0.0"), ("b", "1.0.0")], &[("a", "1.0.0", false)], false, None, &["c", "kept a", "b"]);
    }

    #[test]
    fn a_spoiled_file_stands_for_what_was_loaded_from_it() {
        check(&[], &[("a", "1.0.0", false)], true, None, &["kept a"]);
        check(&[("b", "2.0.0")], &[("a", "1.0.0", false)], true, None, &["b", "kept a"]);
        check(&[("b", "0.9.0")], &[("a", "1.0.0", false)], true, None, &["kept a", "b"]);
    }

    #[test]
    fn what_was_rolled_back_is_replaced_by_what_served_before() {
        let served = [("a", "1.0.0", false), ("b", "2.0.0", true)];
        check(&[("b", "2.0.0")], &served, false, None, &["kept a"]);
        check(&[("b", "2.0.0"), ("c", "1.5.0")], &served, false, None, &["kept a", "c"]);
        // Another file is taken as ever.
        check(&[("d", "2.0.1"), ("b", "2.0.0")], &served, false, None, &["d", "kept a"]);
        check(&[("d", "2.0.0")], &served, false, None, &["d", "kept a"]);
        check(&[("b", "2.0.0")], &[("b", "2.0.0", true)], false, None, &[]);
        // From the folder, where it is there.
        check(&[("b", "2.0.0"), ("c", "1.5.0"), ("a", "1.0.0")], &served, false, None, &["a", "c", "a"]);
    }

    #[test]
    fn a_pin_rules_alone() {
        let served = [("a", "1.0.0", false), ("b", "2.0.0", true)];
        check(&[("b", "2.0.0")], &served, false, Some("1.0.0"), &["kept a"]);
        check(&[("b", "2.0.0"), ("a", "1.0.0")], &served, false, Some("1.0.0"), &["a", "kept a"]);
        // Also what was rolled back: an operator wants it.
        check(&[("b", "2.0.0")], &served, false, Some("2.0.0"), &["b", "kept b"]);
        check(&[("b", "2.0.0")], &served, true, Some("3.0.0"), &[]);
    }
}
