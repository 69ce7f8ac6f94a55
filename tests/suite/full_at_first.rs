//! A disk that is full at the first start: whatever finds no space, the host ends with a sentence and never by a
//! signal.

use patchbay_tests::Host;

/// Free space, from nothing to everything that a start creates, in KiB. Each step is smaller than the crash journal,
/// which is created last.
const ROOM: std::ops::RangeInclusive<u32> = 0..=1024;
const STEP: usize = 64;

#[test]
fn a_start_without_room_says_what_is_full() {
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut found = Vec::new();
    for room in ROOM.step_by(STEP) {
        // One page more, because 0 means no limit to a tmpfs.
        let mount = format!("mount -t tmpfs -o mode=0700,size={}k none state && exec \"$0\" \"$@\"", room + 4);
        let under = ["/usr/bin/unshare", namespace, "/bin/sh", "-c", &mount];
        let mut host = Host::builder().under(&under).stopped();
        std::fs::create_dir(host.state()).unwrap();
        if host.try_ctl(&["--version"]).code != 0 {
            eprintln!("skipped: nothing can be mounted here");
            return;
        }
        match host.try_start() {
            Ok(()) => found.push("started".to_owned()),
            Err(ended) => {
                assert_eq!(ended.code, Some(1), "{room} KiB: {ended:?}");
                let last = ended.log.lines().last().unwrap_or_default();
                assert!(last.starts_with("patchbay: ") && last.contains("look for a full or failing disk"), "{last}");
                found.push(last.to_owned());
            }
        }
    }
    // The disk is full when the store is created, then when the crash journal is, which is mapped; then it has space.
    for what in ["patchbay.db cannot be used", "crash.journal cannot be used", "started"] {
        assert!(found.iter().any(|line| line.contains(what)), "{what}: {found:#?}");
    }
}
