//! The prompt: what is typed is run as if it had been typed behind the flags that the prompt was started with.
//!
//! On a terminal with history and completion; elsewhere one line after the other, as scripts for
//! supervisorctl do it.

mod complete;
mod flags;
mod login;

use std::{
    ffi::OsString,
    io::{BufRead as _, Write as _},
    path::PathBuf,
    rc::Rc,
};

use rustyline::{Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::runtime::Runtime;

use crate::{
    args::{Arguments, Global, Output, Verb},
    command::{for_people, is_server},
    error::{Exit, Failure},
    invocation::{Invocation, Scope},
    local::Unconnected,
    location,
    run::within,
    ui::Ui,
};
use complete::{Completion, Known};

/// Lines of history that are kept.
const HISTORY: usize = 1000;

/// What supervisorctl calls itself when nothing is configured.
const PROMPT: &str = "supervisor";

/// Where lines come from.
enum Source {
    Terminal(Box<Editor<Completion, FileHistory>>),
    Input,
}

/// What was typed.
enum Typed {
    Line(String),
    /// Nothing more comes.
    End,
    /// The line was given up.
    Nothing,
}

/// A prompt and what it works with.
struct Shell {
    runtime: Runtime,
    /// The program and the flags before any line.
    flags: Vec<OsString>,
    global: Global,
    source: Source,
    prompt: String,
    history: Option<PathBuf>,
    known: Known,
}

/// Runs the prompt until its end; `flags` are the words that the process was started with.
pub(crate) fn run(flags: Vec<OsString>, global: Global, runtime: Runtime) -> Exit {
    let mut ui = Ui::new(&global);
    if !ui.output().is_text() {
        let failure = for_people("a prompt", "`rsv -o json help` lists the verbs");
        ui.failure(&failure);
        return failure.exit;
    }
    match Shell::new(flags, global, runtime) {
        Ok(Some(mut shell)) => {
            shell.go_on();
            Exit::Done
        }
        Ok(None) => {
            // Nobody has an agent here: whoever typed the bare name wants to know what there is.
            ui.say(&Arguments::grammar().render_help().to_string());
            Exit::Usage
        }
        Err(failure) => {
            ui.failure(&failure);
            failure.exit
        }
    }
}

impl Shell {
    /// The prompt; absent when no agent was named and none is here.
    fn new(
        flags: Vec<OsString>,
        global: Global,
        runtime: Runtime,
    ) -> Result<Option<Self>, Failure> {
        let invocation = Invocation::new(global.clone());
        let scope = invocation.scope()?;
        let is_named = global.configuration.is_some() || global.serverurl.is_some();
        if scope == Scope::Local {
            // A file that means nothing means nothing at every line.
            location::find(&global)?;
        }
        if scope == Scope::Local && !is_named {
            let agent = runtime.block_on(invocation.agent());
            if matches!(agent, Err(Unconnected::Missing { .. })) {
                return Ok(None);
            }
        }
        let section = match scope {
            Scope::Local => location::section(&global),
            Scope::Fleet(_) => None,
        };
        let prompt = match &scope {
            Scope::Local => section.as_ref().map_or(PROMPT, |section| &section.prompt),
            Scope::Fleet(_) => "rsv fleet",
        };
        let configured = section
            .as_ref()
            .and_then(|section| section.history_file.clone());
        let known = Known::default();
        let mut shell = Self {
            prompt: format!("{prompt}> "),
            history: global.history_file.clone().or(configured),
            source: Source::Input,
            runtime,
            flags,
            global,
            known: Rc::clone(&known),
        };
        if invocation.ui.can_ask() {
            let completion = Completion::new(&shell.flags, known);
            shell.source = Source::Terminal(Box::new(shell.editor(completion)?));
        }
        Ok(Some(shell))
    }

    fn editor(&self, completion: Completion) -> Result<Editor<Completion, FileHistory>, Failure> {
        let unusable = |error: ReadlineError| {
            Failure::new(Exit::Failed, "no prompt on this terminal").because(&error)
        };
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(unusable)?
            .completion_type(rustyline::CompletionType::List)
            .auto_add_history(true)
            .build();
        let mut editor = Editor::with_config(config).map_err(unusable)?;
        editor.set_helper(Some(completion));
        if let Some(history) = &self.history {
            // The first time there is none.
            editor.load_history(history).ok();
        }
        Ok(editor)
    }

    /// One line after the other. It begins with a look at everything.
    fn go_on(&mut self) {
        self.sign_in();
        self.obey("status");
        loop {
            match self.read() {
                Typed::Line(line) if is_end(&line) => break,
                Typed::Line(line) => self.obey(&line),
                Typed::Nothing => {}
                Typed::End => break,
            }
        }
        self.say_newline();
        if let (Source::Terminal(editor), Some(history)) = (&mut self.source, &self.history)
            && let Err(error) = editor.save_history(history)
        {
            let path = history.display();
            let failure = Failure::new(Exit::Failed, format!("the history stays out of {path}"));
            Ui::new(&self.global).failure(&failure.because(&error));
        }
    }

    fn read(&mut self) -> Typed {
        let prompt = self.prompt.clone();
        self.ask(&prompt)
    }

    fn ask(&mut self, prompt: &str) -> Typed {
        match &mut self.source {
            Source::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => Typed::Line(line),
                Err(ReadlineError::Interrupted) => Typed::Nothing,
                Err(_) => Typed::End,
            },
            Source::Input => {
                print!("{prompt}");
                // Bytes that are no text are in no name, which is what is said of them.
                let mut line = Vec::new();
                let is_shown = std::io::stdout().flush();
                match (
                    is_shown,
                    std::io::stdin().lock().read_until(b'\n', &mut line),
                ) {
                    (Ok(()), Ok(1..)) => Typed::Line(String::from_utf8_lossy(&line).into_owned()),
                    _ => Typed::End,
                }
            }
        }
    }

    fn say_newline(&self) {
        Ui::new(&self.global).line("").ok();
    }

    /// Runs one line. What comes of it is seen; it ends nothing.
    fn obey(&mut self, line: &str) {
        let words = words(line);
        if words.is_empty() {
            return;
        }
        let line = self.flags.iter().cloned();
        let line = line.chain(words.into_iter().map(OsString::from));
        let arguments = match Arguments::read(line.collect::<Vec<_>>()) {
            Ok(arguments) => arguments,
            Err(error) => {
                // A terminal that has gone is noticed at the next line.
                error.print().ok();
                return;
            }
        };
        let Some(verb) = arguments.verb else { return };
        if let Some(question) = question(&verb)
            && !arguments.global.yes
            && !self.is_confirmed(question)
        {
            return;
        }
        if let Verb::Open(url) = &verb
            && Output::from(arguments.global.output).is_text()
            && let Some(url) = url.words.first().filter(|url| is_server(url))
        {
            self.go_to(&[(flags::SERVER, url)]);
            self.sign_in();
            return self.obey("status");
        }
        let mut invocation = Invocation::new(arguments.global);
        self.runtime.block_on(within(&mut invocation, verb));
        self.known.borrow_mut().take();
    }

    /// Goes on with other flags, also for completion.
    fn go_to(&mut self, values: &[(flags::Flag, &str)]) {
        for (flag, value) in values {
            self.flags = flags::replaced(&self.flags, *flag, value);
        }
        let Ok(arguments) = Arguments::read(self.flags.clone()) else {
            return;
        };
        self.global = arguments.global;
        self.known.borrow_mut().take();
        if let Source::Terminal(editor) = &mut self.source {
            let completion = Completion::new(&self.flags, Rc::clone(&self.known));
            editor.set_helper(Some(completion));
        }
    }

    /// Asks who is there, if the server wants to know: until it is content, or nobody answers.
    fn sign_in(&mut self) {
        while self.is_shut_out() && self.is_told_who() {}
    }

    fn is_shut_out(&self) -> bool {
        let invocation = Invocation::new(self.global.clone());
        if !matches!(invocation.scope(), Ok(Scope::Local)) {
            return false;
        }
        let connected = self.runtime.block_on(invocation.agent());
        matches!(connected, Err(Unconnected::Unauthorized(_)))
    }

    /// Asks for user and password, and goes on with them; whether there was an answer.
    fn is_told_who(&mut self) -> bool {
        // A terminal that has gone is noticed at the next line.
        Ui::new(&self.global)
            .line("Server requires authentication")
            .ok();
        let Typed::Line(username) = self.ask("Username:") else {
            return false;
        };
        let silent = login::Silence::begin();
        let password = match &self.source {
            Source::Terminal(_) => login::line("Password:"),
            Source::Input => match self.ask("Password:") {
                Typed::Line(password) => Some(password),
                Typed::Nothing | Typed::End => None,
            },
        };
        drop(silent);
        self.say_newline();
        let Some(password) = password else {
            return false;
        };
        let values = [
            (flags::USER, username.trim()),
            (flags::PASSWORD, password.trim_end_matches('\n')),
        ];
        self.go_to(&values);
        true
    }

    fn is_confirmed(&mut self, question: &str) -> bool {
        match self.ask(question) {
            Typed::Line(answer) => answer.trim_start().starts_with(['y', 'Y']),
            Typed::Nothing | Typed::End => false,
        }
    }
}

