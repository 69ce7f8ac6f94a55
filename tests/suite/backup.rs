//! A backup of a host under load, and its restore with the exact commands of the how-to page.

use std::{
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use patchbay_tests::{Artifact, Host, Line, WAIT_MAX, created, wait_until};

const PAGE: &str = include_str!("../../docs/how-to/back-up-and-restore.md");
const SENDERS: usize = 3;
/// Maximum number of tickets of each sender: together fewer than `job list` shows.
const TICKETS_MAX: usize = 300;
/// Number of tickets accepted before the backup begins.
const BEFORE: usize = 60;

/// The page's commands: how to back up, how to keep the key, how to restore.
fn commands() -> [&'static str; 3] {
    let blocks: Vec<_> = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    blocks.try_into().expect("the page has three blocks")
}

#[track_caller]
fn shell(folder: &Path, commands: &str) {
    let programs = Artifact::PATCHBAY.path();
    let path = format!("{}:/usr/bin:/bin", programs.parent().unwrap().display());
    let mut shell = Command::new("/bin/sh");
    let output = shell.args(["-euc", commands]).current_dir(folder).env_clear().env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_was_accepted_before_a_backup_under_load_is_there_after_its_restore() {
    let [back_up, keep_key, restore] = commands();
    let mut line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let ticket = |sender: usize, number: usize| (sender * 1_000 + number).to_string();
    (0..SENDERS).for_each(|sender| (0..TICKETS_MAX).for_each(|number| line.open_ticket(&ticket(sender, number))));

    let (accepted, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let before = thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (line, accepted, over) = (&line, &accepted, &over);
            scope.spawn(move || {
                for ticket in (0..TICKETS_MAX).map(|number| ticket(sender, number)) {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    assert_eq!(line.host.send(&created("acme", &ticket)).status, 202, "accepting goes on");
                    accepted.lock().unwrap().push(ticket);
                }
            });
        }
        let before = wait_until("enough is accepted", WAIT_MAX, || {
            let accepted = accepted.lock().unwrap();
            (accepted.len() >= BEFORE).then(|| accepted.clone())
        });
        shell(line.host.folder(), back_up);
        over.store(true, Ordering::SeqCst);
        before
    });
    // Work after the backup is lost, but its notes are on the tickets.
    line.idle();
    shell(line.host.folder(), keep_key);
    line.host.kill9();

    shell(line.host.folder(), restore);
    line.host.start();
    line.idle();
    let done = line.host.ctl(&["job", "list", "--state", "done", "--limit", "1000"]);
    let done: Vec<_> = done.as_array().unwrap().iter().map(|job| job["ticket_id"].as_str().unwrap()).collect();
    for ticket in &before {
        assert!(done.contains(&ticket.as_str()), "ticket {ticket} is not in the restored store");
        assert_eq!(line.notes(ticket).len(), 1, "ticket {ticket}");
    }
    line.open_ticket("9999");
    assert_eq!(line.host.send(&created("acme", "9999")).status, 202, "the webhook's secret opens");
    line.note_on("9999");
}

#[test]
fn a_backup_needs_no_host_and_replaces_nothing() {
    let mut host = Host::builder().start();
    let back_up = |host: &Host, args: &[&str]| {
        let args: Vec<_> = ["backup"].iter().chain(args).copied().collect();
        let ended = host.run_to_end(&args);
        (ended.code, ended.log)
    };
    assert_eq!(back_up(&host, &["live.db"]).0, Some(0));
    host.terminate();
    let (code, said) = back_up(&host, &["cold.db", "--config", "patchbay.toml"]);
    assert_eq!(code, Some(0), "{said}");
    for words in ["cold.db", "cold.db-history", "secret.key"] {
        assert!(said.contains(words), "no {words} in {said}");
    }
    for (args, code, words) in [
        (&["live.db"][..], 1, "is there already"),
        (&["no/such/folder/b.db"], 1, "cannot be written"),
        (&[], 64, "FILE"),
        (&["b.db", "--config", "missing.toml"], 64, "missing.toml"),
    ] {
        let (ended, said) = back_up(&host, args);
        assert_eq!(ended, Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    let never_ran = Host::builder().stopped();
    let (code, said) = back_up(&never_ran, &["b.db"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no database"), "{said}");
}
