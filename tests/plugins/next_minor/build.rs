//! Makes the types of this crate look like those of plugin-abi 1.2.0: abi_stable reads the package from this variable.

fn main() {
    println!("cargo:rustc-env=CARGO_PKG_NAME=plugin-abi");
    println!("cargo:rerun-if-changed=build.rs");
}
