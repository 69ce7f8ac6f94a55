//! Disk space: no tenant fills the disk for all, and on a full disk everything that frees space still works.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
};

use patchbay_tests::{Artifact, Host, HostBuilder, Line, WAIT_MAX, created, wait_until};
use rustix::process::Signal;

/// One PiB: more than any disk has free.
const MORE_THAN_THERE_IS: &str = "1073741824";

fn code(line: &Line, tenant: &str, ticket: &str) -> String {
    let answer = line.host.send(&created(tenant, ticket));
    match answer.status {
        202 => "202".to_owned(),
        _ => answer.json()["code"].as_str().unwrap().to_owned(),
    }
}

#[test]
fn a_tenant_that_is_full_is_refused_alone() {
    let line = Line::start(Host::builder().plugin(Artifact::GOOD).config("store.tenant_jobs_max", 3));
    for tenant in ["full", "other"] {
        line.add_tenant(tenant, "desk_good", &[]);
    }
    line.host.ctl(&["tenant", "pause", "full"]);
    for ticket in ["1", "2", "3"] {
        line.open_ticket(ticket);
        assert_eq!(code(&line, "full", ticket), "202");
    }
    assert_eq!(code(&line, "full", "4"), "tenant_full");
    line.host.wait_for_log(&["WARN", "store.tenant_jobs_max"]);
    line.open_ticket("5");
    assert_eq!(code(&line, "other", "5"), "202");
    line.host.ctl(&["tenant", "resume", "full"]);
    ["1", "2", "3"].iter().for_each(|ticket| drop(line.note_on(ticket)));
    line.idle();
    assert_eq!(code(&line, "full", "4"), "202", "there is room again");
}

#[test]
fn while_too_little_is_free_webhooks_are_refused_and_jobs_go_on() {
    let line = Line::start(Host::builder().plugin(Artifact::GOOD));
    for tenant in ["acme", "other"] {
        line.add_tenant(tenant, "desk_good", &[]);
    }
    line.host.ctl(&["tenant", "pause", "acme"]);
    line.open_ticket("1");
    assert_eq!(code(&line, "acme", "1"), "202");
    let before = fs::read_to_string(line.host.folder().join("patchbay.toml")).unwrap();
    let set = |free: &str| {
        let text = format!("{before}store.free_mb_min = {free}\n");
        fs::write(line.host.folder().join("patchbay.toml"), text).unwrap();
        line.host.signal(Signal::HUP);
    };
    set(MORE_THAN_THERE_IS);
    line.host.wait_for_log(&["ERROR", "store_full", "store.free_mb_min"]);
    for tenant in ["acme", "other", "acme"] {
        assert_eq!(code(&line, tenant, "2"), "store_full");
    }
    line.host.wait_for_log(&["WARN", "webhooks of all tenants are refused with 503 and will be resent"]);
    assert_eq!(line.host.log().matches("are refused with 503").count(), 1, "one line for all of them");
    line.host.ctl(&["tenant", "resume", "acme"]);
    line.note_on("1");
    set("0");
    line.host.wait_for_log(&["webhooks are taken again"]);
    assert_eq!(code(&line, "acme", "2"), "202");
}

/// A host whose store is on its own file system of this many MiB, which only the host sees.
fn on_a_small_disk(mib: u32) -> HostBuilder {
    let mount = format!("mount -t tmpfs -o size={mib}m,mode=0700 none db && exec \"$0\" \"$@\"");
    let namespace = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    Host::builder()
        .plugin(Artifact::GOOD)
        .config("store.url", "\"sqlite:db/patchbay.db\"")
        .config("store.free_mb_min", 0)
        .under(&["/usr/bin/unshare", namespace, "/bin/sh", "-c", &mount])
}

#[test]
fn on_a_full_disk_dead_letters_are_purged_and_tenants_removed() {
    let mut line = Line::stopped(on_a_small_disk(64));
    fs::create_dir(line.host.folder().join("db")).unwrap();
    if line.host.try_ctl(&["--version"]).code != 0 {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    line.host.start();
    for tenant in ["acme", "other"] {
        line.add_tenant(tenant, "desk_good", &[]);
    }
    for ticket in 0..200 {
        assert_eq!(code(&line, "acme", &ticket.to_string()), "202");
    }
    line.run_out();
    line.host.ctl(&["tenant", "pause", "other"]);
    assert_eq!(code(&line, "other", "1"), "202");
    // The path as the host sees it.
    let fill = PathBuf::from(format!("/proc/{}/root", line.host.process_id()));
    let fill = fill.join(line.host.folder().strip_prefix("/").unwrap()).join("db/fill");
    let mut fill = File::create(fill).unwrap();
    while fill.write_all(&[0; 4096]).is_ok() {}
    // Webhooks are accepted while the log has space; in the end the disk is full for them.
    wait_until("the disk is full", WAIT_MAX, || {
        let ticket = line.host.log().len().to_string();
        (code(&line, "other", &format!("9{ticket}")) == "store_unavailable").then_some(())
    });
    let purged = line.host.ctl(&["job", "purge", "--yes"]);
    assert_eq!(purged["jobs"], 200, "{purged:#}");
    let removed = line.host.ctl(&["tenant", "remove", "other", "--yes"]);
    assert!(removed["jobs"].as_u64().unwrap() >= 1, "{removed:#}");
    assert_eq!(line.host.ctl(&["job", "list"]), serde_json::json!([]));
}
