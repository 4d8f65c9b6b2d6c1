//! The text with which a host joins: where to go, whom to trust there, and a secret that is good
//! once.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::tls::Pin;

/// What every token begins with; the number changes when the rest is written differently.
const PREFIX: &str = "rsv1.";

/// The longest text that is looked at.
const MAX_LENGTH: usize = 4096;

/// A token, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// `HOST:PORT` of the controllers, to be tried in turn.
    pub controllers: Vec<String>,
    /// The root of the fleet.
    pub pin: Pin,
    /// Which token this is; not secret.
    pub id: String,
    /// What makes it good; the controller keeps only a digest of it.
    pub secret: Vec<u8>,
}

/// Why a text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another beginning.
    #[error("a token begins with `{PREFIX}`")]
    Prefix,
    /// Cut off, or changed on the way.
    #[error("the token is damaged: copy the whole of it")]
    Damaged,
}

/// The form inside the base64.
#[derive(Serialize, Deserialize)]
struct Written {
    c: Vec<String>,
    p: String,
    i: String,
    s: String,
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = Written {
            c: self.controllers.clone(),
            p: self.pin.to_string(),
            i: self.id.clone(),
            s: URL_SAFE_NO_PAD.encode(&self.secret),
        };
        let json = serde_json::to_vec(&written).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("controllers", &self.controllers)
            .field("pin", &self.pin)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Prefix)?;
        if encoded.len() > MAX_LENGTH {
            return Err(TokenError::Damaged);
        }
        let json = URL_SAFE_NO_PAD
            .decode(encoded)
            .map_err(|_| TokenError::Damaged)?;
        let written: Written = serde_json::from_slice(&json).map_err(|_| TokenError::Damaged)?;
        Ok(Self {
            controllers: written.c,
            pin: written.p.parse().map_err(|_| TokenError::Damaged)?,
            id: written.i,
            secret: URL_SAFE_NO_PAD
                .decode(written.s)
                .map_err(|_| TokenError::Damaged)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            controllers: vec!["ctl1.example.com:7443".into()],
            pin: Pin::of(&CertificateDer::from(vec![7])),
            id: "01".into(),
            secret: vec![200; 32],
        }
    }

    #[test]
    fn a_token_is_one_word_and_is_read_back_as_it_was_written() {
        let text = token().to_string();
        assert!(!text.contains(char::is_whitespace));
        assert_eq!(text.parse::<JoinToken>().unwrap(), token());
    }

    #[test]
    fn a_damaged_token_is_refused() {
        let text = token().to_string();
        assert_eq!(
            text[..text.len() - 5].parse::<JoinToken>(),
            Err(TokenError::Damaged)
        );
        assert_eq!("hello".parse::<JoinToken>(), Err(TokenError::Prefix));
    }

    #[test]
    fn the_secret_is_not_in_debug_output() {
        assert!(!format!("{:?}", token()).contains("200"));
    }
}
