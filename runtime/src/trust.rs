//! Who may take part in a federation: identities, certificates, TLS configurations, the roster.
//!
//! A peer is identified by a URI in its certificate, `fl://FEDERATION/ROLE/NAME`, never by its host name or
//! by a name in a message. A session begins after four checks, each of which its caller cannot leave out:
//!
//! ```text
//! Credentials::load_or_request   this role's key, certificate and CA belong together  (start)
//! tls::{server,client}_config    chain, validity, key usage, role, federation         (every handshake)
//! Admission::admit               on the owner's signed roster and not revoked         (every session)
//! Appraiser::appraise            evidence of this link, and a quote where asked for   (every session)
//! ```
//!
//! Only the third check makes a [`PeerAdmitted`], and only the fourth an [`evidence::Appraised`]. The host
//! controls the clock, also inside an enclave, so the checks use the clock with a floor ([`FlooredClock`]).
//! Nothing here opens a socket or keeps a session.

pub mod admission;
pub mod authority;
pub mod credentials;
pub mod evidence;
#[cfg(test)]
pub(crate) mod fixture;
pub mod floored_clock;
pub(crate) mod handshake;
pub mod identity;
pub mod rosters;
pub mod run_key;
pub mod serials;
pub mod site_roster;
pub mod terms;
pub mod tls;

pub use admission::{Admission, PeerAdmitted, Refused};
pub use authority::{Authority, AuthorityError, PeerError, Validity, one_certificate, public_key, validity};
pub use credentials::{
    CertificateRequest, Credentials, CredentialsError, Fitting, KeyFiles, check_certificate, key_fingerprint,
    refuse_misspelt, request,
};
pub use floored_clock::FlooredClock;
pub use identity::{Fingerprint, Identity, IdentityError, Role};
pub use rosters::{RosterRefused, Rosters};
pub use run_key::{RunKey, RunKeyError};
pub use serials::Serials;
pub use site_roster::SiteRoster;
pub use terms::{OwnValidity, Term, WARN_DAYS, WARN_DAYS_OF_COLLATERAL};
pub use tls::{SERVER_NAME, client_config, server_config};
