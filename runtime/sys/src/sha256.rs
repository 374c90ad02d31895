//! SHA-256 (FIPS 180-4) of several messages of one length at once.
//!
//! One message leaves most of a processor idle. Its SHA unit answers a round's instruction after four cycles
//! and takes the next one after two: [`pair`] fills it with two messages, interleaved. A register of 512 bits
//! holds a word of each of sixteen messages: [`sixteen`] computes rounds on such registers, in half of the
//! time that pairs take. The aggregator hashes the leaves of its model in this way. `unsafe` is only needed
//! to call code for which the processor was asked first; the code uses no pointers.

pub mod pair;
pub mod sixteen;

/// The padded end of a message: the rest that does not fill a block, a one bit, zeros, and the length in bits
/// in the last eight bytes of a block.
#[derive(Clone, Copy)]
struct Tail {
    bytes: [u8; 2 * BLOCK],
    end: usize,
}

impl Tail {
    /// `rest` is shorter than a block; `len` is the length of the whole message.
    fn new(rest: &[u8], len: usize) -> Self {
        let end = if rest.len() + 9 <= BLOCK { BLOCK } else { 2 * BLOCK };
        let mut bytes = [0; 2 * BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        bytes[end - 8..end].copy_from_slice(&(len as u64 * 8).to_be_bytes());
        Self { bytes, end }
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        self.bytes[..self.end].as_chunks().0
    }
}

/// The bytes of a digest.
fn bytes_of(words: [u32; 8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    digest
}

const BLOCK: usize = 64;

const START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The constant of each round.
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &[u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-4 word by word, without vectors.
    fn plain(message: &[u8]) -> [u8; 32] {
        let mut state = START;
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
        padded.extend((message.len() as u64 * 8).to_be_bytes());
        for block in padded.chunks(64) {
            let mut w: Vec<u32> =
                block.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect();
            for t in 16..64 {
                let small_0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
                let small_1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
                w.push(small_1.wrapping_add(w[t - 7]).wrapping_add(small_0).wrapping_add(w[t - 16]));
            }
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
            for (w, k) in w.iter().zip(K) {
                let big_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
                let choose = (e & f) ^ (!e & g);
                let t1 = h.wrapping_add(big_1).wrapping_add(choose).wrapping_add(k).wrapping_add(*w);
                let big_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
                let t2 = big_0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
                (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
            }
            for (word, more) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                *word = word.wrapping_add(more);
            }
        }
        bytes_of(state)
    }

    #[test]
    fn plain_code_gives_the_digests_of_the_standard() {
        assert_eq!(hex(&plain(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex(&plain(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(
            hex(&plain(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
    }

    #[test]
    fn messages_of_any_length_have_the_digests_of_each() {
        let mut state = 7u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        for len in (0..260).chain([447, 448, 1000, 4096, 262_144]) {
            let messages: [Vec<u8>; 16] = std::array::from_fn(|_| (0..len).map(|_| byte()).collect());
            let messages = messages.each_ref().map(Vec::as_slice);
            let digests = messages.map(plain);
            // Some processors that run this test lack the instructions.
            if let Some(two) = pair::digests(messages[0], messages[1]) {
                assert_eq!(two, digests[..2], "{len} bytes");
            }
            if let Some(sixteen) = sixteen::digests(&messages) {
                assert_eq!(sixteen, digests, "{len} bytes");
            }
        }
    }
}
