//! Mistakes that hosts can be made to have, so that it is seen that the laws find them.

/// A mistake of every host, in what is made up here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A stop is answered for as soon as it is begun.
    EarlyStop,
    /// A restart is carried out a second time when it is done.
    DoubleRestart,
    /// A signal is sent twice.
    DoubleSignal,
    /// A signal is sent to every program.
    BroadSignal,
    /// A shutdown is answered for as soon as it is begun.
    EarlyShutdown,
    /// A reload is begun again by the agent that it has brought.
    DoubleReload,
    /// A killed agent has forgotten which commands it had begun.
    Forgetfulness,
    /// What is wanted is said to be kept to before it is.
    HastyWord,
    /// An update restarts what does not differ, too.
    NeedlessRestart,
    /// An update leaves what differs as it is.
    IdleUpdate,
}
