//! A password at a terminal: typed, and not seen.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// While it is there, a terminal does not show what is typed.
pub(super) struct Silence(Option<Termios>);

impl Silence {
    /// Begins; without a terminal there is nothing to be done.
    pub(super) fn begin() -> Self {
        let stdin = io::stdin();
        let before = match stdin.is_terminal() {
            true => tcgetattr(&stdin).ok(),
            false => None,
        };
        if let Some(before) = &before {
            let mut silent = before.clone();
            silent.local_flags.remove(LocalFlags::ECHO);
            // One that cannot be told is asked all the same.
            tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent).ok();
        }
        Self(before)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that has gone needs it no more.
            tcsetattr(io::stdin(), SetArg::TCSAFLUSH, before).ok();
        }
    }
}

/// Asks for a line that no history keeps.
pub(super) fn line(prompt: &str) -> Option<String> {
    print!("{prompt}");
    io::stdout().flush().ok()?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.is_ok_and(|bytes| bytes > 0).then_some(line)
}
