use minisign::KeyPair;
use semver::Version;

use super::*;

/// A key and signatures over `test` that the minisign tool itself has made, of both forms.
const STOCK_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const STOCK: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";
const STOCK_OLD_FORM: &str = "untrusted comment: signature from minisign secret key
RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=
trusted comment: timestamp:1555779966\tfile:test
QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==
";
const FILE: &[u8] = b"a plugin's bytes";
const COMMENT: &str = "name=acme_desk version=1.4.0";

struct Vendor(KeyPair);

impl Vendor {
    fn new() -> Self {
        Self(KeyPair::generate_unencrypted_keypair().unwrap())
    }

    fn trust(&self) -> Trust {
        Trust { keys: vec![TrustedKey::parse(&self.0.pk.to_base64()).unwrap()], required: true }
    }

    fn sign(&self, file: &[u8], comment: &str) -> String {
        minisign::sign(None, &self.0.sk, file, Some(comment), None).unwrap().into_string()
    }
}

fn judge(trust: &Trust, file: &[u8], minisig: &[u8]) -> Signature {
    trust.judge(file, Some(Ok(minisig)))
}

#[test]
fn what_the_minisign_tool_signs_is_judged() {
    let trust = Trust { keys: vec![TrustedKey::parse(STOCK_KEY).unwrap()], required: false };
    for (trust, file, minisig, expected) in [
        (&trust, "test", STOCK, "trusted(E7620F1842B4E81F)"),
        (&trust, "Test", STOCK, "modified"),
        (&trust, "test", STOCK_OLD_FORM, "modified"),
        (&Trust::default(), "test", STOCK, "unknown key(E7620F1842B4E81F)"),
        (&Trust::default(), "Test", STOCK, "unknown key(E7620F1842B4E81F)"),
    ] {
        assert_eq!(judge(trust, file.as_bytes(), minisig.as_bytes()).to_string(), expected, "{file} {minisig}");
        let other_line_ends = minisig.replace('\n', "\r\n");
        assert_eq!(judge(trust, file.as_bytes(), other_line_ends.as_bytes()).to_string(), expected);
    }
    let old_form = judge(&trust, b"test", STOCK_OLD_FORM.as_bytes()).check_unmodified().unwrap_err();
    assert!(old_form.reason.contains("minisign 0.10"), "{old_form}");
    assert_eq!(trust.judge(b"test", None), Signature::Unsigned);
}

#[test]
fn several_keys_are_trusted_side_by_side() {
    let (old, new, other) = (Vendor::new(), Vendor::new(), Vendor::new());
    let both = Trust { keys: [old.trust().keys, new.trust().keys].concat(), required: true };
    for vendor in [&old, &new] {
        assert!(judge(&both, FILE, vendor.sign(FILE, COMMENT).as_bytes()).is_trusted());
    }
    let stranger = judge(&both, FILE, other.sign(FILE, COMMENT).as_bytes());
    assert_eq!(stranger, Signature::UnknownKey(other.trust().keys[0].id));
}

#[test]
fn no_changed_bit_is_trusted() {
    let vendor = Vendor::new();
    let (trust, minisig) = (vendor.trust(), vendor.sign(FILE, COMMENT));
    let trusted = judge(&trust, FILE, minisig.as_bytes());
    assert!(trusted.is_trusted());
    for at in 0..FILE.len() * 8 {
        let mut file = FILE.to_vec();
        file[at / 8] ^= 1 << (at % 8);
        assert_eq!(judge(&trust, &file, minisig.as_bytes()).to_string(), "modified", "bit {at} of the file");
    }
    // The first line is the one that nobody has signed.
    let first = minisig.find('\n').unwrap();
    for at in first..minisig.trim_end().len() {
        let mut changed = minisig.clone().into_bytes();
        changed[at] ^= 1;
        let judged = judge(&trust, FILE, &changed);
        assert!(!judged.is_trusted(), "byte {at} of {minisig}");
    }
    let unsigned_line = minisig.replacen("untrusted comment: ", "untrusted comment: of mine, ", 1);
    assert_eq!(judge(&trust, FILE, unsigned_line.as_bytes()), trusted);
}

#[test]
fn what_is_no_whole_signature_is_modified() {
    let vendor = Vendor::new();
    let (trust, minisig) = (vendor.trust(), vendor.sign(FILE, COMMENT));
    for end in 0..minisig.trim_end().len() {
        assert_eq!(judge(&trust, FILE, &minisig.as_bytes()[..end]).to_string(), "modified", "{end} bytes");
    }
    let bytes_max = usize::try_from(BYTES_MAX).unwrap();
    let no_text = [minisig.as_bytes(), b"\xff"].concat();
    for garbage in [&b"\n\n\n\n"[..], b"\0", &[b'A'; 10_000], &vec![b'\n'; bytes_max], FILE, &no_text] {
        assert_eq!(judge(&trust, FILE, garbage).to_string(), "modified");
    }
    let unread = trust.judge(FILE, Some(Err(&Refusal::new(Code::TooLarge, "it has 20000 bytes"))));
    let refusal = unread.check_unmodified().unwrap_err();
    assert_eq!(refusal.code, Code::Modified);
    assert!(refusal.reason.contains("it has 20000 bytes"), "{refusal}");
}

