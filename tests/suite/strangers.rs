//! A socket that somebody else serves where plugin-ctl expects the host's: nothing is sent to it, above all no secrets.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
        process::CommandExt as _,
    },
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use patchbay_tests::Artifact;
use rustix::{
    process::{Uid, geteuid},
    thread::set_thread_res_uid,
};
use serde_json::Value;
use tempfile::TempDir;

/// Two users who are not root and need no entry anywhere.
const STRANGER: u32 = 4_711;
const OWNER: u32 = 4_712;
/// The secret that must not leak.
const SECRET: &str = "canary-of-the-stranger-77";
const PROGRAM: &str = "plugin-ctl";
const SOCKET: &str = "state/admin.sock";
/// The end of the list of new tenants.
const TENANTS_END: &[u8] = b"}]";

/// A folder that everybody can read, with plugin-ctl in it.
fn programs() -> TempDir {
    let folder = readable();
    let program = folder.path().join(PROGRAM);
    fs::copy(Artifact::PLUGIN_CTL.path(), &program).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A world-writable folder with a folder `state` of this user in it, which the attack needs.
fn folder(owner: u32) -> TempDir {
    let folder = readable();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    chown(&state, Some(owner), Some(owner)).unwrap();
    folder
}

fn readable() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Listens as this user, whom the system then names as the other end of each connection. The thread answers every
/// request with an empty list, until it has received the tenant or an empty request, and returns what was sent.
fn serve(socket: PathBuf, user: u32) -> JoinHandle<String> {
    let (listens, is_listening) = mpsc::sync_channel(1);
    let server = thread::spawn(move || {
        // Changes this thread only.
        let user = Uid::from_raw(user);
        set_thread_res_uid(user, user, user).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        listens.send(()).unwrap();
        let mut sent = Vec::new();
        loop {
            let (mut client, _) = listener.accept().unwrap();
            let asked = request(&mut client);
            let is_last = asked.is_empty() || asked.ends_with(TENANTS_END);
            sent.extend(asked);
            // A client that has given up reads no answer.
            let _answered = client.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]",
            );
            if is_last {
                return String::from_utf8(sent).unwrap();
            }
        }
    });
    is_listening.recv().expect("it listens");
    server
}

/// Reads one request: a head, or a head and the tenants; nothing if the other end sends nothing.
fn request(client: &mut UnixStream) -> Vec<u8> {
    let (mut asked, mut piece) = (Vec::new(), [0; 4 << 10]);
    let is_whole =
        |asked: &[u8]| asked.ends_with(TENANTS_END) || asked.starts_with(b"GET ") && asked.ends_with(b"\r\n\r\n");
    while !is_whole(&asked) {
        match client.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => asked.extend_from_slice(&piece[..bytes]),
        }
    }
    asked
}

/// Runs plugin-ctl as this user in this folder to add a tenant with a secret.
fn add_tenant(programs: &TempDir, folder: &TempDir, user: u32, options: &[&str]) -> Output {
    let mut command = Command::new(programs.path().join(PROGRAM));
    command.uid(user).gid(user).current_dir(folder.path()).env_clear();
    command.args(options).args(["--json", "tenant", "add", "acme", "--base-url", "https://desk.example"]);
    command.args(["--secret", "api_key=@-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().expect("it is piped").write_all(SECRET.as_bytes()).expect("plugin-ctl reads what it is given");
    child.wait_with_output().unwrap()
}

/// Checks a combination of server, owner of the folder, client and options, and whether anything is sent.
#[track_caller]
fn check(programs: &TempDir, server: u32, owner: u32, asks: u32, socket: &[&str], is_sent: bool) {
    let folder = folder(owner);
    let serving = serve(folder.path().join(SOCKET), server);
    let ended = add_tenant(programs, &folder, asks, socket);
    // A server that waits for more requests must not be waited for.
    drop(UnixStream::connect(folder.path().join(SOCKET)));
    let kept = serving.join().expect("it has served");
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(kept.contains(SECRET), is_sent, "{stderr}");
    if !is_sent {
        assert_eq!((ended.status.code(), kept.as_str()), (Some(1), ""), "{stderr}");
        let failure: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&failure["code"], &failure["state"]),
            (&"STRANGER".into(), &"nothing was sent".into()),
            "{failure}"
        );
        let message = failure["message"].as_str().unwrap();
        assert!(message.contains(SOCKET) && message.contains(&server.to_string()), "{failure}");
        assert!(failure["mend"].as_str().unwrap().contains("--socket"), "{failure}");
    }
}

/// Whether the test can act as several users, which only root can.
fn are_users_to_be_had() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("skipped: it takes root to serve a socket as somebody else");
    }
    is_root
}

#[test]
fn a_stranger_is_sent_nothing() {
    if !are_users_to_be_had() {
        return;
    }
    let (programs, named) = (programs(), ["--socket", SOCKET]);
    check(&programs, STRANGER, OWNER, 0, &named, false);
    check(&programs, STRANGER, 0, 0, &named, false);
    check(&programs, STRANGER, OWNER, OWNER, &named, false);
    // A folder that belongs to the stranger entirely, and that nobody has named.
    check(&programs, STRANGER, STRANGER, 0, &[], false);
    check(&programs, STRANGER, STRANGER, OWNER, &[], false);
}

#[test]
fn root_oneself_and_the_owner_of_the_folder_are_sent_what_is_asked() {
    if !are_users_to_be_had() {
        return;
    }
    let (programs, named) = (programs(), ["--socket", SOCKET]);
    check(&programs, OWNER, OWNER, 0, &named, true);
    check(&programs, OWNER, OWNER, STRANGER, &named, true);
    check(&programs, 0, OWNER, STRANGER, &named, true);
    check(&programs, STRANGER, OWNER, STRANGER, &named, true);
    check(&programs, STRANGER, OWNER, STRANGER, &[], true);
    check(&programs, 0, OWNER, STRANGER, &[], true);
}
