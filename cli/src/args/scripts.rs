//! What each verb gives to scripts, with `-o json` and `-o jsonl`.

/// The form that a verb has for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForScripts {
    /// One object.
    Object,
    /// One object for each piece, as it comes.
    Pieces,
    /// None: it is refused.
    Refused {
        /// What to run instead.
        instead: &'static str,
    },
}

impl ForScripts {
    /// Of a verb as it is typed, with its noun.
    pub(crate) fn of(verb: &str) -> Self {
        match verb {
            "tail" | "maintail" | "events" => Self::Pieces,
            "fg" => Self::Refused {
                instead: "`rsv -o json tail -f` has the output of a program",
            },
            "open" => Self::Refused {
                instead: "`rsv -s URL -o json status` has what it shows",
            },
            "top" => Self::Refused {
                instead: "`rsv -o json status -w` and `rsv -o json events -f` go on, too",
            },
            "completion" => Self::Refused {
                instead: "what it prints is a script for a shell already",
            },
            _ => Self::Object,
        }
    }

    /// Its word in `help -o json`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Pieces => "pieces",
            Self::Refused { .. } => "refused",
        }
    }
}
