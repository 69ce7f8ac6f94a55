//! The power fails repeatedly under load: whatever was answered 202 is on the disk.
//!
//! The state folder is a file system (ext4) in a file. It is shut down as it is, without writing anything that was not
//! synced (`EXT4_IOC_SHUTDOWN`), and then mounted again. Answers during the shutdown, which no real power cut allows,
//! are counted but not required: a sync that had begun may be reported as successful, and a few answers in a thousand
//! are lost that way.
//!
//! It needs root and a loop device, so it is run by hand: `cargo nextest run -p patchbay-tests --run-ignored only
//! power_cut --no-capture`. `PATCHBAY_TEST_POWER_CUTS` sets the number of cuts (50).

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use patchbay_tests::{
    Artifact, Host, Line, WAIT_MAX, created,
    http::{self, Connection},
    wait_until,
};
use sandbox::{Effect, Target};
use tempfile::TempDir;

const CUTS: usize = 50;
/// Number of senders, each with its own connection.
const SENDERS: usize = 4;
const DISK_BYTES: u64 = 256 << 20;
/// The power fails after at most this many answers, a different number in each round.
const ANSWERS_MAX: usize = 200;
/// Longer than the wait of a job that was tried a few times.
const SKIP_MS: i64 = 600_000;
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, and the time just before. Perl is available everywhere, and
/// needs no unsafe code here.
const SHUT_DOWN: &str = r#"
    use Time::HiRes;
    open(my $at, "<", $ARGV[0]) or die $!;
    my $flags = pack("L", 2);
    my $now = Time::HiRes::time();
    ioctl($at, 0x8004587D, $flags) or die $!;
    printf("%.6f", $now);
"#;

/// A file system in a file, mounted until dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
    _folder: TempDir,
}

impl Disk {
    fn mounted_at(at: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("disk");
        File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), &image]);
        fs::create_dir_all(&at).unwrap();
        let disk = Self { image, at, _folder: folder };
        disk.mount();
        disk
    }

    fn mount(&self) {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image, &self.at]);
    }

    /// Cuts the power, and returns when.
    fn cut_power(&self) -> SystemTime {
        let seconds = run("perl", &["-e".as_ref(), SHUT_DOWN.as_ref(), &self.at]);
        UNIX_EPOCH + Duration::from_secs_f64(seconds.parse().unwrap())
    }

    /// Mounts it again, as after a start of the machine.
    fn mount_again(&self) {
        run("umount", &[&self.at]);
        self.mount();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A host left by a failed test may use it for another moment.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.at.display());
        }
    }
}

#[track_caller]
fn run(program: &str, args: &[&Path]) -> String {
    let ended = Command::new(program).args(args).output().unwrap_or_else(|fault| panic!("{program}: {fault}"));
    assert!(ended.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// Sends the tickets of a round until the host accepts no more, and records which were answered 202, and when.
fn send(line: &Line, round: usize, sender: usize, told: &Mutex<Vec<(String, SystemTime)>>) {
    let Some(connection) = Connection::open(line.host.address()) else { return };
    for number in 0.. {
        let ticket = format!("{round}{sender}{number:06}");
        line.open_ticket(&ticket);
        match connection.exchange(&http::delivery(&created("acme", &ticket))) {
            Some(answer) if answer.status == 202 => told.lock().unwrap().push((ticket, SystemTime::now())),
            Some(answer) => return assert_eq!(answer.problem_code(), "store_unavailable"),
            None => return,
        }
    }
}

fn cuts() -> usize {
    let name = "PATCHBAY_TEST_POWER_CUTS";
    std::env::var(name).map_or(CUTS, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
#[ignore = "takes root and a loop device, and fifty starts"]
fn every_202_is_there_after_a_power_cut() {
    let builder = Host::builder().plugin(Artifact::SERVICEDESK_PLUS).config("plugins.fast_deadline_ms", 10_000);
    let mut line = Line::stopped(builder.config("log.level", "\"info\""));
    let disk = Disk::mounted_at(line.host.state());
    line.host.start();
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let (mut before, mut during, mut there, mut unsynced_lost) = (0, 0, 0, 0);
    let cuts = cuts();
    for round in 1..=cuts {
        // No job is finished before the cut, so each must survive it to become a note.
        line.fail(Target::Any, None, Effect::Status { status: 503, body: None, content_type: None });
        let told = Mutex::new(Vec::new());
        let wanted = 1 + (round * 37) % ANSWERS_MAX;
        let cut_at = thread::scope(|scope| {
            for sender in 0..SENDERS {
                let (line, told) = (&line, &told);
                scope.spawn(move || send(line, round, sender, told));
            }
            wait_until("answers", WAIT_MAX, || (told.lock().unwrap().len() >= wanted).then_some(()));
            // The control: unsynced data is gone afterwards.
            let mut unsynced = File::create(disk.at.join("unsynced")).unwrap();
            unsynced.write_all(b"not synced").unwrap();
            disk.cut_power()
        });
        line.host.kill9();
        disk.mount_again();
        unsynced_lost += usize::from(!fs::read(disk.at.join("unsynced")).is_ok_and(|bytes| bytes == b"not synced"));
        line.repair();
        line.host.start();
        line.host.set_clock(SKIP_MS);
        let (earlier, meanwhile): (Vec<_>, Vec<_>) =
            told.into_inner().unwrap().into_iter().partition(|(_, at)| *at < cut_at);
        line.idle();
        line.host.set_clock(-SKIP_MS);
        let is_note = |(ticket, _): &&(String, SystemTime)| line.notes(ticket).len() == 1;
        let lost: Vec<_> = earlier.iter().filter(|told| !is_note(told)).collect();
        assert!(lost.is_empty(), "round {round}, cut at {cut_at:?}: {lost:?}");
        before += earlier.len();
        during += meanwhile.len();
        there += meanwhile.iter().filter(is_note).count();
    }
    eprintln!(
        "{cuts} power cuts, {before} answers of 202 before them, each is one note; {during} while the file system was shut down, \
         {there} of them are one note; what was not synced was lost {unsynced_lost} times"
    );
    assert!(unsynced_lost > 0, "the power was never cut");
}
