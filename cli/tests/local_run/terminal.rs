//! The live view on a real pseudo terminal.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    process::Child,
    sync::mpsc::{self, Receiver},
    thread,
    time::Instant,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    COMPLETED, TWO_NODES,
    command::{PATIENCE, Scratch, job, outcome},
};

/// Says how far it is and waits for a file.
const WAITING: &str = "echo progress: 50%; echo \"one line of rank $RANK\"; while ! test -e go; do :; done";

struct Terminal {
    controller: OwnedFd,
    user: File,
    chunks: Receiver<Vec<u8>>,
    seen: String,
    child: Child,
}

impl Terminal {
    fn start(scratch: &Scratch, columns: u16, variables: &[(&str, &str)]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let user = File::options().read(true).write(true).open(path).unwrap();
        resize(&controller, columns);
        let mut command = scratch.command(&["jobs.yaml"]);
        command.env_remove("NO_COLOR").env("TERM", "xterm").envs(variables.iter().copied());
        let child = command.stdout(user.try_clone().unwrap()).stderr(user.try_clone().unwrap()).spawn().unwrap();
        let mut reader = File::from(controller.try_clone().unwrap());
        let (sender, chunks) = mpsc::sync_channel(1024);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = reader.read(&mut bytes) {
                // A test that is over takes no more.
                if sender.send(bytes[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { controller, user, chunks, seen: String::new(), child }
    }

    /// Waits until what was drawn since the last call is as it should be; not for ever, though pictures never end.
    fn until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) {
        self.seen.clear();
        let mut bytes = Vec::new();
        let began = Instant::now();
        while !is_there(&self.seen) {
            let left = PATIENCE.saturating_sub(began.elapsed());
            bytes.extend(self.chunks.recv_timeout(left).unwrap_or_else(|_| panic!("no {what} in {:?}", self.seen)));
            self.seen = String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

fn resize(terminal: &OwnedFd, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// The text of the last whole picture: what stands between the marks of a drawing, without its colours.
fn last_picture(seen: &str) -> Vec<String> {
    let whole = seen.rsplit("\u{1b}[?2026l").nth(1).unwrap_or_default();
    let picture = whole.rsplit("\u{1b}[?7l").next().unwrap_or_default();
    let picture = picture.split("\u{1b}[?7h").next().unwrap_or_default();
    picture.lines().map(without_escapes).collect()
}

fn without_escapes(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, after)| after))
}

#[test]
fn the_view_shows_matrix_progress_and_skew_follows_the_width_and_gives_the_terminal_back() {
    let scratch = Scratch::new();
    scratch.write("jobs.yaml", &format!("{}---\n{}", job("left", WAITING, TWO_NODES), job("right", WAITING, TWO_NODES)));
    let mut terminal = Terminal::start(&scratch, 100, &[]);
    let modes = tcgetattr(&terminal.user).unwrap();
    let has = |picture: &[String], text: &str| picture.iter().any(|line| line.contains(text));
    terminal.until("whole picture", |seen| {
        let picture = last_picture(seen);
        let parts = ["node0   node1", "row 0", "row 1", "[A]", "left  [██████████░░░░░░░░░░]  50% Running", "strobes ", "skew p50 "];
        parts.iter().all(|part| has(&picture, part))
    });
    terminal.until("picture of the other row", |seen| has(&last_picture(seen), "[B]"));
    resize(&terminal.controller, 20);
    terminal.until("narrow picture", |seen| {
        let picture = last_picture(seen);
        has(&picture, "row 0") && picture.iter().all(|line| line.chars().count() <= 20)
    });
    scratch.write("go", "");
    terminal.until("summary", |seen| seen.contains("2 jobs complete in "));
    let end = terminal.seen.clone();
    let last = |code: &str| end.rfind(code).unwrap_or_else(|| panic!("no {code:?} in {end:?}"));
    assert!(last("\u{1b}[?25h") > last("\u{1b}[?25l"), "the cursor is shown: {end:?}");
    assert!(last("\u{1b}[?7h") > last("\u{1b}[?7l"), "long lines wrap: {end:?}");
    assert!(last("JOB ") > last("\u{1b}[?2026l"), "the summary is the last: {end:?}");
    let after = tcgetattr(&terminal.user).unwrap();
    assert!(after.local_modes == modes.local_modes && after.local_modes.contains(LocalModes::ECHO | LocalModes::ICANON));
    assert_eq!(outcome(terminal.child).code, COMPLETED);
    scratch.assert_nothing_left();
}

#[test]
fn without_colours_there_are_none_and_a_dumb_terminal_has_lines_alone() {
    let scratch = Scratch::new();
    scratch.write("go", "");
    scratch.write("jobs.yaml", &job("hello", WAITING, TWO_NODES));
    let mut plain = Terminal::start(&scratch, 100, &[("NO_COLOR", "1")]);
    plain.until("summary", |seen| seen.contains("1 job complete in "));
    assert!(plain.seen.contains("\u{1b}[?2026h") && !plain.seen.contains("\u{1b}[38;"), "{:?}", plain.seen);
    assert_eq!(outcome(plain.child).code, COMPLETED);
    let mut dumb = Terminal::start(&scratch, 100, &[("TERM", "dumb")]);
    dumb.until("summary", |seen| seen.contains("1 job complete in "));
    assert!(!dumb.seen.contains('\u{1b}') && dumb.seen.contains("one line of rank 1"), "{:?}", dumb.seen);
    assert_eq!(outcome(dumb.child).code, COMPLETED);
}
