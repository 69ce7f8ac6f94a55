//! The seeds of the fuzz targets, and mutations of them, without a fuzzer.

use std::{fs, path::Path};

use patchbay_tests::fuzz;
use plugin_abi::testing::mutated;

/// Number of mutations in every run.
const MUTATIONS: u64 = 2_000;
/// Number of mutations that each target must survive before a release.
const MILLION: u64 = 1_000_000;

type Target = (&'static str, fn(&[u8]));
const TARGETS: [Target; 4] = [
    ("elf_note", fuzz::elf_note),
    ("signatures", fuzz::signatures),
    ("tenant_scan", fuzz::tenant_scan),
    ("times", fuzz::times),
];

fn run(mutations: u64) {
    for (name, body) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|fault| panic!("{}: {fault}", folder.display()));
        let mut seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
        // The order must be the same on every machine.
        seeds.sort();
        seeds.iter().for_each(|seed| body(seed));
        let seeds: Vec<_> = seeds.iter().map(Vec::as_slice).collect();
        (0..mutations).for_each(|seed| body(&mutated(&seeds, seed)));
    }
}

#[test]
fn seeds_and_some_mutations() {
    run(MUTATIONS);
}

#[test]
fn the_seeded_library_is_one() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/elf_note/library.so");
    let inspected = patchbay::plugin::elf::inspect(&fs::read(library).unwrap());
    // The file is for one machine type; on another its mutations end there.
    if cfg!(target_arch = "x86_64") {
        assert_eq!(inspected.unwrap().info.tool_type, "jira");
    }
}

#[test]
#[ignore = "takes minutes; in a release build: see tests/fuzz/README.md"]
fn a_million_mutations() {
    run(MILLION);
}
