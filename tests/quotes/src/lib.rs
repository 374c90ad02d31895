//! Quotes for tests: of a forged Intel, and of real enclaves where they are at hand ([`real`]).
//!
//! The forged Intel has a root, authorities, a processor and a quoting enclave; everything that they sign has
//! the form of the real one. So the whole way from a quote to a verdict runs on a machine without SGX.
//! [`Wish`] asks for what Intel would rarely publish, such as a revoked processor.

// What fails here fails a test.
#![allow(clippy::unwrap_used)]

mod der;
pub mod real;
mod report;
mod texts;

use std::time::Duration;

use fl_engine::plan::roster::UnixSeconds;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension,
    DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevocationReason,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

pub use report::Enclave;
pub use texts::Collateral;

/// Intel, and one machine with a processor of Intel's.
pub struct Intel {
    root: CertifiedIssuer<'static, KeyPair>,
    processors: CertifiedIssuer<'static, KeyPair>,
    /// The certificate in PEM, and the key.
    tcb_signer: (String, Signer),
    processor: (String, Signer),
    chip: Chip,
}

/// A processor and its quoting enclave.
#[derive(Clone, Debug)]
pub struct Chip {
    /// Kind of the processor.
    pub fmspc: [u8; 6],
    /// Which provisioning enclave.
    pub pce_id: [u8; 2],
    /// Security versions of its components.
    pub components: [u8; 16],
    /// The same as a whole; a real certificate states nothing else.
    pub cpu_svn: [u8; 16],
    /// Security version of the provisioning enclave.
    pub pce_svn: u16,
    /// Security version of the quoting enclave.
    pub qe_svn: u16,
    /// Signer of the quoting enclave.
    pub qe_signer: [u8; 32],
    /// Whether the quoting enclave runs in debug mode.
    pub qe_debug: bool,
}

