//! The table of methods: all that a name from the wire can select.

/// The type of an argument or a result, as `methodSignature` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Array,
    Boolean,
    Int,
    Str,
    Struct,
}

/// One row: everything about a method but what it does.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) method: Method,
    pub(crate) name: &'static str,
    pub(crate) gives: Type,
    pub(crate) takes: &'static [(&'static str, Type)],
    /// How many of the arguments may be left out.
    pub(crate) optional: usize,
    pub(crate) help: &'static str,
}

impl Type {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Str => "string",
            Self::Struct => "struct",
        }
    }
}

/// Writes the enumeration of the methods and the table in one go, so that neither lacks a row.
macro_rules! methods {
    ($($method:ident $name:literal ($($arg:literal: $type:ident),*) $optional:literal
        -> $gives:ident, $help:literal;)*) => {
        /// Every method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Method {
            $($method,)*
        }

        /// In the order of the names that clients see.
        pub(crate) const TABLE: &[Row] = &[
            $(Row {
                method: Method::$method,
                name: $name,
                gives: Type::$gives,
                takes: &[$(($arg, Type::$type)),*],
                optional: $optional,
                help: $help,
            },)*
        ];
    };
}

methods! {
    AddProcessGroup "addProcessGroup" ("name": Str) 0 -> Boolean,
        "Begins to supervise a group of the configuration that was read last.";
    ClearAllProcessLogs "clearAllProcessLogs" () 0 -> Array,
        "Empties the log files of every process and says what came of each.";
    ClearLog "clearLog" () 0 -> Boolean, "Empties the main log.";
    ClearProcessLog "clearProcessLog" ("name": Str) 0 -> Boolean,
        "The former name of clearProcessLogs.";
    ClearProcessLogs "clearProcessLogs" ("name": Str) 0 -> Boolean,
        "Empties the log files of one process.";
    GetApiVersion "getAPIVersion" () 0 -> Str, "The version of this interface.";
    GetAllConfigInfo "getAllConfigInfo" () 0 -> Array,
        "The configuration of every process, by the name of the process.";
    GetAllProcessInfo "getAllProcessInfo" () 0 -> Array,
        "The state of every process, by group and name.";
    GetIdentification "getIdentification" () 0 -> Str, "The configured identifier of this daemon.";
    GetPid "getPID" () 0 -> Int, "The process id of this daemon.";
    GetProcessInfo "getProcessInfo" ("name": Str) 0 -> Struct, "The state of one process.";
    GetState "getState" () 0 -> Struct, "The state of this daemon: its number and its name.";
    GetSupervisorVersion "getSupervisorVersion" () 0 -> Str, "The version of this daemon.";
    GetVersion "getVersion" () 0 -> Str, "The former name of getAPIVersion.";
    ReadLog "readLog" ("offset": Int, "length": Int) 0 -> Str,
        "Bytes of the main log; a negative offset counts from its end.";
    ReadMainLog "readMainLog" ("offset": Int, "length": Int) 0 -> Str,
        "The former name of readLog.";
    ReadProcessLog "readProcessLog" ("name": Str, "offset": Int, "length": Int) 0 -> Str,
        "The former name of readProcessStdoutLog.";
    ReadProcessStderrLog "readProcessStderrLog" ("name": Str, "offset": Int, "length": Int) 0
        -> Str, "Bytes of the log of a process's standard error.";
    ReadProcessStdoutLog "readProcessStdoutLog" ("name": Str, "offset": Int, "length": Int) 0
        -> Str, "Bytes of the log of a process's standard output.";
    ReloadConfig "reloadConfig" () 0 -> Array,
        "Reads the configuration and says which groups are new, changed and gone.";
    RemoveProcessGroup "removeProcessGroup" ("name": Str) 0 -> Boolean,
        "Ceases to supervise a group whose processes are all stopped.";
    Restart "restart" () 0 -> Boolean, "Stops every process and starts this daemon anew.";
    SendProcessStdin "sendProcessStdin" ("name": Str, "chars": Str) 0 -> Boolean,
        "Writes to the standard input of a process.";
    SendRemoteCommEvent "sendRemoteCommEvent" ("type": Str, "data": Str) 0 -> Boolean,
        "Publishes an event for the event listeners.";
    Shutdown "shutdown" () 0 -> Boolean, "Stops every process and this daemon.";
    SignalAllProcesses "signalAllProcesses" ("signal": Str) 0 -> Array,
        "Sends a signal to every process that runs.";
    SignalProcess "signalProcess" ("name": Str, "signal": Str) 0 -> Boolean,
        "Sends a signal to one process, or to a group named as group:*.";
    SignalProcessGroup "signalProcessGroup" ("name": Str, "signal": Str) 0 -> Array,
        "Sends a signal to every process of a group that runs.";
    StartAllProcesses "startAllProcesses" ("wait": Boolean) 1 -> Array,
        "Starts every process that does not run; by default waits for each to be up.";
    StartProcess "startProcess" ("name": Str, "wait": Boolean) 1 -> Boolean,
        "Starts one process, or a group named as group:*; by default waits for it to be up.";
    StartProcessGroup "startProcessGroup" ("name": Str, "wait": Boolean) 1 -> Array,
        "Starts every process of a group that does not run; by default waits for each to be up.";
    StopAllProcesses "stopAllProcesses" ("wait": Boolean) 1 -> Array,
        "Stops every process that runs; by default waits for each to be gone.";
    StopProcess "stopProcess" ("name": Str, "wait": Boolean) 1 -> Boolean,
        "Stops one process, or a group named as group:*; by default waits for it to be gone.";
    StopProcessGroup "stopProcessGroup" ("name": Str, "wait": Boolean) 1 -> Array,
        "Stops every process of a group that runs; by default waits for each to be gone.";
    TailProcessLog "tailProcessLog" ("name": Str, "offset": Int, "length": Int) 0 -> Array,
        "The former name of tailProcessStdoutLog.";
    TailProcessStderrLog "tailProcessStderrLog" ("name": Str, "offset": Int, "length": Int) 0
        -> Array, "What is new in the log of a process's standard error since an offset.";
    TailProcessStdoutLog "tailProcessStdoutLog" ("name": Str, "offset": Int, "length": Int) 0
        -> Array, "What is new in the log of a process's standard output since an offset.";
    ListMethods "listMethods" () 0 -> Array, "The names of all methods.";
    Help "methodHelp" ("name": Str) 0 -> Str, "What a method is for.";
    Signature "methodSignature" ("name": Str) 0 -> Array,
        "The type of a method's result, and of each of its arguments.";
    Multicall "multicall" ("calls": Array) 0 -> Array,
        "Makes calls one after the other; each gives its result or a struct with its fault.";
}

