//! The words for a refused handshake, for an operator to act on. [`crate::net::LinkError`] shows them.

/// Why this side refused the peer, from rustls's text.
pub(crate) fn refused_here(reason: &str) -> String {
    let Some(why) = reason.strip_prefix(HERE) else { return reason.to_owned() };
    let own = why.strip_prefix(OTHER.0).and_then(|why| why.strip_suffix(OTHER.1));
    let why = match why {
        "UnknownIssuer" => "certificate was issued by another CA than this federation's",
        "InvalidPurpose" => "certificate has the key usage of another role",
        other => own.unwrap_or(other),
    };
    format!("the peer's {why}")
}

/// Why the peer refused this side, from its TLS alert (RFC 8446, section 6.2).
pub(crate) fn refused_there(alert: u8) -> String {
    let why = match alert {
        43 => "this side's certificate has the key usage of another role",
        44 => "this side's certificate is revoked",
        EXPIRED => "this side's certificate is expired, or not valid yet by the peer's clock",
        46 => "this side's certificate names another federation, another role or no member",
        48 => "this side's certificate was issued by another CA than that of the peer's federation",
        51 => "this side's key does not belong to its certificate",
        116 => "this side showed no certificate",
        120 => "the peer speaks another protocol",
        _ => return format!("the peer ended the handshake with TLS alert {alert}"),
    };
    why.to_owned()
}

/// Whether the peer would send this alert again at the next attempt: it is about what this side's certificate
/// says, and not about the peer's clock or state.
pub(crate) fn is_lasting(alert: u8) -> bool {
    matches!(alert, 43 | 44 | 46 | 48 | 51 | 116)
}

/// The alert about a certificate that is expired or not valid yet, by the peer's clock.
pub(crate) const EXPIRED: u8 = 45;
/// rustls puts this before a verifier's error.
const HERE: &str = "invalid peer certificate: ";
/// rustls puts these before and behind a [`super::PeerError`].
const OTHER: (&str, &str) = ("Other(OtherError(", "))");

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error};

    use super::*;

    #[test]
    fn words_of_rustls_become_words_for_people() {
        let said = |error: CertificateError| refused_here(&Error::InvalidCertificate(error).to_string());
        let other = "the peer's certificate was issued by another CA than this federation's";
        assert_eq!(said(CertificateError::UnknownIssuer), other);
        assert!(said(CertificateError::InvalidPurpose).ends_with("has the key usage of another role"));
        let own = rustls::OtherError(std::sync::Arc::new(crate::trust::PeerError::OtherCa));
        assert_eq!(said(CertificateError::Other(own)), other);
        assert_eq!(refused_here("no ALPN"), "no ALPN");
        assert_eq!(refused_there(80), "the peer ended the handshake with TLS alert 80");
    }
}
