//! What ends the program: one clear line, a hint, and an exit code.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Something a person has to set right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    text: String,
    hint: Option<String>,
    code: u8,
    /// What stands before the text.
    prefix: &'static str,
}

/// The name of the program, before its own texts.
const NAME: &str = "rsv-agent: ";

impl Failure {
    /// What was asked for failed: exit code 1.
    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
            code: 1,
            prefix: NAME,
        }
    }

    /// What was given cannot be used: exit code 2, and nothing was changed.
    pub fn unusable(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            hint: None,
            code: 2,
            prefix: NAME,
        }
    }

    /// As [`Failure::unusable`], in Supervisor's words, which begin as scripts expect them.
    pub fn supervisors(text: impl Into<String>) -> Self {
        Self {
            prefix: "Error: ",
            ..Self::unusable(text)
        }
    }

    /// As [`Failure::supervisors`], with the line about help that Supervisor ends with.
    pub fn usage(text: impl fmt::Display) -> Self {
        let program = std::env::args().next().unwrap_or_default();
        Self::supervisors(format!("{text}\nFor help, use {program} -h"))
    }

    /// Exit code 2, with the error and its causes as the text.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        Self::unusable(chain(error))
    }

    /// Says what can be done about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As [`Failure::hint`], if there is one.
    pub fn maybe_hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(str::to_owned).or(self.hint);
        self
    }

    /// The exit code as a number.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Says it on stderr.
    pub fn report(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.prefix, self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

/// An error and its causes in one line; a cause that only repeats what stands there is left out.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::unusable("port 1 is taken").hint("use another");
        assert_eq!(
            failure.to_string(),
            "rsv-agent: port 1 is taken\nhint: use another"
        );
        assert_eq!(failure.code(), 2);
        let failure = Failure::supervisors("no");
        assert_eq!(
            (failure.to_string(), failure.code()),
            ("Error: no".into(), 2)
        );
    }
}