#[test]
fn the_longest_comment_that_minisign_signs_is_read() {
    let vendor = Vendor::new();
    let comment = format!("{COMMENT} {}", "x".repeat(8_000));
    let untrusted = "y".repeat(1_000);
    let signed = minisign::sign(None, &vendor.0.sk, FILE, Some(&comment), Some(&untrusted)).unwrap().into_string();
    assert!(signed.len() as u64 <= BYTES_MAX, "{} bytes", signed.len());
    assert!(judge(&vendor.trust(), FILE, signed.as_bytes()).is_trusted());
}

fn info() -> InfoRecord {
    InfoRecord {
        tool_type: "acme_desk".into(),
        name: "acme-desk-plugin".into(),
        version: "1.4.0".into(),
        vendor: String::new(),
        sdk: "1.0.0".into(),
        abi_major: 1,
        abi_minor: 0,
        abi_minor_needed: 0,
        abi_stable: "0.11.3".into(),
        rustc: String::new(),
        target: String::new(),
        panic: "unwind".into(),
    }
}

#[test]
fn a_signed_comment_must_name_the_plugin_and_its_version() {
    let vendor = Vendor::new();
    for (comment, good) in [
        ("name=acme_desk version=1.4.0", true),
        ("version=1.4.0\tname=acme-desk-plugin  built=today", true),
        ("timestamp:1556193335\tfile:libacme.so\thashed", false),
        ("", false),
        ("name=acme_desk", false),
        ("version=1.4.0", false),
        ("name=acme_desk version=1.4", false),
        ("name=acme_desk version=1.4.1", false),
        ("name=other_desk version=1.4.0", false),
        ("name=acme_desk version=1.4.0 version=1.5.0", false),
        ("name=other name=acme_desk version=1.4.0", false),
        ("filename=acme_desk version=1.4.0", false),
        ("name = acme_desk version = 1.4.0", false),
    ] {
        let signature = judge(&vendor.trust(), FILE, vendor.sign(FILE, comment).as_bytes());
        let checked = vendor.trust().check(&signature, &info());
        assert_eq!(checked.as_ref().err().map(|refusal| refusal.code), (!good).then_some(Code::SignatureComment));
        if let Err(refusal) = checked {
            assert!(refusal.reason.contains("-t 'name=acme_desk version=1.4.0'"), "{refusal}");
            assert!(refusal.reason.contains(&format!("{comment:?}")), "{refusal}");
        }
    }
    let long = "ä\u{7}".repeat(4_000);
    let refusal = check_comment(&long, &info()).unwrap_err();
    assert!(refusal.reason.len() < 2_000 && !refusal.reason.contains('\u{7}'), "{refusal}");
}

#[test]
fn what_is_refused_depends_on_what_is_required() {
    let key = KeyId(*b"12345678");
    let trusted = Signature::Trusted { key, comment: COMMENT.to_owned() };
    let modified = modified("why".to_owned());
    for (signature, required, expected) in [
        (&Signature::Unsigned, false, None),
        (&Signature::Unsigned, true, Some(Code::Unsigned)),
        (&Signature::UnknownKey(key), false, None),
        (&Signature::UnknownKey(key), true, Some(Code::UnknownKey)),
        (&trusted, false, None),
        (&trusted, true, None),
        (&modified, false, Some(Code::Modified)),
        (&modified, true, Some(Code::Modified)),
    ] {
        let checked = Trust { keys: Vec::new(), required }.check(signature, &info());
        assert_eq!(checked.err().map(|refusal| refusal.code), expected, "{signature} {required}");
    }
}

#[test]
fn only_an_older_signed_version_is_a_downgrade() {
    let version = |text: &str| Version::parse(text).unwrap();
    let key = KeyId(*b"12345678");
    let trusted = Signature::Trusted { key, comment: COMMENT.to_owned() };
    for (signature, this, served, refused) in [
        (&trusted, "1.3.9", Some("1.4.0"), true),
        (&trusted, "1.4.0-rc.1", Some("1.4.0"), true),
        (&trusted, "1.4.0", Some("1.4.0"), false),
        (&trusted, "1.10.0", Some("1.4.0"), false),
        (&trusted, "1.3.9", None, false),
        (&Signature::Unsigned, "1.3.9", Some("1.4.0"), false),
        (&Signature::UnknownKey(key), "1.3.9", Some("1.4.0"), false),
    ] {
        let checked = signature.check_not_older(&version(this), served.map(version).as_ref());
        let code = checked.err().map(|refusal| refusal.code);
        assert_eq!(code, refused.then_some(Code::Downgrade), "{signature} {this} after {served:?}");
    }
}

#[test]
fn keys_are_the_line_that_minisign_prints() {
    assert_eq!(TrustedKey::parse(STOCK_KEY).unwrap().id.to_string(), "E7620F1842B4E81F");
    let whole_file = format!("untrusted comment: minisign public key E7620F1842B4E81F\n{STOCK_KEY}\n");
    let cut = &STOCK_KEY[..40];
    let longer = format!("{STOCK_KEY}AAAA");
    let secret = "RWRTY0Iy".to_owned() + &"A".repeat(204);
    let other_kind = STOCK_KEY.replacen("RW", "RU", 1);
    for wrong in ["", "?", &whole_file, cut, &longer, &secret, &other_kind] {
        assert!(TrustedKey::parse(wrong).is_err(), "{wrong}");
    }
}
