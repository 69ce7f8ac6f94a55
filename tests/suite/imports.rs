//! Files of tenants as common tools write them.

use std::fs;

use patchbay_tests::Host;

fn tenants(ids: [&str; 2]) -> [String; 2] {
    ids.map(|id| {
        format!(r#"{{"id":"{id}","base_url":"https://desk.example","secrets":{{"webhook_secret":"hünter-{id}"}}}}"#)
    })
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

#[test]
fn tenants_are_imported_from_files_as_they_are_written() {
    let host = Host::builder().start();
    let lines = |ids| tenants(ids).join("\r\n");
    let array = |ids| format!("[{}]", tenants(ids).join(",\n"));
    let mark = |text: String| format!("\u{feff}{text}");
    let files = [
        ("lines", lines(["a1", "a2"]).into_bytes()),
        ("lines with a byte order mark", mark(lines(["b1", "b2"])).into_bytes()),
        ("an array with a byte order mark", mark(array(["c1", "c2"])).into_bytes()),
        ("lines of PowerShell", utf16(&mark(lines(["d1", "d2"])), u16::to_le_bytes)),
        ("an array in UTF-16", utf16(&mark(array(["e1", "e2"])), u16::to_be_bytes)),
    ];
    for ((what, bytes), count) in files.into_iter().zip(1..) {
        let file = host.folder().join("tenants");
        fs::write(&file, bytes).unwrap();
        let added = host.ctl(&["tenant", "import", file.to_str().unwrap()]);
        assert_eq!(added.as_array().map(Vec::len), Some(2), "{what}: {added:#}");
        let listed = host.ctl(&["tenant", "list"]);
        assert_eq!(listed.as_array().map(Vec::len), Some(2 * count), "{what}: {listed:#}");
    }
}

#[test]
fn a_file_that_cannot_be_read_whole_adds_nobody_and_is_not_quoted() {
    let host = Host::builder().start();
    let [good, bad] = tenants(["a", "b"]);
    let latin_1: Vec<u8> = bad.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect();
    for (bytes, place) in [
        ([good.as_bytes(), b"\n", &latin_1].concat(), "line 2"),
        (format!("\u{feff}{good}\n{bad},").into_bytes(), "line 2, column"),
        (utf16(&format!("{good}\n\n{}", bad.replace('}', "")), u16::to_le_bytes), "line 3, column"),
        (format!("[{good},\n{}]", bad.replace('ü', r"\ud83d")).into_bytes(), "tenant 2"),
    ] {
        let file = host.folder().join("tenants");
        fs::write(&file, bytes).unwrap();
        let ended = host.try_ctl(&["tenant", "import", file.to_str().unwrap()]);
        let failure = ended.failure();
        assert_eq!((ended.code, &failure["code"]), (1, &"IMPORT_UNREADABLE".into()), "{failure:#}");
        let told = failure.to_string();
        assert!(told.contains(place) && !told.contains("nter"), "{failure:#}");
        assert_eq!(host.ctl(&["tenant", "list"]).as_array().map(Vec::len), Some(0), "{place}");
    }
}
