//! A workspace's plan: initialised, shown, checked, accepted, converted from OpenFL's.
//!
//! The engine decides what a plan means. `plan initialize` changes single lines of the plan and the site
//! file, so that all comments in them stay.

pub mod import;
mod load;
pub mod reference;
mod sample;
mod show;

use fl_engine::{Digest, plan::host_fault};
use fl_runtime::internal::trust::one_certificate;

pub(crate) use load::refuse_site_with_login;
pub use load::{Accepted, Initialised, Loaded, accept, accepted, check, initialise, load, memory, warning};
pub(crate) use load::{parsed, refused};
pub use sample::Named;
pub use show::{aggregation, kept, largest_share, summary};

use crate::{
    exit::{Exit, Failure},
    workspace::set_key,
};

/// SHA-256 of the DER of the one certificate in a PEM text (`cert/ca.crt`).
///
/// # Errors
/// [`Exit::Trust`] when the text is not exactly one certificate.
pub fn ca_digest(pem: &str) -> Result<Digest, Failure> {
    let certificate = one_certificate(pem.as_bytes()).map_err(|what| {
        Failure::new(Exit::Trust, format!("cert/ca.crt {what}"))
            .hint("restore the cert/ca.crt that `fl-host pki init` made from a backup")
    })?;
    Ok(Digest::of(&certificate))
}

/// The plan's text with its `ca:` line set.
#[must_use]
pub fn with_ca(plan: &str, ca: &Digest) -> String {
    // Quoted: a digest of digits alone, or one like 12e45…, would be a number to YAML.
    set_key(plan, "ca", &format!("\"{ca}\""), "federation")
}

/// The site file's text with its `address:` line set to a host name or IP address.
///
/// # Errors
/// [`Exit::Usage`] for a text that is neither.
pub fn with_address(site: &str, address: &str) -> Result<String, Failure> {
    if let Some(fault) = host_fault(address) {
        let error = format!("{address:?} cannot be the aggregator's address");
        return Err(Failure::new(Exit::Usage, error).hint(fault));
    }
    Ok(set_key(site, "address", &format!("\"{address}\""), "schema"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    #[test]
    fn ca_is_the_digest_of_one_certificate() {
        assert_eq!(ca_digest(CERTIFICATE).unwrap(), Digest::of(&[0, 1, 2]));
        let refusal = |text: &str| ca_digest(text).unwrap_err().error;
        assert_eq!(refusal(""), "cert/ca.crt contains no certificate");
        assert_eq!(
            refusal(&CERTIFICATE.repeat(2)),
            "cert/ca.crt contains 2 certificates; exactly one is needed"
        );
        let key = CERTIFICATE.replace("CERTIFICATE", "PRIVATE KEY");
        assert_eq!(refusal(&key), "cert/ca.crt contains no certificate");
        assert_eq!(refusal(&CERTIFICATE[..40]), "cert/ca.crt is not PEM, or was cut short");
    }

    #[test]
    fn every_template_takes_the_ca_and_keeps_its_comments() {
        let ca = Digest::of(b"ca");
        for template in crate::templates::TEMPLATES {
            let edited = with_ca(template.plan, &ca);
            assert!(edited.contains(&format!("\nca: \"{ca}\"\n")));
            assert_eq!(edited.lines().count(), template.plan.lines().count());
            assert_eq!(with_ca(&edited, &ca), edited);
        }
    }

    #[test]
    fn address_is_a_host_or_an_ip_address_and_nothing_else() {
        let site = include_str!("templates/site.yaml");
        for good in ["localhost", "a-1.example.org", "10.0.0.1", "::1"] {
            let edited = with_address(site, good).unwrap();
            assert!(edited.contains(&format!("\naddress: \"{good}\"\n")), "{edited}");
            assert_eq!(edited.lines().count(), site.lines().count());
        }
        for bad in ["", "a b", "host:7464", "-a", "a..b", "x\"\nport: 1", &"a".repeat(64)] {
            assert_eq!(with_address(site, bad).unwrap_err().exit, Exit::Usage, "{bad:?}");
        }
    }
}
