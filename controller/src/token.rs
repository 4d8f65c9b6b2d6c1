//! Join tokens as the controller keeps them, and when one is good. Pure.
//!
//! Of the secret only a digest is kept. A caller who does not know the secret learns nothing but that;
//! one who knows it is told what is wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rsv_proto::{name::HostName, select::HostPattern};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// How long a token is good when its maker does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(10 * 60);
/// The longest life of a token.
pub const MAX_TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most uses of a token.
pub const MAX_USES: u32 = 100_000;
/// Used and expired tokens are remembered for so long, to say what became of them.
pub const REMEMBERED: Duration = MAX_TTL;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// Which host names it is for.
    pub host: String,
    /// Seconds since 1970.
    pub expires: u64,
    /// How many more hosts may join with it.
    pub uses_left: u32,
    /// Put on each host that joins with it.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub made_by: String,
    /// When: milliseconds since 1970.
    #[serde(default)]
    pub made: u64,
}

/// A name that a host asks for.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// It.
    pub host: &'a HostName,
    /// A host has it.
    pub is_enrolled: bool,
    /// When that host was revoked, in milliseconds since 1970; absent: it is not.
    pub revoked: Option<u64>,
}

/// Why a host may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// No such token, or another secret.
    #[error("no such token")]
    Unknown,
    /// Used as often as it may be.
    #[error("the token has been used already")]
    Used,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Made for other hosts.
    #[error("the token is for hosts `{allowed}`, not for `{host}`")]
    OtherHost {
        /// The token's pattern.
        allowed: String,
        /// The name asked for.
        host: HostName,
    },
    /// A token that is good for several names does not replace an enrolled host.
    #[error("host `{0}` is enrolled already")]
    Taken(HostName),
    /// It was there before the host was revoked.
    #[error("the token was made before host `{0}` was revoked")]
    Older(HostName),
}

impl Token {
    /// Whether the secret is this token's; takes equally long for every secret.
    pub fn knows(&self, secret: &[u8]) -> bool {
        digest(secret).ct_eq(&self.digest).into()
    }

    /// The token after one more host has joined with it.
    pub fn redeem(
        &self,
        secret: &[u8],
        name: Name<'_>,
        now: SystemTime,
    ) -> Result<Self, TokenRefused> {
        let host = name.host;
        if !self.knows(secret) {
            return Err(TokenRefused::Unknown);
        }
        let pattern: Option<HostPattern> = self.host.parse().ok();
        if !pattern.as_ref().is_some_and(|p| p.matches(host.as_str())) {
            let allowed = self.host.clone();
            return Err(TokenRefused::OtherHost {
                allowed,
                host: host.clone(),
            });
        }
        if self.uses_left == 0 {
            return Err(TokenRefused::Used);
        }
        if seconds(now) >= self.expires {
            return Err(TokenRefused::Expired);
        }
        let exact = pattern
            .and_then(|p| p.literal_names())
            .is_some_and(|names| names.len() == 1);
        if name.is_enrolled && !exact {
            return Err(TokenRefused::Taken(host.clone()));
        }
        if name.revoked.is_some_and(|revoked| self.made < revoked) {
            return Err(TokenRefused::Older(host.clone()));
        }
        Ok(Self {
            uses_left: self.uses_left - 1,
            ..self.clone()
        })
    }

    /// Whether nobody needs to know of it any more.
    pub fn is_forgotten(&self, now: SystemTime) -> bool {
        seconds(now) >= self.expires.saturating_add(REMEMBERED.as_secs())
    }
}

/// What is kept of a secret.
pub fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// A moment in seconds since 1970.
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token(host: &str) -> Token {
        Token {
            digest: digest(b"secret"),
            host: host.into(),
            expires: 100,
            uses_left: 1,
            labels: BTreeMap::new(),
            made_by: "operator/admin".into(),
            made: 50,
        }
    }

    fn free(host: &HostName) -> Name<'_> {
        Name {
            host,
            is_enrolled: false,
            revoked: None,
        }
    }

    fn taken(host: &HostName) -> Name<'_> {
        Name {
            is_enrolled: true,
            ..free(host)
        }
    }

    #[test]
    fn a_token_is_good_for_its_hosts_so_often_and_so_long() {
        let web01: HostName = "web01".parse().unwrap();
        let token = token("web*");
        let used = token.redeem(b"secret", free(&web01), at(99)).unwrap();
        assert_eq!(used.uses_left, 0);
        for (refused, expected) in [
            (
                token.redeem(b"other", free(&web01), at(99)),
                TokenRefused::Unknown,
            ),
            (
                used.redeem(b"secret", free(&web01), at(99)),
                TokenRefused::Used,
            ),
            (
                token.redeem(b"secret", free(&web01), at(100)),
                TokenRefused::Expired,
            ),
        ] {
            assert_eq!(refused, Err(expected));
        }
        let db01: HostName = "db01".parse().unwrap();
        let refused = token.redeem(b"secret", free(&db01), at(0)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the token is for hosts `web*`, not for `db01`"
        );
    }

    #[test]
    fn only_a_token_for_exactly_one_name_replaces_an_enrolled_host() {
        let web01: HostName = "web01".parse().unwrap();
        for (pattern, replaces) in [("web01", true), ("web*", false), ("web[01-02]", false)] {
            let redeemed = token(pattern).redeem(b"secret", taken(&web01), at(0));
            assert_eq!(redeemed.is_ok(), replaces, "{pattern}");
        }
    }

    #[test]
    fn a_revoked_host_comes_back_with_a_later_token_alone() {
        let web01: HostName = "web01".parse().unwrap();
        for (revoked, is_good) in [(None, true), (Some(50), true), (Some(51), false)] {
            let name = Name {
                revoked,
                ..taken(&web01)
            };
            let redeemed = token("web01").redeem(b"secret", name, at(0));
            let older = TokenRefused::Older(web01.clone());
            assert_eq!(redeemed.err(), (!is_good).then_some(older), "{revoked:?}");
        }
    }

    #[test]
    fn a_wrong_secret_learns_nothing_else() {
        let db01: HostName = "db01".parse().unwrap();
        let refused = token("web*").redeem(b"x", taken(&db01), at(1000));
        assert_eq!(refused, Err(TokenRefused::Unknown));
    }
}
