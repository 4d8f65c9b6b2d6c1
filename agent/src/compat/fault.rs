//! Supervisor's faults: their numbers, their names, their texts.

use super::supervision::Denied;

/// A fault as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which one.
    pub code: FaultCode,
    detail: Option<String>,
}

/// The kinds of fault; the numbers are Supervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultCode {
    /// No such method.
    UnknownMethod = 1,
    /// The number or types of the arguments are wrong.
    IncorrectParameters = 2,
    /// The value of an argument makes no sense.
    BadArguments = 3,
    /// There is no such method to be explained.
    SignatureUnsupported = 4,
    /// The agent is on its way to its end.
    ShutdownState = 6,
    /// No such process or group.
    BadName = 10,
    /// No such signal.
    BadSignal = 11,
    /// No such file.
    NoFile = 20,
    /// The file cannot be executed.
    NotExecutable = 21,
    /// Anything else.
    Failed = 30,
    /// The process ended too early.
    AbnormalTermination = 40,
    /// The process could not be started.
    SpawnError = 50,
    /// The process runs.
    AlreadyStarted = 60,
    /// The process does not run.
    NotRunning = 70,
    /// No fault: the status of what went well in a list of results.
    Success = 80,
    /// The group is supervised already.
    AlreadyAdded = 90,
    /// A process of the group runs.
    StillRunning = 91,
    /// The configuration cannot be read.
    CantReread = 92,
}

impl FaultCode {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }

    fn name(self) -> &'static str {
        match self {
            Self::UnknownMethod => "UNKNOWN_METHOD",
            Self::IncorrectParameters => "INCORRECT_PARAMETERS",
            Self::BadArguments => "BAD_ARGUMENTS",
            Self::SignatureUnsupported => "SIGNATURE_UNSUPPORTED",
            Self::ShutdownState => "SHUTDOWN_STATE",
            Self::BadName => "BAD_NAME",
            Self::BadSignal => "BAD_SIGNAL",
            Self::NoFile => "NO_FILE",
            Self::NotExecutable => "NOT_EXECUTABLE",
            Self::Failed => "FAILED",
            Self::AbnormalTermination => "ABNORMAL_TERMINATION",
            Self::SpawnError => "SPAWN_ERROR",
            Self::AlreadyStarted => "ALREADY_STARTED",
            Self::NotRunning => "NOT_RUNNING",
            Self::Success => "SUCCESS",
            Self::AlreadyAdded => "ALREADY_ADDED",
            Self::StillRunning => "STILL_RUNNING",
            Self::CantReread => "CANT_REREAD",
        }
    }

    /// The fault about something.
    pub fn about(self, detail: impl Into<String>) -> Fault {
        let detail = Some(detail.into());
        Fault { code: self, detail }
    }
}

impl Fault {
    /// The text on the wire: the name, and what it is about.
    pub fn text(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.code.name()),
            None => self.code.name().to_owned(),
        }
    }

    /// The fault for what the agent denied to do with something of that name.
    pub fn denied(denied: Denied, name: &str) -> Self {
        match Self::from(denied) {
            Self { code, detail: None } if code != FaultCode::ShutdownState => code.about(name),
            complete => complete,
        }
    }
}

impl From<FaultCode> for Fault {
    fn from(code: FaultCode) -> Self {
        Self { code, detail: None }
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Ending => FaultCode::ShutdownState.into(),
            Denied::NoSuchGroup => FaultCode::BadName.into(),
            Denied::AlreadyAdded => FaultCode::AlreadyAdded.into(),
            Denied::StillRunning => FaultCode::StillRunning.into(),
            Denied::Unreadable(why) => FaultCode::CantReread.about(why),
            Denied::NotRunning => FaultCode::NotRunning.into(),
            Denied::NoFile => FaultCode::NoFile.into(),
            Denied::Failed(why) if why.is_empty() => FaultCode::Failed.into(),
            Denied::Failed(why) => FaultCode::Failed.about(why),
        }
    }
}