/// What ends the prompt, whatever stands behind it.
pub(crate) fn is_end(line: &str) -> bool {
    let first = line.split_whitespace().next();
    matches!(first, Some("quit" | "exit" | "EOF"))
}

/// What is asked before a verb that ends everything, in supervisorctl's words.
fn question(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Shutdown(_) => Some("Really shut the remote supervisord process down y/N? "),
        Verb::Reload(_) => Some("Really restart the remote supervisord process y/N? "),
        _ => None,
    }
}

/// The words of a line. A glob may stand in quotes, as it has to elsewhere.
fn words(line: &str) -> Vec<String> {
    let bare = |word: &str| {
        let inner = ['\'', '"'].into_iter().find_map(|quote| {
            let inner = word.strip_prefix(quote)?.strip_suffix(quote)?;
            (!inner.is_empty()).then_some(inner)
        });
        inner.unwrap_or(word).to_owned()
    };
    let mut words: Vec<String> = line.split_whitespace().map(bare).collect();
    if words.first().is_some_and(|first| first == "?") {
        words[0] = "help".to_owned();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_at_blanks_and_loses_its_quotes() {
        for (line, expected) in [
            ("", &[][..]),
            ("  \t", &[]),
            ("status", &["status"]),
            (" start  'web*' \"x\" ", &["start", "web*", "x"]),
            ("? status", &["help", "status"]),
            ("signal HUP '", &["signal", "HUP", "'"]),
        ] {
            assert_eq!(words(line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_prompt_ends_by_name() {
        for line in ["quit", " exit ", "EOF", "quit now"] {
            assert!(is_end(line), "{line}");
        }
        assert!(!is_end("") && !is_end("quite"));
    }
}
