//! A file that changes constantly while it is checked and loaded: what serves is always one of the complete versions.

use std::{
    fs::{self, File},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use patchbay_tests::{Artifact, Line, created, hostile};

const FILE: &str = "libtest_plugin_good.so";
/// Reloads continue until this many have loaded a version, and this many have refused one.
const EACH: usize = 5;
/// Maximum number of reloads.
const RELOADS_MAX: usize = 200;

#[test]
fn what_is_loaded_is_always_one_of_the_whole_versions() {
    // Without a quiet period, each reload looks at whatever is there.
    let line = Line::start(hostile::builder());
    line.add_tenant("good", "desk_good", &[]);
    let versions = [("1.0.0", Artifact::GOOD.bytes()), ("2.0.0", Artifact::GOOD_V2.bytes())];
    let stop = AtomicBool::new(false);
    let (mut loaded, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let path = line.host.plugins().join(FILE);
            let [(_, one), (_, other)] = &versions;
            while !stop.load(Ordering::Relaxed) {
                for (this, next) in [(one, other), (other, one)] {
                    // Written as `cp` does, then as `mv` does in one step, then cut off, as on a full disk.
                    fs::write(&path, this).unwrap();
                    line.host.put_file(FILE, next);
                    line.host.put_file(FILE, this);
                    File::options().write(true).open(&path).unwrap().set_len(this.len() as u64 / 2).unwrap();
                }
            }
        });
        let stopped = hostile::StopWhenDropped(&stop);
        for reload in 0..RELOADS_MAX {
            let command: &[&str] = if reload % 2 == 0 { &["reload"] } else { &["reload", "desk_good"] };
            match line.host.try_ctl(command).code {
                0 => loaded += 1,
                1 => refused += 1,
                code => panic!("reload {reload} ended with {code}"),
            }
            let info = line.host.ctl(&["info", "desk_good"]);
            let copy = fs::read(info["copy"].as_str().expect("the last good one serves")).unwrap();
            let whole = versions.iter().find(|(_, bytes)| *bytes == copy);
            let (version, _) = whole.unwrap_or_else(|| panic!("a mixture of {} bytes serves: {info:#}", copy.len()));
            assert_eq!(info["version"], *version, "{info:#}");
            assert_eq!(line.host.send(&created("good", &reload.to_string())).status, 202);
            if loaded >= EACH && refused >= EACH {
                break;
            }
        }
        drop(stopped);
    });
    assert!(loaded > 0 && refused > 0, "{loaded} reloads loaded what was there, {refused} refused it");
    let whole = line.host.put_file(FILE, &versions[1].1);
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.plugin("desk_good")["version"], "2.0.0", "{}", whole.display());
}
