//! What each command does.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rsv_keeper::message::{Channel, Run};

use super::LogSpec;
use super::aside::Origin;
use super::command::{Command, LogKey, Reply};
use super::mover::Mover;
use super::plumbing;
use super::stream::{FileId, Stream};

/// Does one thing that was asked.
pub(super) fn execute(mover: &mut Mover, command: Command) {
    match command {
        Command::Open { log, spec, reply } => answer(&reply, mover.open(&log, &spec)),
        Command::Know { log, spec } => mover.know(&log, spec),
        Command::Attach { origin, pipe } => mover.attach(origin, pipe),
        Command::Close { key } => mover.close(&key),
        Command::Forget { key } => mover.forget(&key),
        Command::Clear { key, reply } => answer(&reply, mover.clear(&key)),
        Command::ReopenAll { reply } => answer(&reply, mover.reopen_all()),
        Command::DetachAll { reply } => {
            mover.detach_all();
            answer(&reply, ());
        }
        Command::Announce => mover.announce(),
        Command::Listen(sender) => mover.listen_to_events(sender),
        Command::Understood { run, bytes } => mover.understood(&run, bytes),
        Command::HearOut { run, reply } => {
            mover.hear_out(&run);
            // Whoever asked may have lost patience.
            reply.send(()).ok();
        }
        Command::TellTrouble(sink) => mover.tell_trouble(sink),
        Command::ShowOutput(sink) => mover.outlets.show(sink),
        Command::Stats { log, reply } => answer(&reply, mover.files.stats(&log)),
        Command::Find { log, reply } => {
            let index = mover.find(&log);
            // Whoever asked has stopped waiting; nothing was changed for it.
            drop(reply.send(index));
        }
    }
}

/// Turns of a stream that is about to be let go: more than the largest pipe takes.
const LAST_TURNS: u32 = 64;

/// Whoever asked may have lost patience, and then nobody reads this.
fn answer<T>(reply: &Reply<T>, value: T) {
    drop(reply.try_send(value));
}

impl Mover {
    fn open(&mut self, log: &LogKey, spec: &Arc<LogSpec>) -> io::Result<OwnedFd> {
        let id = self.files.know(log, Arc::clone(spec))?;
        let (id, file) = self.files.open(log).map(|(_, file)| (id, file))?;
        let drain = file.duplicate()?;
        let is_heard = self.outlets.is_heard();
        let mut left = Vec::new();
        for stream in self
            .streams
            .values_mut()
            .filter(|stream| stream.log == *log)
        {
            if stream.file != id {
                left.push(stream.file);
                stream.file = id;
                stream.told = None;
            }
            stream.set_way(spec, is_heard);
        }
        self.tell_all(id);
        for former in left {
            self.let_go(former);
        }
        Ok(drain)
    }

    fn know(&mut self, log: &LogKey, spec: Arc<LogSpec>) {
        // An open log keeps its file until it is opened with the new spec.
        let is_attached = self.streams.values().any(|stream| stream.log == *log);
        if is_attached {
            return;
        }
        if let Err(error) = self.files.know(log, spec) {
            tracing::warn!(program = log.key, %error, "path of a log cannot be made absolute");
        }
    }

    fn attach(&mut self, origin: Origin, pipe: Arc<OwnedFd>) {
        let log = LogKey::new(&origin.run.key, origin.channel);
        let former = self.token_of(&origin.run, origin.channel);
        if let Some(token) = former {
            self.drop_stream(token);
        }
        let Some((id, spec)) = self.files.of(&log) else {
            // The keeper goes on holding it, and drains it when we are gone.
            tracing::error!(program = log.key, "output of a program without an open log");
            return;
        };
        let mut stream = Stream::new(origin, id, pipe);
        stream.set_way(spec, self.outlets.is_heard());
        self.add_stream(stream);
    }

    fn close(&mut self, key: &str) {
        for log in self.files.logs_of(key) {
            if let Some(id) = self.files.close(&log) {
                self.let_go(id);
            }
        }
    }

