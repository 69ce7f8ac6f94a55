//! `plugin-ctl verify` on anything: it always ends, and reports a code.

use patchbay_tests::{
    Artifact, Ctl, Host, Line, Supervisor, created,
    hostile::{self, FILE, PEACE, TOOL_TYPE, ordered},
};

/// Number of flipped bytes.
const FLIPS: usize = 40;
/// Maximum number of files loaded of those that are still sound.
const LOADED_MAX: usize = 8;
/// Where an ELF file gives the place and number of its segments' headers; and the kind of mapped segments.
const SEGMENTS_AT: usize = 32;
const SEGMENTS_COUNT: usize = 56;
const SEGMENT_BYTES: usize = 56;
const PT_LOAD: u32 = 1;

/// A generator of numbers that are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// The ranges of mapped bytes: code, data, tables. Unmapped bytes (debug information) do no harm.
fn mapped(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let number = |at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let count = usize::from(u16::from_le_bytes(bytes[SEGMENTS_COUNT..SEGMENTS_COUNT + 2].try_into().unwrap()));
    let headers = (0..count).map(|index| number(SEGMENTS_AT) + index * SEGMENT_BYTES);
    let loaded = headers.filter(|at| u32::from_le_bytes(bytes[*at..at + 4].try_into().unwrap()) == PT_LOAD);
    loaded.map(|at| number(at + 8)..number(at + 8) + number(at + 32)).collect()
}

fn verify(host: &Host, name: &str, bytes: &[u8], more: &[&str]) -> Ctl {
    let path = host.folder().join(name);
    std::fs::write(&path, bytes).unwrap();
    host.try_ctl(&[&["verify", path.to_str().unwrap()], more].concat())
}

#[test]
fn flipped_bytes_are_refused_or_harmless_or_cost_a_restart() {
    let line = Line::stopped(hostile::builder());
    let good = ordered(PEACE);
    let segments = mapped(&good);
    let mut numbers = Numbers(7);
    let mut sound = Vec::new();
    for _ in 0..FLIPS {
        let segment = &segments[numbers.below(segments.len())];
        // Headers have a test of their own.
        let at = segment.start.max(SEGMENTS_AT + 32 * SEGMENT_BYTES).max(segment.start) + numbers.below(segment.len());
        let at = at.min(segment.end - 1);
        let mut flipped = good.clone();
        flipped[at] ^= 1 << numbers.below(8);
        let ended = verify(&line.host, "flipped.so", &flipped, &[]);
        match ended.code {
            0 => sound.push((at, flipped)),
            1 => assert!(ended.failure()["code"].as_str().is_some_and(|code| !code.is_empty()), "byte {at}: {ended:?}"),
            code => panic!("byte {at}: verify ended with {code}: {ended:?}"),
        }
    }
    assert!(!sound.is_empty(), "most bytes are not looked at by the probe");

    let supervisor = Supervisor::start(&line.host);
    hostile::add_tenants(&line);
    for (at, flipped) in sound.into_iter().take(LOADED_MAX) {
        line.host.put_file(FILE, &flipped);
        // Whatever the byte does now: it is refused, loaded, or the host dies and comes back.
        let _outcome = line.host.try_ctl(&["reload", TOOL_TYPE]);
        for tenant in ["calm", "evil"] {
            let _outcome = supervisor.send(&created(tenant, &at.to_string()));
        }
        supervisor.up();
    }
    std::fs::remove_file(line.host.plugins().join(FILE)).unwrap();
    supervisor.kill9();
    assert_eq!(supervisor.send(&created("good", "1")), Some(202), "after all of them the good one serves");
}

#[test]
fn a_fault_of_the_layout_is_one_sentence_and_all_of_it_when_asked_for() {
    let host = Host::builder().stopped();
    let other = Artifact::OTHER_LAYOUT.bytes();
    let short = verify(&host, "other.so", &other, &[]);
    assert_eq!((short.code, &short.failure()["code"]), (1, &"LAYOUT".into()), "{short:?}");
    let why = short.failure()["why"].as_str().unwrap().to_owned();
    let sentence =
        "type `PluginModule`: a type of another package: host expects plugin-abi, plugin has test-plugin-other-layout";
    assert_eq!(why, sentence);
    assert!(short.json().get("details").is_none(), "{short:?}");

    let long = verify(&host, "other.so", &other, &["--verbose"]);
    assert_eq!(long.json()["reason"], why.as_str(), "the sentence stays");
    let details = long.json()["details"].as_str().unwrap().to_owned();
    assert!(details.lines().count() > 20 && details.contains("create"), "{details}");
    assert!(details.len() <= 64 << 10, "{} bytes", details.len());
    let sound = verify(&host, "good.so", &Artifact::GOOD.bytes(), &["--verbose"]);
    assert_eq!((sound.code, sound.json().get("details")), (0, None), "{sound:?}");
}

/// The host reads no symbols and no debug information of a plugin before it runs it.
#[test]
fn a_stripped_plugin_is_sound() {
    let host = Host::builder().stopped();
    let path = host.folder().join("stripped.so");
    std::fs::write(&path, Artifact::GOOD.bytes()).unwrap();
    let stripped = std::process::Command::new("strip").arg("--strip-all").arg(&path).status();
    if !stripped.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no strip");
        return;
    }
    let ended = host.try_ctl(&["verify", path.to_str().unwrap()]);
    assert_eq!((ended.code, &ended.json()["info"]["tool_type"]), (0, &"desk_good".into()), "{ended:?}");
}

#[test]
fn what_a_plugin_writes_while_it_is_tried_does_not_hold_it_up() {
    let host = Host::builder().stopped();
    // More than fits in a pipe.
    let ended = verify(&host, "talks.so", &ordered("new:talk"), &[]);
    assert_eq!((ended.code, &ended.json()["verdict"]), (0, &"sound".into()), "{ended:?}");
}