impl Method {
    /// The method of that name, without its namespace.
    pub(crate) fn named(name: &str) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.method)
    }

    /// Its row.
    pub(crate) fn row(self) -> &'static Row {
        // The macro writes the rows in the order of the variants.
        &TABLE[self as usize]
    }

    /// About the methods themselves.
    pub(crate) fn is_of_system(self) -> bool {
        matches!(
            self,
            Self::ListMethods | Self::Help | Self::Signature | Self::Multicall
        )
    }

    /// Starts, stops or signals processes.
    pub(crate) fn is_action(self) -> bool {
        matches!(
            self,
            Self::StartProcess
                | Self::StartProcessGroup
                | Self::StartAllProcesses
                | Self::StopProcess
                | Self::StopProcessGroup
                | Self::StopAllProcesses
                | Self::SignalProcess
                | Self::SignalProcessGroup
                | Self::SignalAllProcesses
        )
    }

    /// Reads or clears logs.
    pub(crate) fn is_of_logs(self) -> bool {
        matches!(
            self,
            Self::ReadLog
                | Self::ReadMainLog
                | Self::ClearLog
                | Self::ReadProcessLog
                | Self::ReadProcessStdoutLog
                | Self::ReadProcessStderrLog
                | Self::TailProcessLog
                | Self::TailProcessStdoutLog
                | Self::TailProcessStderrLog
                | Self::ClearProcessLog
                | Self::ClearProcessLogs
                | Self::ClearAllProcessLogs
        )
    }

    /// Answered also while everything is being stopped.
    pub(crate) fn is_answered_at_the_end(self) -> bool {
        self.is_of_system() || self == Self::SendRemoteCommEvent
    }
}
