//! Who may talk to whom: identities, certificates, TLS configurations, the roster.
//!
//! A peer is known by a URI in its certificate, `fl://FEDERATION/ROLE/NAME`, never by a host name or by what it says
//! of itself. Three checks stand between a stranger and a session, each where it cannot be forgotten:
//!
//! ```text
//! Credentials::load_or_request   this role's key, certificate and CA fit together     (start)
//! tls::server_config, client_config   chain, validity, key usage, role, federation    (every handshake)
//! Admission::admit          on the owner's signed roster and not revoked         (every session)
//! ```
//!
//! [`PeerAdmitted`] is made by the last of them alone. The host's clock is used with a floor ([`Clock`]): inside an
//! enclave it is a claim. Nothing here opens a socket or keeps a session.

pub mod admission;
pub mod authority;
pub mod clock;
pub mod credentials;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod handshake;
pub mod identity;
pub mod rosters;
pub mod serials;
pub mod tls;

pub use admission::{Admission, PeerAdmitted, Refused};
pub use authority::{Authority, AuthorityError, PeerError, Validity, one_certificate, public_key, validity};
pub use clock::Clock;
pub use credentials::{
    Credentials, CredentialsError, Fitting, KeyFiles, Request, check_certificate, key_fingerprint, request,
};
pub use identity::{Fingerprint, Identity, IdentityError, Role};
pub use rosters::{RosterRefused, Rosters};
pub use serials::Serials;
pub use tls::{SERVER_NAME, client_config, server_config};