/// What Intel publishes.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Levels of the processor: components, PCESVN, status.
    pub levels: Vec<([u8; 16], u16, &'static str)>,
    /// Levels of the quoting enclave: security version, status.
    pub qe_levels: Vec<(u16, &'static str)>,
    /// The kind of processor that the levels are for.
    pub fmspc: [u8; 6],
    /// The provisioning enclave that the levels are for.
    pub pce_id: [u8; 2],
    /// `SGX`, or what else the texts are for.
    pub id: &'static str,
    /// When the texts and lists were issued.
    pub issued: UnixSeconds,
    /// For how many seconds they are valid.
    pub lives: u64,
    /// For how many seconds the revocation list of the processors' authority is valid.
    pub list_lives: u64,
    /// Whether the processor is revoked.
    pub revoke_processor: bool,
    /// Whether the processors' authority is revoked.
    pub revoke_authority: bool,
    /// Whether the signer of the texts is revoked.
    pub revoke_signer: bool,
}

/// A key of ECDSA P-256 that signs as Intel's enclaves do: r and s, without DER.
pub struct Signer(EcdsaKeyPair);

impl Default for Chip {
    fn default() -> Self {
        let components = [5; 16];
        Self {
            fmspc: [0, 0x60, 0x6a, 0, 0, 0],
            pce_id: [0, 0],
            components,
            cpu_svn: components,
            pce_svn: 13,
            qe_svn: 8,
            qe_signer: QE_SIGNER,
            qe_debug: false,
        }
    }
}

impl Default for Wish {
    fn default() -> Self {
        let Chip { fmspc, pce_id, .. } = Chip::default();
        Self {
            levels: vec![([5; 16], 13, "UpToDate"), ([3; 16], 10, "OutOfDate"), ([1; 16], 5, "Revoked")],
            qe_levels: vec![(8, "UpToDate"), (6, "OutOfDate"), (2, "Revoked")],
            fmspc,
            pce_id,
            id: "SGX",
            issued: UnixSeconds(NOW.0 - DAY),
            lives: 30 * DAY,
            list_lives: 30 * DAY,
            revoke_processor: false,
            revoke_authority: false,
            revoke_signer: false,
        }
    }
}

impl Intel {
    /// A new Intel with new keys, and this processor.
    #[must_use]
    pub fn new(chip: Chip) -> Self {
        let root = CertifiedIssuer::self_signed(authority("Intel SGX Root CA", ROOT), key()).unwrap();
        let processors =
            CertifiedIssuer::signed_by(authority("Intel SGX PCK Platform CA", AUTHORITY), key(), &root)
                .unwrap();
        let tcb_signer = leaf("Intel SGX TCB Signing", TCB_SIGNER, &root, None);
        let processor =
            leaf("Intel SGX PCK Certificate", PROCESSOR, &processors, Some(der::sgx_extension(&chip)));
        Self { root, processors, tcb_signer, processor, chip }
    }

    /// The root's certificate, DER.
    #[must_use]
    pub fn root(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    /// What Intel publishes.
    #[must_use]
    pub fn collateral(&self, wish: &Wish) -> Collateral {
        let of_root = [(wish.revoke_authority, AUTHORITY), (wish.revoke_signer, TCB_SIGNER)];
        let of_processors = [(wish.revoke_processor, PROCESSOR)];
        let (tcb_info, qe_identity) = (texts::tcb_info(wish), texts::qe_identity(wish));
        Collateral {
            root_crl: list(&self.root, wish.issued, wish.lives, &of_root),
            pck_crl: list(&self.processors, wish.issued, wish.list_lives, &of_processors),
            tcb_info_signature: self.tcb_signer.1.sign(tcb_info.as_bytes()),
            qe_identity_signature: self.tcb_signer.1.sign(qe_identity.as_bytes()),
            issuer_chain: self.tcb_signer.0.clone() + &self.root.pem(),
            tcb_info,
            qe_identity,
        }
    }

    /// The same, but the processor's key has signed the texts.
    #[must_use]
    pub fn collateral_of_a_processor(&self, wish: &Wish) -> Collateral {
        let mut collateral = self.collateral(wish);
        let (_, processor) = &self.processor;
        collateral.tcb_info_signature = processor.sign(collateral.tcb_info.as_bytes());
        collateral.qe_identity_signature = processor.sign(collateral.qe_identity.as_bytes());
        collateral.issuer_chain = self.processors_chain();
        collateral
    }

    /// A quote of the enclave.
    #[must_use]
    pub fn quote(&self, enclave: &Enclave) -> Vec<u8> {
        self.quote_with(enclave, &self.processors_chain(), "\n\0")
    }

    /// A quote with these certificates, in PEM, and these bytes after them.
    #[must_use]
    pub fn quote_with(&self, enclave: &Enclave, certificates: &str, after: &str) -> Vec<u8> {
        let attestation = Signer::new();
        let chip = &self.chip;
        let mut quote = [3u16.to_le_bytes(), 2u16.to_le_bytes(), [0; 2], [0; 2]].concat();
        quote.extend([chip.qe_svn.to_le_bytes(), chip.pce_svn.to_le_bytes()].concat());
        quote.extend(VENDOR);
        quote.extend([0; 20]);
        quote.extend(enclave.report(chip.cpu_svn, SGX_FLAGS));
        let signature = attestation.sign(&quote);

        let key = attestation.point();
        let authentication: Vec<u8> = (0..32).collect();
        let mut data = [0; 64];
        data[..32].copy_from_slice(&fl_engine::Digest::of(&[&key[..], &authentication].concat()).0);
        let quoting_enclave = Enclave {
            mrenclave: [0x9e; 32],
            mrsigner: chip.qe_signer,
            product: 1,
            svn: chip.qe_svn,
            debug: chip.qe_debug,
            data,
        };
        let report = quoting_enclave.report(chip.cpu_svn, QE_FLAGS);
        let pem = format!("{}{after}", certificates.trim_end());
        let rest = [
            &signature[..],
            &key,
            &report,
            &self.processor.1.sign(&report),
            &u16::try_from(authentication.len()).unwrap().to_le_bytes(),
            &authentication,
            &5u16.to_le_bytes(),
            &u32::try_from(pem.len()).unwrap().to_le_bytes(),
            pem.as_bytes(),
        ]
        .concat();
        quote.extend(u32::try_from(rest.len()).unwrap().to_le_bytes());
        quote.extend(rest);
        quote
    }

    /// The certificates of a quote, in PEM: processor, authority, root.
    #[must_use]
    pub fn processors_chain(&self) -> String {
        format!("{}{}{}", self.processor.0, self.processors.pem(), self.root.pem())
    }
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::of(key.as_ref())
    }

    fn of(pkcs8: &[u8]) -> Self {
        let random = SystemRandom::new();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    /// x and y.
    fn point(&self) -> Vec<u8> {
        self.0.public_key().as_ref()[1..].to_vec()
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn parameters(name: &str, serial: u64) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.remove(DnType::CommonName);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.distinguished_name.push(DnType::OrganizationName, "Forged for tests");
    parameters.serial_number = Some(SerialNumber::from(serial));
    let epoch = date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + Duration::from_secs(NOW.0 - 900 * DAY);
    parameters.not_after = epoch + Duration::from_secs(NOW.0 + 900 * DAY);
    parameters
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut parameters = parameters(name, serial);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn leaf(
    name: &str,
    serial: u64,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    extension: Option<Vec<u8>>,
) -> (String, Signer) {
    let key = key();
    let mut parameters = parameters(name, serial);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    let extension =
        extension.map(|content| CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], content));
    parameters.custom_extensions.extend(extension);
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    (certificate.pem(), Signer::of(key.serialized_der()))
}

fn list(
    issuer: &CertifiedIssuer<'static, KeyPair>,
    issued: UnixSeconds,
    lives: u64,
    serials: &[(bool, u64)],
) -> Vec<u8> {
    let at = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: at(issued.0 - DAY),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let parameters = CertificateRevocationListParams {
        this_update: at(issued.0),
        next_update: at(issued.0 + lives),
        crl_number: SerialNumber::from(7),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().filter(|(is, _)| *is).map(|(_, serial)| revoked(*serial)).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    parameters.signed_by(issuer).unwrap().der().to_vec()
}

/// 2027-01-15T08:00:00Z: inside every term of [`Wish::default`].
pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Seconds.
pub const DAY: u64 = 86_400;
/// Who signs Intel's quoting enclave, in this forgery.
pub const QE_SIGNER: [u8; 32] = [0x8c; 32];
/// Vendor of Intel's quoting enclave.
const VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Initialised, 64 bits.
const SGX_FLAGS: u8 = 0x05;
/// The same, and may derive the provisioning key.
const QE_FLAGS: u8 = 0x15;
// Serial numbers of certificates.
const ROOT: u64 = 1;
const AUTHORITY: u64 = 2;
const TCB_SIGNER: u64 = 3;
const PROCESSOR: u64 = 4;
