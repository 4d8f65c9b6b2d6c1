//! What an event listener says, which stays in its pipe until it is understood.
//!
//! A piece is told first. Only when whoever serves the listener has noted what it means is it written to
//! the log and taken out of the pipe, and that is told too. So an agent that is killed at any moment leaves
//! either the note or the words, and no flood of other events pushes them aside. Where nobody serves
//! listeners there is nothing to wait for.

use super::aside::{Origin, Outlets};

/// The most that is told at once: hundreds of messages.
const PIECE: usize = 4096;

/// How far the next bytes of the pipe have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Talk {
    /// They were not looked at.
    #[default]
    Unsaid,
    /// A piece was told, and nobody has understood it yet.
    Told,
    /// So many bytes are understood and still to be taken.
    Understood(usize),
}

impl Talk {
    /// How many of the bytes in sight may be taken now.
    pub(super) fn open(&mut self, origin: &Origin, window: &[u8], outlets: &mut Outlets) -> usize {
        match self {
            Self::Understood(left) => window.len().min(*left),
            Self::Told if outlets.is_heard() => 0,
            Self::Told => window.len(),
            Self::Unsaid => {
                let piece = &window[..window.len().min(PIECE)];
                if outlets.protocol(origin, piece) {
                    *self = Self::Told;
                    0
                } else {
                    window.len()
                }
            }
        }
    }

    /// The piece that was told is understood.
    pub(super) fn understood(&mut self, bytes: usize) {
        if *self == Self::Told {
            *self = Self::Understood(bytes);
        }
    }

    /// So much was taken.
    pub(super) fn taken(&mut self, origin: &Origin, bytes: usize, outlets: &mut Outlets) {
        *self = match *self {
            Self::Understood(left) if left > bytes => Self::Understood(left - bytes),
            Self::Understood(_) => {
                outlets.taken(origin);
                Self::Unsaid
            }
            Self::Told | Self::Unsaid => Self::Unsaid,
        };
    }
}
