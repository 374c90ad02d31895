//! Why there is no way through a proxy, and what to do.

use std::time::Duration;

/// Why a proxy made no connection to the aggregator. Texts of the proxy are cut and cleaned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyFault {
    /// No TCP connection to the proxy itself.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// The answer was not complete in time.
    #[error("has not answered within {} s", ANSWER_TIME.as_secs())]
    Silent,
    /// The proxy ended the connection first.
    #[error("ended the connection and gave no complete answer")]
    Ended,
    /// Something else than HTTP, with its beginning.
    #[error("does not answer in HTTP; its answer begins with \"{0}\"")]
    NotHttp(String),
    /// More header bytes than are read.
    #[error("sends more than {} bytes of headers", HEAD_BYTES)]
    TooLong,
    /// A status that promises a connection, and then bytes, although TLS lets this side speak first.
    #[error("answers {0}, but sends a page in place of a connection")]
    Page(u16),
    /// A status that is no connection.
    #[error("answers {status}{}", after_space(reason))]
    Refused {
        /// HTTP's status code.
        status: u16,
        /// The proxy's words.
        reason: String,
        /// With status 407, the ways in which the proxy lets users log in, for example `Basic, NTLM`.
        schemes: String,
        /// Whether a user was named.
        with_login: bool,
    },
}

fn after_space(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" {reason}") }
}

impl ProxyFault {
    /// What to do, in one sentence.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => {
                "Check the proxy's host and port, and that this machine may connect to the proxy"
            }
            Self::Silent => "Ask the proxy's administrator whether the proxy can reach the aggregator",
            Self::Refused { status: 407, schemes, with_login, .. } => {
                match (has_basic(schemes), with_login) {
                    (false, _) => {
                        "The proxy offers no Basic login, and fl-runtime has no other: ask the proxy's administrator for a rule without a login"
                    }
                    (true, false) => {
                        "Set `proxy: http://USER:PASSWORD@HOST:PORT` in plan/site.yaml, and run `chmod 600 plan/site.yaml`"
                    }
                    (true, true) => "Correct the user and the password of the proxy",
                }
            }
            Self::Refused { status: 502..=504, .. } => {
                "Check address and port in plan/site.yaml, and ask the proxy's administrator whether the proxy can reach the aggregator"
            }
            Self::Refused { .. } => {
                "Ask the proxy's administrator to allow CONNECT to the aggregator's host and port. Many proxies allow port 443 only"
            }
            Self::Ended | Self::NotHttp(_) | Self::TooLong | Self::Page(_) => {
                "Check that the proxy's host and port are those of an HTTP proxy"
            }
        }
    }
}

/// Whether Basic is among the ways to log in. A proxy that names none may have it.
fn has_basic(schemes: &str) -> bool {
    schemes.is_empty() || schemes.split(", ").any(|scheme| scheme.eq_ignore_ascii_case("basic"))
}

/// Longest time from the dialling of the proxy to the end of its answer. The proxy connects meanwhile.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Most bytes of the heads of an answer.
pub(super) const HEAD_BYTES: usize = 16 << 10;
