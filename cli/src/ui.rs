//! The only place that writes: results to standard output, conversation to standard error.
//!
//! It knows about terminals and colour, and nothing about what is said.

mod words;

use std::{
    borrow::Cow,
    io::{self, BufRead, BufWriter, IsTerminal, Write},
    os::fd::AsFd,
};

use anstyle::{AnsiColor, Style};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Color, Form, Global, Output},
    error::{Exit, Failure},
};

pub(crate) use words::{age_words, count, printable};

/// Good news.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// On its way somewhere.
pub(crate) const MOVING: Style = AnsiColor::Yellow.on_default();
/// Somebody should look.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Of less weight.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Where a run writes, and how.
pub(crate) struct Ui {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    out_is_terminal: bool,
    err_is_terminal: bool,
    color: bool,
    quiet: bool,
    verbose: bool,
    form: Form,
    output: Output,
    progress_shown: bool,
    /// A question stands at the end of the last line.
    question_open: bool,
}

impl Ui {
    /// Standard output and error, as the flags say.
    pub(crate) fn new(global: &Global) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal(),
            color: match global.color {
                Color::Auto => out_is_terminal && !no_color,
                Color::Always => true,
                Color::Never => false,
            },
            quiet: global.quiet,
            verbose: global.verbose,
            form: global.output,
            output: global.output.into(),
            progress_shown: false,
            question_open: false,
        }
    }

    /// The form asked for.
    pub(crate) fn output(&self) -> Output {
        self.output
    }

    /// The form asked for in detail, for those who have more than one for people.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Whether results are coloured.
    pub(crate) fn color(&self) -> bool {
        self.color
    }

    /// Whether a person may be looking at standard output.
    pub(crate) fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether a person can be asked something.
    pub(crate) fn can_ask(&self) -> bool {
        self.err_is_terminal && io::stdin().is_terminal()
    }

    /// One line of the result.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.clear_progress();
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Names, one a line.
    pub(crate) fn names(&mut self, names: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        names
            .into_iter()
            .try_for_each(|name| self.line(&printable(&name)))
    }

    /// A complaint in supervisorctl's words, which are a result to people; scripts that read JSON
    /// find its first line beside it.
    pub(crate) fn complaint(&mut self, text: &str, exit: Exit) -> Result<Exit, Failure> {
        if self.output.is_text() {
            self.line(text)?;
            return Ok(exit);
        }
        let first = text.lines().next().unwrap_or_default();
        Err(Failure::new(exit, first.trim_start_matches("Error: ")))
    }

    /// A part of the result, as it is.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.clear_progress();
        self.out.write_all(bytes)?;
        Ok(())
    }

    /// Lets a reader see all that was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush()?;
        Ok(())
    }

    /// What goes on meanwhile; replaced by the next, and shown on a terminal only.
    pub(crate) fn progress(&mut self, text: &str) {
        if !self.err_is_terminal || self.quiet || !self.output.is_text() {
            return;
        }
        self.progress_shown = true;
        // Nobody can be told that standard error is gone.
        let _gone = write!(self.err, "\r\x1b[K{text}").and_then(|()| self.err.flush());
    }

    /// A line beside the result, unless `--quiet`.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// A line beside the result with `--verbose` only.
    pub(crate) fn detail(&mut self, text: &str) {
        if self.verbose {
            self.say(text);
        }
    }

    /// Something to know that does not stop the work.
    pub(crate) fn warning(&mut self, text: &str) {
        self.say(&format!("rsv: warning: {}", printable(text)));
    }

    /// Why there is no result.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if let Some(line) = failure.said_as.as_ref().filter(|_| self.output.is_text()) {
            // Who cannot be written to is told nothing more.
            drop(self.line(line));
            if let Some(hint) = &failure.hint {
                self.terminal_hint(&printable(hint));
            }
            return;
        }
        if failure.message.is_some() {
            let text = failure.to_string();
            let lines: Vec<_> = text.lines().map(printable).collect();
            self.say(&format!("rsv: {}", lines.join("\n")));
        }
        if let Some(hint) = failure.hint.as_deref().filter(|_| !self.quiet) {
            self.say(&format!("hint: {}", printable(hint)));
        }
    }

    /// A hint for whom supervisorctl's words are not enough: on a terminal only, so that scripts
    /// see those words alone.
    pub(crate) fn terminal_hint(&mut self, hint: &str) {
        if self.err_is_terminal && !self.quiet {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Asks, and reads one line. Whoever is interrupted meanwhile has not answered.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<String, Failure> {
        self.flush()?;
        self.clear_progress();
        write!(self.err, "{question} ")?;
        self.err.flush()?;
        self.question_open = true;
        let answer = typed_line().await?;
        self.question_open = !answer.ends_with('\n');
        self.leave_question();
        Ok(answer.trim().to_owned())
    }

    /// Ends the line of a question that nobody has ended with an answer.
    pub(crate) fn leave_question(&mut self) {
        if std::mem::take(&mut self.question_open) {
            // Nobody can be told that standard error is gone.
            let _gone = writeln!(self.err);
        }
    }

    /// A text in a style, if there is colour.
    pub(crate) fn paint<'a>(&self, style: Style, text: &'a str) -> Cow<'a, str> {
        paint(self.color, style, text)
    }

    /// A line on standard error, whatever the flags.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear_progress();
        // Results come before what is said about them.
        let _gone = self.out.flush();
        // Nobody can be told that standard error is gone.
        let _gone = writeln!(self.err, "{text}");
    }

    fn clear_progress(&mut self) {
        if self.progress_shown {
            self.progress_shown = false;
            // Nobody can be told that standard error is gone.
            let _gone = write!(self.err, "\r\x1b[K").and_then(|()| self.err.flush());
        }
    }
}

/// One line of the terminal, which has a whole one when it is ready: until then nothing is read, and
/// waiting for it can be given up. After an interrupt no line comes: it is for whoever waits for that.
pub(crate) async fn typed_line() -> io::Result<String> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let (sender, ready) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let stdin = io::stdin();
        let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        // What cannot be waited for is read at once.
        let _unwaited = poll(&mut polled, PollTimeout::NONE);
        // Nobody may wait any more.
        let _left = sender.send(());
    });
    // The thread says something or has gone, and then there is nothing to wait for either.
    let _gone = ready.await;
    // One that was typed before the line has come to this process by now, but not yet to those who wait.
    tokio::select! {
        biased;
        _ = interrupts.recv() => std::future::pending().await,
        () = tokio::task::yield_now() => {}
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// A text in a style, if there is colour.
pub(crate) fn paint(color: bool, style: Style, text: &str) -> Cow<'_, str> {
    if color && !text.is_empty() {
        Cow::Owned(format!("{style}{text}{style:#}"))
    } else {
        Cow::Borrowed(text)
    }
}
