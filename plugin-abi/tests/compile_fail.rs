//! What the compiler says to the usual mistakes: refused, in words that help.
//!
//! The expected texts are those of the workspace's `rust-version`. After a change, `TRYBUILD=overwrite cargo test -p
//! plugin-abi --test compile_fail` writes them anew: read each before it is kept.

#[test]
fn mistakes_are_refused_in_readable_words() {
    trybuild::TestCases::new().compile_fail("tests/compile-fail/*.rs");
}