    fn forget(&mut self, key: &str) {
        for log in self.files.logs_of(key) {
            if let Some(id) = self.files.forget(&log) {
                self.let_go(id);
            }
        }
    }

    fn clear(&mut self, key: &str) -> io::Result<()> {
        for log in self.files.logs_of(key) {
            let is_needed = self.streams.values().any(|stream| stream.log == log);
            self.serve_log(&log);
            let (id, file) = self.files.open(&log)?;
            file.clear()?;
            self.tell_all(id);
            if !is_needed {
                self.files.close(&log);
                self.let_go(id);
            }
        }
        Ok(())
    }

    fn reopen_all(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        let mut reopened = Vec::new();
        for (id, file) in self.files.all_open() {
            match file.reopen() {
                Ok(()) => reopened.push(id),
                Err(error) => {
                    let text = format!("cannot reopen `{}`: {error}", file.path.display());
                    result = Err(io::Error::new(error.kind(), text));
                }
            }
        }
        for id in reopened {
            self.tell_all(id);
        }
        result
    }

    fn detach_all(&mut self) {
        let tokens: Vec<u64> = self.streams.keys().copied().collect();
        for token in tokens {
            self.empty_pipe(token);
            self.drop_stream(token);
        }
        self.files.keep_times();
    }

    /// Moves what is in a pipe now: after an orderly end of everything nobody else would. A program
    /// that goes on writing is not waited for.
    fn empty_pipe(&mut self, token: u64) {
        for _ in 0..LAST_TURNS {
            let pipe = self.streams.get(&token).map(|stream| &stream.pipe);
            if pipe.is_none_or(|pipe| !matches!(rustix::io::ioctl_fionread(pipe), Ok(1..))) {
                return;
            }
            self.serve(token);
        }
    }

    /// Moves what a run has left in its pipes, and ends those that nobody can write to any more.
    fn hear_out(&mut self, run: &Run) {
        let streams = self.streams.iter_mut();
        let of_run = streams.filter(|(_, stream)| stream.origin.run == *run);
        let tokens: Vec<u64> = of_run
            .map(|(token, stream)| {
                stream.is_over |= plumbing::has_no_writer(stream.pipe.as_fd());
                *token
            })
            .collect();
        for token in tokens {
            self.empty_pipe(token);
            if self
                .streams
                .get(&token)
                .is_some_and(|stream| stream.is_over)
            {
                self.serve(token);
            }
        }
    }

    fn understood(&mut self, run: &Run, bytes: usize) {
        let Some(token) = self.token_of(run, Channel::Stdout) else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(&token) {
            stream.understood(bytes);
            self.serve(token);
        }
    }

    fn announce(&mut self) {
        for stream in self.streams.values_mut() {
            stream.told = None;
        }
        let ids: Vec<FileId> = self.files.all_open().map(|(id, _)| id).collect();
        for id in ids {
            self.tell_all(id);
        }
    }

    fn find(&mut self, log: &LogKey) -> Option<Arc<crate::logbook::index::LogIndex>> {
        self.serve_log(log);
        match self.files.index_of(log) {
            Ok(index) => index,
            Err(error) => {
                tracing::warn!(program = log.key, %error, "log cannot be read");
                None
            }
        }
    }

    /// Moves what is in the pipes of a log now.
    fn serve_log(&mut self, log: &LogKey) {
        let streams = self.streams.iter().filter(|(_, stream)| stream.log == *log);
        let tokens: Vec<u64> = streams.map(|(token, _)| *token).collect();
        for token in tokens {
            self.serve(token);
        }
    }

    fn token_of(&self, run: &Run, channel: Channel) -> Option<u64> {
        let mut streams = self.streams.iter();
        let found = streams
            .find(|(_, stream)| stream.origin.run == *run && stream.origin.channel == channel);
        found.map(|(token, _)| *token)
    }

    fn let_go(&mut self, id: FileId) {
        if !self.streams.values().any(|stream| stream.file == id) {
            self.files.unused(id);
        }
    }
}
