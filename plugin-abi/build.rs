//! Notes which compiler and target this is built by, for the plugin's information.

fn main() {
    let rustc = std::env::var_os("RUSTC").expect("cargo sets RUSTC for build scripts");
    let version = std::process::Command::new(rustc).arg("--version").output().expect("rustc runs, cargo just used it");
    println!("cargo:rustc-env=PLUGIN_ABI_RUSTC={}", String::from_utf8_lossy(&version.stdout).trim());
    println!("cargo:rustc-env=PLUGIN_ABI_TARGET={}", std::env::var("TARGET").expect("cargo sets TARGET"));
    println!("cargo:rerun-if-changed=build.rs");
}
