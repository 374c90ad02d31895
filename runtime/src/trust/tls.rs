//! TLS configurations of the two roles: TLS 1.3, certificates on both sides, no resumption, no early data.
//!
//! The aggregator accepts a collaborator of its federation, and a collaborator an aggregator of its
//! federation. Host names and addresses do not matter. The roster decides on names and revocation, after the
//! handshake.

use std::sync::Arc;

use fl_engine::{
    Name,
    plan::roster::{Member, UnixSeconds},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};

use super::{Authority, Credentials, Fingerprint, FlooredClock, PeerError, Role};

/// The configuration of an aggregator.
///
/// # Errors
/// When rustls refuses the key or the certificate.
pub fn server_config(credentials: &Credentials, clock: &FlooredClock) -> Result<ServerConfig, Error> {
    let provider = provider();
    let verifier = PeerVerifier::new(credentials, Role::Collaborator, &provider);
    let (certificate, key) = credentials.for_tls();
    let mut config = ServerConfig::builder_with_details(provider, time(credentials, clock))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![certificate], key)?;
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The configuration of a collaborator. `aggregators` are the roster's lines of aggregators, where this site
/// has a roster; without a line, every aggregator that the CA has certified is accepted.
///
/// # Errors
/// When rustls refuses the key or the certificate.
pub fn client_config(
    credentials: &Credentials,
    clock: &FlooredClock,
    aggregators: &[Member],
) -> Result<ClientConfig, Error> {
    let provider = provider();
    let mut verifier = PeerVerifier::new(credentials, Role::Aggregator, &provider);
    verifier.listed = aggregators.to_vec();
    let (certificate, key) = credentials.for_tls();
    let mut config = ClientConfig::builder_with_details(provider, time(credentials, clock))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![certificate], key)?;
    config.enable_early_data = false;
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// The clock with the beginning of the CA's validity as a floor: no honest clock shows an earlier time.
fn time(credentials: &Credentials, clock: &FlooredClock) -> Arc<FlooredClock> {
    Arc::new(clock.at_least(credentials.authority().validity().not_before))
}

/// Accepts peers of one role and one federation.
#[derive(Debug)]
struct PeerVerifier {
    authority: Authority,
    federation: Name,
    role: Role,
    /// Keys of which the peer has to have one that is not revoked; none for every key.
    listed: Vec<Member>,
    signatures: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(credentials: &Credentials, role: Role, provider: &CryptoProvider) -> Self {
        Self {
            authority: credentials.authority().clone(),
            federation: credentials.identity().federation.clone(),
            role,
            listed: Vec::new(),
            signatures: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let identity = self.authority.check(certificate, self.role, UnixSeconds(now.as_secs()));
        let refused = match identity {
            Ok(identity) if identity.federation == self.federation => match self.check_listed(certificate) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
            Ok(identity) => {
                PeerError::OtherFederation { needed: self.federation.clone(), found: identity.federation }
            }
            Err(refused) => refused,
        };
        // rustls turns each into a TLS alert, which tells the peer why it was refused.
        Err(Error::InvalidCertificate(match refused {
            PeerError::OtherCa => CertificateError::UnknownIssuer,
            PeerError::WrongUsage(_) => CertificateError::InvalidPurpose,
            PeerError::Expired(at) => {
                CertificateError::ExpiredContext { time: now, not_after: unix_time(at) }
            }
            PeerError::NotYet(at) => {
                CertificateError::NotValidYetContext { time: now, not_before: unix_time(at) }
            }
            other => CertificateError::Other(OtherError(Arc::new(other))),
        }))
    }

    fn check_listed(&self, certificate: &CertificateDer<'_>) -> Result<(), PeerError> {
        if self.listed.is_empty() {
            return Ok(());
        }
        let key = Fingerprint::of(certificate)?;
        match self.listed.iter().find(|line| line.key == key.0) {
            None => Err(PeerError::Unlisted(key)),
            Some(Member { revoked: Some(why), .. }) => Err(PeerError::Revoked(why.clone())),
            Some(_) => Ok(()),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signed, &self.signatures)
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}

/// Unreachable: TLS 1.2 is neither offered nor compiled in.
fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not supported".to_owned())
}

fn unix_time(seconds: UnixSeconds) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.0))
}

/// The server name that a collaborator passes to rustls where the site file has none. It is not sent. Nothing
/// is compared with a server name: the certificate is checked by the CA, the role and the federation.
pub const SERVER_NAME: &str = "aggregator.fl";

#[cfg(test)]
mod forms;
#[cfg(test)]
mod tests;
