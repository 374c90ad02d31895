//! Hybrid public key encryption, RFC 9180, in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM.
//!
//! This is the key schedule alone, over ring's HMAC. It begins with the Diffie-Hellman value of an
//! encapsulation, which the sealing side has from an ephemeral key and the opening side from the recipient's
//! key.
//!
//! Hand-written: the crate `hpke` would bring a second AES-GCM, SHA-2 and X25519 into the enclave beside
//! ring's. The tests hold this file against the RFC's own vectors.

use ring::hmac;
use zeroize::Zeroizing;

/// Key and base nonce of the messages. Neither stays in memory that is given back.
pub(super) struct Schedule {
    /// As long as the cipher's key.
    pub(super) key: Zeroizing<Vec<u8>>,
    base_nonce: Zeroizing<[u8; 12]>,
}

/// A cipher as the RFC's section 7.3 lists it.
#[derive(Clone, Copy)]
pub(super) struct Aead {
    id: u16,
    key_bytes: usize,
}

impl Schedule {
    /// Sections 4.1 and 5.1: the schedule for the Diffie-Hellman value `dh` of `encapsulated` (the ephemeral
    /// public key) and the `recipient`'s public key, with the application's `info`.
    pub(super) fn new(
        aead: Aead,
        dh: &[u8],
        encapsulated: &[u8; 32],
        recipient: &[u8; 32],
        info: &[u8],
    ) -> Self {
        let shared = shared_secret(dh, encapsulated, recipient);
        let suite = [b"HPKE", &KEM[..], &KDF, &aead.id.to_be_bytes()].concat();
        let context = [
            &[MODE_BASE][..],
            &*labeled_extract(&suite, b"", b"psk_id_hash", b""),
            &*labeled_extract(&suite, b"", b"info_hash", info),
        ]
        .concat();
        let secret = labeled_extract(&suite, &shared, b"secret", b"");
        let mut base_nonce = Zeroizing::new([0; 12]);
        base_nonce.copy_from_slice(&labeled_expand(&suite, &secret, b"base_nonce", &context, 12));
        Self { key: labeled_expand(&suite, &secret, b"key", &context, aead.key_bytes), base_nonce }
    }

    /// The nonce of message number `sequence`, from 0 (section 5.2).
    pub(super) fn nonce(&self, sequence: u64) -> [u8; 12] {
        let mut nonce = *self.base_nonce;
        nonce[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(n, s)| *n ^= s);
        nonce
    }
}

/// `ExtractAndExpand` of section 4.1.
fn shared_secret(dh: &[u8], encapsulated: &[u8; 32], recipient: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let suite = [b"KEM", &KEM[..]].concat();
    let secret = labeled_extract(&suite, b"", b"eae_prk", dh);
    labeled_expand(&suite, &secret, b"shared_secret", &[&encapsulated[..], recipient].concat(), 32)
}

fn labeled_extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    hmac(salt, &[VERSION, suite, label, secret])
}

/// At most 32 bytes: one block of HKDF-Expand (RFC 5869, section 2.3).
fn labeled_expand(
    suite: &[u8],
    secret: &[u8; 32],
    label: &[u8],
    info: &[u8],
    bytes: usize,
) -> Zeroizing<Vec<u8>> {
    let length = (bytes as u16).to_be_bytes();
    Zeroizing::new(hmac(secret, &[&length, VERSION, suite, label, info, &[1]])[..bytes].to_vec())
}

/// Of the parts as one message.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(context.sign().as_ref());
    out
}

pub(super) const AES_256_GCM: Aead = Aead { id: 2, key_bytes: 32 };

const VERSION: &[u8] = b"HPKE-v1";
/// DHKEM(X25519, HKDF-SHA256).
const KEM: [u8; 2] = 0x20_u16.to_be_bytes();
/// HKDF-SHA256.
const KDF: [u8; 2] = 1_u16.to_be_bytes();
const MODE_BASE: u8 = 0;

#[cfg(test)]
mod tests {
    use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

    use super::super::tests::x25519;
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn key(text: &str) -> [u8; 32] {
        hex(text).try_into().unwrap()
    }

    /// RFC 9180, A.1.1: the suite of AES-128-GCM, which differs from ours in the cipher's number and key
    /// length alone.
    #[test]
    fn schedule_is_that_of_the_rfc() {
        let encapsulated = key("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431");
        let recipient = key("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d");
        let dh =
            x25519(&key("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"), &encapsulated);
        assert_eq!(
            *shared_secret(&dh, &encapsulated, &recipient),
            hex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc")
        );
        let info = hex("4f6465206f6e2061204772656369616e2055726e");
        let schedule = Schedule::new(Aead { id: 1, key_bytes: 16 }, &dh, &encapsulated, &recipient, &info);
        assert_eq!(*schedule.key, hex("4531685d41d65f03dc48f6b8302c05b0"));
        assert_eq!(schedule.nonce(0).to_vec(), hex("56d890e5accaaf011cff4b7d"));
        assert_eq!(schedule.nonce(1).to_vec(), hex("56d890e5accaaf011cff4b7c"));
        let cipher = LessSafeKey::new(UnboundKey::new(&aead::AES_128_GCM, &schedule.key).unwrap());
        let mut message = hex("4265617574792069732074727574682c20747275746820626561757479");
        let nonce = Nonce::assume_unique_for_key(schedule.nonce(0));
        cipher.seal_in_place_append_tag(nonce, Aad::from(b"Count-0"), &mut message).unwrap();
        let sealed =
            "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a";
        assert_eq!(message, hex(sealed));
    }
}
